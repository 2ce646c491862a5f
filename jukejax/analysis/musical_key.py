"""Musical key, from the notes and the chords of a whole sound.

The notes alone leave open which of them is the tonic: neighboring keys share all notes but one, and
a ninth chord contains the triads of two or three keys. Chords decide it. Each frame is compared
with the 24 major and minor triads; if the root of a triad is in the bass, it is more likely. The
key is the one in which these notes (Krumhansl, "Cognitive Foundations of Musical Pitch", 1990) and
these chords (Noland and Sandler, "Key Estimation Using a Hidden Markov Model", 2006) are usual.
Only peaks far above the spectrum around them count as tones, so that drums do not.

Letters: F frames, T tones.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage

from jukejax.analysis.chroma import estimate_tuning, find_peaks, name_pitches, resample_tonal
from jukejax.data.grid import TONICS

MODES = ("major", "minor")
NOTE_HZ, CHORD_HZ, BASS_HZ = (130.0, 1000.0), (130.0, 500.0), (60.0, 130.0)  # kicks are lower
_FFT, _HOP = 8192, 2048
_NEIGHBORS = 41  # bins around a peak whose median is the level of noise
_ABOVE, _BASS_ABOVE = 4.0, 2.0  # ratio of a tone to that level
_FEWEST = 0.5  # tones per frame in a sound with pitches
_SPAN = 3  # frames averaged for a chord: 1.1 s with the window
_BASS_SHARE = 0.2  # weight of the bass note against the likeness of the triad
_SHARPNESS = 20.0  # of the decision between triads
# Weights of notes, major and minor triads from the tonic up in semitones, of major and of minor
# keys: log odds, fitted by launch/fit_key.py.
WEIGHTS = np.array(
    [
        [
            [4.5, -0.7, 1.0, -1.2, 1.7, 1.7, -3.8, 1.3, -1.0, -1.3, -2.8, 0.5],
            [9.3, -0.4, -0.2, -2.5, -0.1, 1.7, -0.1, 2.8, -0.4, -1.1, -1.5, -1.2],
            [-0.6, -0.7, 2.1, -0.3, 0.2, -0.5, -0.1, -4.0, 1.2, -0.5, -1.4, -0.9],
        ],
        [
            [3.3, -5.5, 1.3, 2.1, -3.4, -0.9, -1.3, 1.9, 1.1, 0.7, 2.1, -1.6],
            [1.8, -2.1, -3.0, 1.1, -0.5, -2.6, -0.3, 1.1, -0.3, -0.8, 0.5, -1.0],
            [10.0, -1.0, -3.2, 1.2, -0.7, 3.5, -0.4, 1.0, -0.4, -3.0, 0.0, -1.3],
        ],
    ]
)
MINOR_ADVANTAGE = 0.0  # of minor keys, in the same unit
_NOTES = 5.0  # effective number of pitch classes from which a key is certain


class Harmony(NamedTuple):
    """Notes and chords of a sound by pitch class, C first, float64 [12] each.

    Attributes:
      notes: shares of the strength of all tones.
      major, minor: shares of the time of the major and the minor triads, together 1.
    """

    notes: np.ndarray
    major: np.ndarray
    minor: np.ndarray


class _Tones(NamedTuple):
    """Tones of a sound, in any order.

    Attributes:
      frame: int64 [T].
      hertz, magnitude: float64 [T].
      above: ratio of the magnitude to that of the noise around, float64 [T].
    """

    frame: np.ndarray
    hertz: np.ndarray
    magnitude: np.ndarray
    above: np.ndarray


def estimate_key(mono: np.ndarray, sample_rate: int) -> tuple[str | None, float]:
    """Estimates the key of a sound, float32 [time], such as "A minor".

    Returns:
      The key, and the confidence in it, 0 to 1. A sound without pitches has no key: None, 0.0.
    """
    harmony = measure_harmony(mono, sample_rate)
    if harmony is None:
        return None, 0.0
    scores = score_keys(scale_harmony(harmony), WEIGHTS, MINOR_ADVANTAGE)
    mode, tonic = np.unravel_index(scores.argmax(), scores.shape)
    probability = 1 / np.exp(scores - scores.max()).sum()
    notes = np.exp(-np.sum(harmony.notes * np.log(harmony.notes + 1e-12)))
    variety = np.clip((notes - 1) / (_NOTES - 1), 0, 1)
    return f"{TONICS[tonic]} {MODES[mode]}", float(probability * variety)


def scale_harmony(harmony: Harmony) -> np.ndarray:
    """Scales notes and chords for `score_keys`, float64 [3, 12].

    Square roots: which notes and chords occur counts more than how long.
    """
    return np.sqrt(np.stack(harmony))


def score_keys(scaled: np.ndarray, weights: np.ndarray, minor_advantage: float) -> np.ndarray:
    """Computes the scores of the keys, logarithms of odds, float64 [2 modes, 12 tonics].

    Args:
      scaled: of `scale_harmony`.
      weights: of notes, major and minor triads from the tonic up in semitones, [2 modes, 3, 12].
    """
    from_tonic = np.stack([np.roll(scaled, -tonic, axis=1) for tonic in range(12)])
    scores = np.einsum("mfk,tfk->mt", weights, from_tonic)
    return scores + np.array([[0.0], [minor_advantage]])


def measure_harmony(mono: np.ndarray, sample_rate: int) -> Harmony | None:
    """Measures notes and chords of a sound, float32 [time]; None for one without pitches."""
    mono = resample_tonal(mono, sample_rate)
    tones = _find_tones(mono)
    is_note = (tones.above > _ABOVE) & _select_band(tones, NOTE_HZ)
    if is_note.sum() < max(_FEWEST * len(mono) / _HOP, 1):
        return None
    strength = np.log(tones.above[is_note] / _ABOVE)
    tuning = estimate_tuning(tones.hertz[is_note], strength)
    pitch_class, purity = name_pitches(tones.hertz, tuning)
    notes = np.bincount(pitch_class[is_note], strength * purity[is_note], minlength=12)
    place, level = tones.frame * 12 + pitch_class, np.sqrt(tones.magnitude) * purity
    bands, mean = [], np.full(_SPAN, 1 / _SPAN)
    for band, least in ((CHORD_HZ, _ABOVE), (BASS_HZ, _BASS_ABOVE)):
        within = (tones.above > least) & _select_band(tones, band)
        count = 1 + len(mono) // _HOP
        chroma = np.bincount(place[within], level[within], minlength=12 * count).reshape(-1, 12)
        bands.append(scipy.ndimage.correlate1d(chroma, mean, axis=0, mode="constant"))
    return Harmony(notes / notes.sum(), *_share_chords(*bands))


def _find_tones(mono: np.ndarray) -> _Tones:
    """Finds the spectral peaks that are clearer than noise."""
    blocks = [np.zeros((4, 0))]
    for first, magnitude, peaks in find_peaks(mono, _FFT, _HOP, 1.1 * NOTE_HZ[1]):
        noise = scipy.ndimage.median_filter(magnitude, (1, _NEIGHBORS))[peaks.frame, peaks.bin]
        level = magnitude[peaks.frame, peaks.bin]
        above = level / np.maximum(noise, 1e-9)
        blocks.append(
            np.stack([peaks.frame + first, peaks.hertz, level, above])[:, above > _BASS_ABOVE]
        )
    frame, hertz, level, above = np.concatenate(blocks, axis=1)
    return _Tones(frame.astype(np.int64), hertz, level, above)


def _select_band(tones: _Tones, band: tuple[float, float]) -> np.ndarray:
    return (tones.hertz >= band[0]) & (tones.hertz < band[1])


def _share_chords(harmony: np.ndarray, bass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shares of the time of major and minor triads, float64 [12] each.

    Args:
      harmony, bass: strengths of the pitch classes, float64 [F, 12].
    """
    sounding = harmony.any(axis=1)
    if not sounding.any():
        return np.full(12, 1 / 24), np.full(12, 1 / 24)
    tones, root = (_normalize_rows(np.sqrt(chroma[sounding])) for chroma in (harmony, bass))
    likeness = tones @ _list_triads().T + _BASS_SHARE * np.tile(root, 2)
    decision = np.exp(_SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
    major, minor = np.split((decision / decision.sum(axis=1, keepdims=True)).mean(axis=0), 2)
    return major, minor


def _list_triads() -> np.ndarray:
    """Returns the pitch classes of the major and the minor triads, unit rows, float64 [24, 12]."""
    triads = np.zeros((2, 12, 12))
    for mode, third in enumerate((4, 3)):
        for root in range(12):
            triads[mode, root, (root + np.array([0, third, 7])) % 12] = 3**-0.5
    return triads.reshape(24, 12)


def _normalize_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
