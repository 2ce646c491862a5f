"""Selection of tracks: copies, labels, groups, and the table of files of corpus.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from jukejax.analysis.fingerprint import Landmarks
from jukejax.common import storage
from jukejax.data import audio, corpus
from jukejax.data.vocabularies import UNKNOWN, split_genres
from jukejax.preparation import groups
from jukejax.preparation.lyrics_source import choose_lyrics
from jukejax.preparation.metadata import TrackLabels, file_key
from jukejax.preparation.prepared_track import PreparedTrack
from jukejax.preparation.track_grid import choose_grid

FACTS = ("channels", "loudness", "trimmed", "fade_out", "dead_air", "notes")


def reject_copies(prepared: Sequence[PreparedTrack]) -> list[PreparedTrack]:
    """Marks tracks that are copies of an earlier one, sample for sample, as unusable."""
    first_names: dict[str, str] = {}
    result = []
    for track in prepared:
        if not track.reason:
            first = first_names.setdefault(track.content, track.name)
            if first != track.name:
                track = replace(track, reason=f"the same sound as {first}")
        result.append(track)
    return result


def label_tracks(
    prepared: Sequence[PreparedTrack], metadata: Mapping[str, TrackLabels]
) -> list[tuple[PreparedTrack, corpus.Track]]:
    """Labels the usable tracks by the metadata, else by their tags, else as unknown.

    Args:
      metadata: labels by `file_key`, also those of files beside the sound.
    """
    usable = []
    for track in prepared:
        if not track.reason:
            labels = metadata.get(file_key(track.name), TrackLabels())
            track = replace(track, notes=[*track.notes, *labels.notes])
            track = choose_lyrics(choose_grid(track, labels.grid), labels.lyrics)
            grid = track.grid
            labeled = corpus.Track(
                track.name,
                " ".join((labels.artist or track.artist).split()) or UNKNOWN,
                split_genres(labels.genre or track.genre),
                track.samples,
                channels=track.channels,
                content=track.content,
                **asdict(grid.grid),
                grid_origin=grid.origin,
                grid_confidence=grid.confidence,
                lyrics=track.lyrics.text,
                lyric_times=track.lyrics.times,
            )
            usable.append((track, labeled))
    return usable


def find_groups(usable: Sequence[PreparedTrack]) -> tuple[list[int], list[groups.Link]]:
    """Finds groups of near-duplicates, and the links between them; see `groups`."""
    landmarks = []
    for track in usable:
        with storage.local_copy(track.fingerprint) as path:
            landmarks.append(Landmarks.load(path))
    return groups.find_near_duplicates(landmarks)


def describe_grid(track: PreparedTrack) -> dict[str, Any]:
    """Describes the grid of a track, with the origin and the confidence of each value.

    The first downbeat and the sections are in seconds of the stored audio.
    """
    grid = track.grid.grid
    downbeat = grid.first_downbeat
    return {
        "metre": "4/4, assumed",
        "bpm": None if grid.bpm is None else round(grid.bpm, 3),
        "first_downbeat": None if downbeat is None else round(downbeat / audio.SAMPLE_RATE, 5),
        "key": grid.key,
        "sections": [[name, round(start / audio.SAMPLE_RATE, 3)] for name, start in grid.sections],
        "origin": track.grid.origin,
        "confidence": track.grid.confidence,
        "constant_tempo": track.grid.is_constant,
    }


def describe_files(
    prepared: Sequence[PreparedTrack],
    usable: Sequence[PreparedTrack],
    splits: Sequence[str],
    group: Sequence[int],
    links: Sequence[groups.Link],
) -> dict[str, Any]:
    """Describes every file, and the links between tracks, for corpus.json.

    Args:
      prepared: all tracks.
      usable: the used tracks, with the split and the group of each.
      links: between tracks, by their index in `usable`.

    Returns:
      files: file, fate ("train", "heldout" or "skipped"), reason; for readable files seconds, grid,
        channels, loudness (LUFS), trimmed, fade_out, dead_air (see `PreparedTrack`) and notes; for
        used ones also group, the first file that shares a recording with it, and for those with
        lyrics lyric_characters.
      links: a and b, files that share a recording; votes, offset_seconds, seconds of each.
      instrumental_si_sdr: mean in dB before and after separation, if the true instrumentals are
        known.
    """
    index = {track.name: i for i, track in enumerate(usable)}
    files = []
    for track in prepared:
        i = index.get(track.name)
        track = track if i is None else usable[i]
        fate = "skipped" if i is None else splits[i]
        row: dict[str, Any] = {"file": track.name, "fate": fate, "reason": track.reason}
        if i is not None:
            row["group"] = usable[group[i]].name
            if track.lyrics.text:
                row["lyric_characters"] = len(track.lyrics.text)
        if track.samples:
            row["seconds"] = round(track.samples / audio.SAMPLE_RATE, 3)
            row |= {key: getattr(track, key) for key in FACTS}
            row["grid"] = describe_grid(track)
        if track.sdr:
            row["instrumental_si_sdr"] = track.sdr
        files.append(row)
    named = [asdict(link) | {"a": usable[link.a].name, "b": usable[link.b].name} for link in links]
    table: dict[str, Any] = {"files": files, "links": named}
    sdr = [track.sdr for track in prepared if track.sdr]
    if sdr:
        table["instrumental_si_sdr"] = {
            stage: round(float(np.mean([row[stage] for row in sdr])), 3) for stage in sdr[0]
        }
    return table
