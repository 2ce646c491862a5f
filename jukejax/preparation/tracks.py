"""Preparation of one source, a file or a track of the house corpus, for a shard.

`prepare_track` decodes, repairs, separates, trims, computes the fingerprint, converts to 16 bits
and writes the result to the cache. It depends on its arguments only, so that it can run in any
process on any machine. The sound passes through in blocks, by way of temporary files: memory does
not grow with its length, but for the fingerprint's (44 kB a second).
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jukejax.analysis import fidelity, fingerprint
from jukejax.data import audio
from jukejax.data.grid import Grid, SourcedGrid
from jukejax.data.lrc import TimedLyrics
from jukejax.data.repair import SILENT, repair_sound
from jukejax.data.sections import scale_sections
from jukejax.data.spool import Spool
from jukejax.preparation import track_cache
from jukejax.preparation.metadata import read_tags
from jukejax.preparation.mixes import Mix, TooLongError, decode_mix
from jukejax.preparation.prepared_track import PreparedTrack, Source
from jukejax.preparation.rules import Rules, cut_pieces, loudness_gain, survey_sound
from jukejax.preparation.track_cache import SoundFacts
from jukejax.preparation.track_grid import LONGEST, estimate_track_grid

if TYPE_CHECKING:
    from jukejax.preparation.house import HouseTrack


class Separator(Protocol):
    """Removes vocals; see `separators`."""

    @property
    def method(self) -> str: ...

    @property
    def hash(self) -> str: ...

    def separate(self, mix: audio.Samples) -> Iterator[np.ndarray]: ...


def prepare_track(source: Source, separator: Separator, cache: str, rules: Rules) -> PreparedTrack:
    """Prepares one source, or reads the result from the cache.

    The fingerprint is that of the mix, without removed passages, so that it is the same for every
    separator. It identifies a song and its dub as near-duplicates.

    Args:
      cache: folder; the key of an entry is a hash of the sound of the source, without its tags, and
        of the processing. Limits of length are not part of the key: they are checked afterwards.

    Raises:
      OSError: the cache cannot be written. Faults of the source are in the result's `reason`.
      ValueError: the separator cannot be used.
    """
    try:
        if source.path:
            return _prepare_file(source, separator, Path(cache), rules)
        return _prepare_house_track(source, separator, Path(cache), rules)
    except MemoryError:
        return PreparedTrack(source.name, "needs more memory than this machine has free")


def _prepare_house_track(
    source: Source, separator: Separator, cache: Path, rules: Rules
) -> PreparedTrack:
    from jukejax.preparation import house

    process = _describe_process(separator, rules)
    track = house.track(
        source.index,
        seconds=source.seconds,
        seed=source.seed,
        tempo=source.tempo,
        solo=not source.instruments,
    )
    if not source.vocals:
        track = replace(track, vocal=np.zeros_like(track.vocal), lyrics=TimedLyrics())
    content = hashlib.sha256(track.mix.astype("<f4").tobytes()).hexdigest()
    entry = track_cache.entry_path(cache, content, process)
    prepared = track_cache.read_entry(entry, source.name)
    if prepared is None:
        try:
            mix, notes = repair_sound(track.mix)
        except ValueError as error:
            return PreparedTrack(source.name, str(error), content=content)
        mixed = Mix(source.name, mix, content, notes)
        prepared = _prepare_mix(mixed, entry, separator, rules, track)
    sections = scale_sections(track.sections, audio.SAMPLE_RATE)
    truth = Grid(float(track.bpm), 0.0, track.key, sections).shift(prepared.first_sample)
    names = ("bpm", "first_downbeat", "key", "sections")
    grid = SourcedGrid(truth, dict.fromkeys(names, "corpus"), dict.fromkeys(names, 1.0))
    lyrics = track.lyrics if source.lyrics else TimedLyrics()
    prepared = replace(
        prepared, content=content, grid=grid, lyrics=lyrics, artist=track.artist, genre=track.genre
    )
    return _finish(prepared, rules)


def _prepare_file(source: Source, separator: Separator, cache: Path, rules: Rules) -> PreparedTrack:
    """Prepares a file; one with new tags, and the sound of an earlier one, is not separated."""
    try:
        record = track_cache.record_path(cache, source.path)
    except ValueError as error:
        return PreparedTrack(source.name, str(error))
    process = _describe_process(separator, rules)
    facts = track_cache.read_record(record)
    if facts is not None:
        entry = track_cache.entry_path(cache, facts.content, process)
        prepared = track_cache.read_entry(entry, source.name)
        if prepared is not None:
            return _finish(_add_facts(prepared, facts), rules)
    with contextlib.ExitStack() as stack:
        try:
            mix = stack.enter_context(decode_mix(source, rules, cache))
            labels = read_tags(source.path, mix.tags)
        except TooLongError as error:
            return PreparedTrack(source.name, str(error), samples=error.samples, channels=0)
        except ValueError as error:
            return PreparedTrack(source.name, str(error))
        if reason := rules.check_length(len(mix.samples)):  # before the separation, which is slow
            samples, channels = mix.samples.shape
            return PreparedTrack(source.name, reason, samples=samples, channels=channels)
        notes = mix.notes + labels.notes
        facts = SoundFacts(
            mix.content, labels.artist, labels.genre, labels.grid, labels.lyrics, notes
        )
        entry = track_cache.entry_path(cache, mix.content, process)
        prepared = track_cache.read_entry(entry, source.name)
        if prepared is None:
            prepared = _prepare_mix(replace(mix, notes=[]), entry, separator, rules)
    track_cache.write_record(record, facts)
    return _finish(_add_facts(prepared, facts), rules)


def _describe_process(separator: Separator, rules: Rules) -> list:
    """Returns the settings of the processing, for the key of the cache."""
    return [separator.method, separator.hash, rules.fades, rules.loudness]


def _add_facts(prepared: PreparedTrack, facts: SoundFacts) -> PreparedTrack:
    """Adds the facts of a file to those of its sound."""
    return replace(
        prepared,
        content=facts.content,
        artist=facts.artist,
        genre=facts.genre,
        tags=facts.grid,
        lyrics=facts.lyrics,
        notes=[*facts.notes, *prepared.notes],
    )


def _finish(prepared: PreparedTrack, rules: Rules) -> PreparedTrack:
    """Checks the length, which is no part of the cache."""
    reason = prepared.reason or rules.check_length(prepared.samples)
    return replace(prepared, reason=reason)


def _prepare_mix(
    mix: Mix,
    entry: Path,
    separator: Separator,
    rules: Rules,
    truth: "HouseTrack | None" = None,
) -> PreparedTrack:
    """Prepares the sound of a source and writes it to the cache.

    Args:
      truth: the true instrumental, if it is known.
    """
    with contextlib.ExitStack() as stack:
        instrumental = mix.samples
        if separator.method != "none":  # a mix is not silent
            spool = Spool(entry.parent, mix.samples.shape[1])
            instrumental, peak = stack.enter_context(contextlib.closing(spool)), 0.0
            for block in separator.separate(mix.samples):
                spool.append(block)
                peak = max(peak, float(np.abs(block).max()))
            if peak < SILENT:
                return PreparedTrack(mix.name, reason="silent after vocal removal")
        return _prepare_instrumental(mix, instrumental, entry, rules, truth)


def _prepare_instrumental(
    mix: Mix,
    instrumental: audio.Samples,
    entry: Path,
    rules: Rules,
    truth: "HouseTrack | None",
) -> PreparedTrack:
    """Cuts and levels the instrumental of a mix and writes it to the cache."""
    survey = survey_sound(instrumental)
    pieces = survey.pieces(rules.fades)
    channels = instrumental.shape[1]
    prepared = PreparedTrack(
        mix.name,
        channels=channels,
        samples=sum(stop - start for start, stop in pieces),
        first_sample=pieces[0][0],
        is_joined=len(pieces) > 1,
        trimmed=[_to_seconds(survey.start), _to_seconds(len(instrumental) - survey.stop)],
        fade_out=_to_seconds(survey.stop - survey.fade_out),
        dead_air=[[_to_seconds(start), _to_seconds(end - start)] for start, end in survey.dead_air],
        sdr=None if truth is None else _measure_sdr(truth, instrumental[:]),
    )
    notes = mix.notes + _describe_silence(prepared, rules.fades)
    if rules.fades == "drop" and (prepared.fade_out or prepared.dead_air):
        prepared = replace(prepared, reason=f"{notes[-1]}, and --fades=drop", notes=notes)
        track_cache.write_facts(entry, prepared)
        return prepared
    mono = (block.mean(axis=1) for block in cut_pieces(mix.samples, pieces))
    landmarks = fingerprint.extract_landmarks(mono)
    if truth is None and prepared.samples <= LONGEST * audio.SAMPLE_RATE:
        mono = (block.mean(axis=1) for block in cut_pieces(mix.samples, pieces))
        prepared = replace(prepared, grid=estimate_track_grid(mono))
    gain, loudness, gain_notes = loudness_gain(
        cut_pieces(instrumental, pieces), channels, rules.loudness
    )
    prepared = replace(
        prepared,
        array=f"{entry}.npy",
        fingerprint=f"{entry}.npz",
        notes=notes + gain_notes,
        loudness=None if loudness is None else round(loudness, 2),
    )
    blocks = (
        audio.to_int16(block if gain == 1 else block * gain)
        for block in cut_pieces(instrumental, pieces)
    )
    track_cache.write_entry(entry, prepared, landmarks, blocks)
    return prepared


def _to_seconds(samples: int) -> float:
    return round(samples / audio.SAMPLE_RATE, 3)


def _describe_silence(prepared: PreparedTrack, fades: str) -> list[str]:
    """Describes trimmed silence, dead air and a fade-out in words."""
    suffix = ": cut" if fades == "cut" else ""
    notes = []
    if max(prepared.trimmed) > 0:
        start, end = prepared.trimmed
        notes.append(f"silence trimmed: {start:.1f} s at the start, {end:.1f} s at the end")
    for start, length in prepared.dead_air:
        notes.append(f"dead air of {length:.1f} s at {start:.1f} s{suffix}")
    if prepared.fade_out:
        notes.append(f"fade-out of {prepared.fade_out:.1f} s at the end{suffix}")
    return notes


def _measure_sdr(track: "HouseTrack", instrumental: np.ndarray) -> dict[str, float] | None:
    """Measures the instrumental of a track against the truth; None for a track of one stem."""
    if not (track.vocal.any() and track.instrumental.any()):
        return None
    return {
        "before": round(fidelity.si_sdr(track.mix, track.instrumental), 3),
        "after": round(fidelity.si_sdr(instrumental, track.instrumental), 3),
    }
