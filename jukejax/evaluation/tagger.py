"""Features and tags of sounds, computed by musicnn for segments of 3 s."""

from typing import NamedTuple

import numpy as np
import soxr

from jukejax.analysis.mel import mel_filters, mel_power
from jukejax.data.audio import SAMPLE_RATE
from jukejax.models.musicnn import TAG_NAMES, Weights, compute_tags

RATE, N_FFT, HOP, MELS = 16_000, 512, 256, 96
FRAMES = 187  # frames of a segment, 3 s
_BATCH = 8
NUM_TOP = 3  # most likely tags of a sound, as musicnn prints them
DANCE_TAGS = {"House", "electronic", "electronica"}


class Tagging(NamedTuple):
    """Holds the features and the most likely tags of a sound.

    Attributes:
      features: float32 [segments, 200].
      top_tags: names of the tags that are most likely on average.
    """

    features: np.ndarray
    top_tags: tuple[str, ...]

    @property
    def figures(self) -> dict[str, float | None]:
        """Returns {"dance_tag": 1.0 if one of the top tags is in `DANCE_TAGS`, else 0.0}."""
        return {"dance_tag": float(bool(DANCE_TAGS & set(self.top_tags)))}


def tag_sound(weights: Weights, sound: np.ndarray) -> Tagging:
    """Computes the features of each 3 s of a sound, and its most likely tags.

    Args:
      sound: float32 [time, channels] at 44.1 kHz; one shorter than 3 s is repeated.
    """
    mono = soxr.resample(np.asarray(sound, np.float32).mean(axis=1), SAMPLE_RATE, RATE, "HQ")
    mel = compute_log_mel(np.resize(mono, max(len(mono), FRAMES * HOP)))
    segments = mel[: len(mel) // FRAMES * FRAMES].reshape(-1, FRAMES, MELS)
    features, tags = [], []
    for start in range(0, len(segments), _BATCH):
        batch = segments[start : start + _BATCH]
        padded = np.pad(batch, ((0, _BATCH - len(batch)), (0, 0), (0, 0)))
        batch_features, batch_tags = compute_tags(weights, padded)
        features.append(np.asarray(batch_features[: len(batch)]))
        tags.append(np.asarray(batch_tags[: len(batch)]))
    order = np.argsort(-np.concatenate(tags).mean(axis=0), kind="stable")
    return Tagging(np.concatenate(features), tuple(TAG_NAMES[i] for i in order[:NUM_TOP]))


def compute_log_mel(mono: np.ndarray) -> np.ndarray:
    """Computes log10(1 + 10000 power) in mel bands of area 1, as librosa does: float32 [T, M]."""
    padded = np.pad(mono, N_FFT // 2)
    filters = mel_filters(RATE, n_fft=N_FFT, num_bands=MELS, lowest_hz=0.0, area=True)
    power = mel_power(padded, filters, hop=HOP, num_frames=1 + len(mono) // HOP)
    power = power.astype(np.float16).astype(np.float32)  # rounded to 16 bits as in musicnn
    return np.log10(10_000 * power + 1).astype(np.float32)
