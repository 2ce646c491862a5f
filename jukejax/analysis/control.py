"""Comparison of a track with the tempo, the beats and the key that were asked for.

Beat and key scores are those of mir_eval (Raffel et al., 2014).
"""

import numpy as np

from jukejax.analysis.beats import FRAMES_PER_SECOND, SAMPLE_RATE
from jukejax.analysis.fingerprint import resample_mono
from jukejax.analysis.musical_key import estimate_key
from jukejax.analysis.rhythm import Onsets, detect_onsets, measure_rhythm
from jukejax.analysis.seams import rank_join
from jukejax.analysis.tempo_grid import ATTACK_STEP, compute_attack
from jukejax.data.grid import BEATS_PER_BAR, Grid

SPAN = 8  # beats at the start and at the end whose offset is measured
CELLS = 64  # of a beat, for the first estimate of an offset
REACH = 0.04  # seconds around it, for the second
TEMPO_PERCENT, BEAT_MS = 1.0, 30.0  # errors of a hit, at most
LOOP_RANK = 0.95  # of a join that is like a beat inside, at most


def measure_control(mono: np.ndarray, sample_rate: int, grid: Grid) -> dict[str, float | None]:
    """Measures how far a track follows its grid.

    Args:
      mono: float32 [time].
      grid: as asked; values that are None are not measured.

    Returns:
      Figures by the names of `evaluation.metrics`. A track without a steady beat, or without a key,
      has no error, and is no hit.
    """
    figures: dict[str, float | None] = {}
    rhythm = measure_rhythm(mono, sample_rate)
    if grid.bpm is not None:
        figures |= _compare_tempi(rhythm.bpm, grid.bpm)
    if grid.bpm is not None and grid.first_downbeat is not None:
        figures |= _compare_beats(mono, sample_rate, grid, rhythm.beats)
    if grid.key is not None:
        key, _ = estimate_key(mono, sample_rate)
        figures |= _compare_keys(key, grid.key)
    return figures


def _compare_tempi(measured: float | None, asked: float) -> dict[str, float | None]:
    error = None if measured is None else 100 * abs(measured / asked - 1)
    return {
        "asked_tempo_error": error,
        "asked_tempo_hit": float(error is not None and error <= TEMPO_PERCENT),
    }


def _compare_keys(measured: str | None, asked: str) -> dict[str, float | None]:
    import mir_eval

    score = 0.0 if measured is None else mir_eval.key.weighted_score(asked, measured)
    return {"asked_key_score": float(score), "asked_key_hit": float(measured == asked)}


def _compare_beats(
    mono: np.ndarray, sample_rate: int, grid: Grid, tracked: np.ndarray
) -> dict[str, float | None]:
    """Compares beats with those of the grid.

    Args:
      tracked: seconds of the beats of the track, float64 [beats].
    """
    import mir_eval

    period = grid.bar_samples(sample_rate) / BEATS_PER_BAR / sample_rate  # seconds
    assert grid.first_downbeat is not None
    first = grid.first_downbeat / sample_rate % period
    sound = resample_mono(mono, sample_rate, SAMPLE_RATE)
    onsets, attack = detect_onsets(sound, SAMPLE_RATE), compute_attack(sound)
    beats = np.arange(first, len(mono) / sample_rate, period)
    if len(beats) < 2 * SPAN:
        return {}
    start, end = (
        measure_offset(onsets, attack, some_beats, period)
        for some_beats in (beats[:SPAN], beats[-SPAN:])
    )
    shift = (end - start + period / 2) % period - period / 2
    return {
        "asked_beat_offset": 1000 * abs(end),
        "asked_beat_hit": float(1000 * abs(end) <= BEAT_MS),
        "asked_drift": 100 * abs(shift) / (beats[-SPAN] - beats[0]),
        "asked_beat_f": float(mir_eval.beat.f_measure(beats, tracked)) if len(tracked) else 0.0,
    }


def measure_offset(onsets: Onsets, attack: np.ndarray, beats: np.ndarray, period: float) -> float:
    """Measures the offset of the kicks from beats, in seconds, -period / 2 to period / 2.

    Args:
      attack: of `compute_attack`.
      beats: seconds, float64 [beats], `period` apart.
    """
    phases = (np.arange(CELLS) + 0.5) / CELLS * period
    frames = np.rint((beats[:, None] + phases) * FRAMES_PER_SECOND).astype(np.int64)
    profile = onsets.kick[np.clip(frames, 0, len(onsets.kick) - 1)].mean(axis=0)
    coarse = float(phases[profile.argmax()])
    reach = round(REACH * SAMPLE_RATE / ATTACK_STEP)
    centers = np.rint((beats + coarse) * SAMPLE_RATE / ATTACK_STEP).astype(np.int64)
    places = centers[:, None] + np.arange(-reach, reach + 1)
    folded = attack[np.clip(places, 0, len(attack) - 1)].mean(axis=0)
    fine = (int(folded.argmax()) - reach) * ATTACK_STEP / SAMPLE_RATE
    return float((coarse + fine + period / 2) % period - period / 2)


def measure_loop(sound: np.ndarray, sample_rate: int, grid: Grid) -> dict[str, float | None]:
    """Ranks the join of a loop among its beats.

    Args:
      sound: float32 [time, channels], whole bars.
    """
    half = len(sound) // 2
    turned = np.roll(sound, half, axis=0)  # the join is in the middle
    period = grid.bar_samples(sample_rate) / BEATS_PER_BAR
    beats = half + period * np.arange(-int(half / period) + 1, int(half / period))
    others = [round(beat) for beat in beats if abs(beat - half) > period / 2]
    if not others:
        return {}
    flux_rank, jump_rank = rank_join(turned, sample_rate, half, others)
    return {
        "loop_flux_rank": flux_rank,
        "loop_level_rank": jump_rank,
        "loop_hit": float(max(flux_rank, jump_rank) <= LOOP_RANK),
    }
