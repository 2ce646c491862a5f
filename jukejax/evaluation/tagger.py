"""musicnn at work: sounds to the features that its tags are made of, 3 s at a time."""

import numpy as np
import soxr

from jukejax.analysis.mel import mel_filters, mel_power
from jukejax.data.audio import SAMPLE_RATE
from jukejax.models.musicnn import Weights, forward

RATE, N_FFT, HOP, MELS = 16_000, 512, 256, 96
FRAMES = 187  # of a piece, 3 s
_BATCH = 8


def embed(weights: Weights, sound: np.ndarray) -> np.ndarray:
    """Features of each 3 s of a sound, float32 [pieces, 200].

    Args:
      sound: float32 [time, channels] at 44.1 kHz; one shorter than 3 s is repeated.
    """
    return _run(weights, sound)[0]


def tags(weights: Weights, sound: np.ndarray) -> np.ndarray:
    """How likely each tag is in each 3 s of a sound, float32 [pieces, 50]."""
    return _run(weights, sound)[1]


def _run(weights: Weights, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mono = soxr.resample(np.asarray(sound, np.float32).mean(axis=1), SAMPLE_RATE, RATE, "HQ")
    mel = log_mel(np.resize(mono, max(len(mono), FRAMES * HOP)))
    pieces = mel[: len(mel) // FRAMES * FRAMES].reshape(-1, FRAMES, MELS)
    found = []
    for start in range(0, len(pieces), _BATCH):
        batch = pieces[start : start + _BATCH]
        padded = np.pad(batch, ((0, _BATCH - len(batch)), (0, 0), (0, 0)))
        features, probabilities = forward(weights, padded)
        found.append((features[: len(batch)], probabilities[: len(batch)]))
    return tuple(np.concatenate([np.asarray(x) for x in part]) for part in zip(*found, strict=True))


def log_mel(mono: np.ndarray) -> np.ndarray:
    """log10(1 + 10000 power) in mel bands of area 1, as librosa makes it: float32 [T, M]."""
    padded = np.pad(mono, N_FFT // 2)
    filters = mel_filters(RATE, n_fft=N_FFT, num_bands=MELS, lowest_hz=0.0, area=True)
    power = mel_power(padded, filters, hop=HOP, num_frames=1 + len(mono) // HOP)
    power = power.astype(np.float16).astype(np.float32)  # musicnn keeps 16 bits here
    return np.log10(10_000 * power + 1).astype(np.float32)
