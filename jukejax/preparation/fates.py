"""What becomes of each track, and why: the part of `prepare` that looks at all of them at once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from jukejax.analysis.fingerprint import Landmarks
from jukejax.data import audio, corpus
from jukejax.data.vocabularies import UNKNOWN, split_genres
from jukejax.preparation import groups, places, tracks
from jukejax.preparation.metadata import TrackLabels, file_key


def without_copies(made: Sequence[tracks.Made]) -> list[tracks.Made]:
    """Gives a reason to tracks that we have already, byte for byte."""
    first: dict[str, str] = {}
    result = []
    for track in made:
        reason = track.reason
        if not reason and first.setdefault(track.content, track.name) != track.name:
            reason = f"the same file as {first[track.content]}"
        result.append(tracks.Made(**vars(track) | {"reason": reason}))
    return result


def label_tracks(
    made: Sequence[tracks.Made], metadata: Mapping[str, TrackLabels]
) -> list[tuple[tracks.Made, corpus.Track]]:
    """Usable tracks with their labels: by the CSV, else by the tags, else unknown."""
    usable = []
    for track in made:
        if not track.reason:
            row = metadata.get(file_key(track.name), TrackLabels())
            artist = " ".join((row.artist or track.artist).split()) or UNKNOWN
            genre = split_genres(row.genre or track.genre)
            facts = {key: getattr(track, key) for key in ("content", "bpm", "key", "channels")}
            usable.append((track, corpus.Track(track.name, artist, genre, track.samples, **facts)))
    return usable


def find_groups(usable: Sequence[tracks.Made]) -> tuple[list[int], list[groups.Link]]:
    """Groups of near-duplicates among tracks, and the links between them; see `groups`."""
    landmarks = []
    for track in usable:
        with places.local_copy(track.fingerprint) as path:
            landmarks.append(Landmarks.load(path))
    return groups.near_duplicates(landmarks)


def report(
    made: Sequence[tracks.Made],
    usable: Sequence[tracks.Made],
    splits: Sequence[str],
    group: Sequence[int],
    links: Sequence[groups.Link],
) -> dict:
    """What corpus.json says of every file, and of what tracks have in common.

    Args:
      made: all tracks.
      usable: those of them that are used, with the split and the group of each.
      links: between tracks, by their number in `usable`.

    Returns:
      files: file, fate ("train", "heldout" or "skipped"), reason; of what could be read seconds,
        channels, loudness (LUFS), trimmed, fade_out, dead_air (see `tracks.Made`) and notes; of
        what is used also group, the first file of those that share a recording with it.
      links: a and b, files that share a recording; votes, offset_seconds, seconds of each.
      instrumental_si_sdr: where the truth is known, the mean in dB before and after separation.
    """
    place = {track.name: i for i, track in enumerate(usable)}
    files = []
    for track in made:
        i = place.get(track.name)
        fate = "skipped" if i is None else splits[i]
        row = {"file": track.name, "fate": fate, "reason": track.reason}
        if i is not None:
            row["group"] = usable[group[i]].name
        if track.samples:
            row["seconds"] = round(track.samples / audio.SAMPLE_RATE, 3)
            for key in ("channels", "loudness", "trimmed", "fade_out", "dead_air", "notes"):
                row[key] = getattr(track, key)
        if track.sdr:
            row["instrumental_si_sdr"] = track.sdr
        files.append(row)
    named = [asdict(link) | {"a": usable[link.a].name, "b": usable[link.b].name} for link in links]
    table = {"files": files, "links": named}
    sdr = [track.sdr for track in made if track.sdr]
    if sdr:
        table["instrumental_si_sdr"] = {
            when: round(float(np.mean([row[when] for row in sdr])), 3) for when in sdr[0]
        }
    return table
