"""Removal of vocals by REPET-SIM.

Rafii and Pardo, "Music/Voice separation using the similarity matrix", ISMIR 2012: sound that
recurs in similar frames of the track is accompaniment, the rest is voice. It needs no weights, and
is less effective than Spleeter.

Letters: T samples, C channels, F frequencies, N frames.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jukejax.data.audio import Samples

if TYPE_CHECKING:
    import scipy.sparse

SAMPLE_RATE = 44100
N_FFT = 4096
HOP = 2048
BLOCK = 44100 * 48  # samples of a block, which bounds the memory
OVERLAP = 44100 * 4  # samples of the cross-fade between blocks
MIN_DISTANCE = 2.0  # smallest distance in seconds of frames that count as repetitions
NUM_NEIGHBORS = 40
MARGIN = 3.0  # ratio of voice to accompaniment above which a bin is removed
VOICE_BAND = (200.0, 6000.0)  # Hz: kick and bass are below, hats above


def remove_vocals(audio: Samples) -> Iterator[np.ndarray]:
    """Removes the vocals from a mix of any length.

    Args:
      audio: float32 [T, C] at 44.1 kHz.

    Yields:
      The instrumental in blocks, float32 [time, C], T samples in all.
    """
    starts = block_starts(len(audio), BLOCK, OVERLAP)
    shared = np.zeros((0, audio.shape[1]), np.float32)  # end of the block before
    for start, following in zip(starts, [*starts[1:], len(audio)], strict=True):
        block = _filter_block(audio[start : start + BLOCK])
        fade = np.linspace(0, 1, len(shared), dtype=np.float32)[:, None]
        block[: len(shared)] = fade * block[: len(shared)] + (1 - fade) * shared
        yield block[: following - start]
        shared = block[following - start :]


def block_starts(length: int, block: int, overlap: int) -> list[int]:
    """Returns the starts of blocks that cover `length` and share at least `overlap`.

    The last block ends at `length`.
    """
    count = max(1, math.ceil((length - overlap) / (block - overlap)))
    return [min(i * (block - overlap), max(0, length - block)) for i in range(count)]


def _filter_block(audio: np.ndarray) -> np.ndarray:
    """Removes the vocals from one block, float32 [T, C] of the same shape."""
    import librosa  # slow to import

    if len(audio) < N_FFT:
        return audio.copy()
    spectrum = librosa.stft(np.ascontiguousarray(audio.T), n_fft=N_FFT, hop_length=HOP)
    magnitude = np.abs(spectrum)  # [C, F, N]
    repetition = _find_similar_frames(magnitude.mean(axis=0))
    if repetition is None:
        return audio.copy()
    repeating = librosa.decompose.nn_filter(magnitude, rec=repetition, aggregate=np.median)
    repeating = np.minimum(magnitude, repeating)
    voice = magnitude - repeating
    mask = librosa.util.softmask(repeating * MARGIN, voice, power=2)
    mask[:, : round(VOICE_BAND[0] * N_FFT / SAMPLE_RATE)] = 1.0
    instrumental = librosa.istft(mask * spectrum, n_fft=N_FFT, hop_length=HOP, length=len(audio))
    return np.ascontiguousarray(instrumental.T)


def _find_similar_frames(magnitude: np.ndarray) -> "scipy.sparse.csc_matrix | None":
    """Finds the frames that are most similar to each frame, including itself.

    Frames are compared outside of the voice's band: kick, bass and hats determine the position in
    the bar, independently of the voice. With the full spectrum a sung note matches its repetitions
    in other verses, and becomes accompaniment: on the house corpus the gain in SI-SDR is 2.0 dB
    with the full spectrum and 3.4 dB without the band.

    NOTE: librosa.segment.recurrence_matrix drops close frames after the selection of neighbors, in
    Python loops, so that few remain; here close frames are excluded before the selection.

    Args:
      magnitude: [F, N].

    Returns:
      A sparse 0/1 matrix [N, N] whose column t marks the frames similar to frame t; None if the
      block is too short for repetitions.
    """
    import scipy.sparse

    frames = magnitude.shape[1]
    distance = math.ceil(MIN_DISTANCE * SAMPLE_RATE / HOP)
    count = min(NUM_NEIGHBORS, frames - 2 * distance)
    if count < 3:
        return None
    frequency = np.arange(len(magnitude)) * SAMPLE_RATE / N_FFT
    outside = (frequency < VOICE_BAND[0]) | (frequency > VOICE_BAND[1])
    feature = np.sqrt(magnitude[outside])
    unit = feature / np.maximum(np.linalg.norm(feature, axis=0), 1e-9)
    similarity = unit.T @ unit
    time = np.arange(frames)
    similarity[np.abs(time[:, None] - time) < distance] = -1.0
    nearest = np.argpartition(similarity, -count, axis=0)[-count:]  # [count, N]
    rows = np.concatenate([nearest, time[None]]).T.ravel()
    columns = np.repeat(time, count + 1)
    data = np.ones(rows.shape, bool)
    return scipy.sparse.csc_matrix((data, (rows, columns)), shape=(frames, frames))
