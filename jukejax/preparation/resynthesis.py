"""Complex spectrograms of audio and their inverse, on the host, for separation masks.

Both directions use a periodic Hann window. With a hop of a quarter of a frame, the squared windows
sum to 3/2 where four frames overlap, so that the overlap-add times 2/3 is the signal.

NOTE: SciPy's FFT is used, not `jnp.fft` under `jit`: see `ops/dft.py`. Spleeter's nets take a
hundred times as long.

Letters: B batch, T samples, N frames, F frequencies (frame / 2 + 1), C channels.
"""

import functools

import numpy as np
import scipy.fft

OVERLAPS = 4  # frames over each sample
GAIN = 2 / 3  # 1 / the sum of the squared windows


@functools.cache
def _hann(frame: int) -> np.ndarray:
    """Returns a periodic Hann window, float32 [frame, 1]."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    return window.astype(np.float32)[:, None]


def compute_spectrogram(audio: np.ndarray, frame: int) -> np.ndarray:
    """Transforms frames a quarter of a frame apart. float32 [B, T, C] -> complex64 [B, N, F, C].

    T is (N + 3) * frame / 4: frame i begins at sample i * frame / 4, without padding.
    """
    frames = np.lib.stride_tricks.sliding_window_view(audio, frame, axis=1)
    frames = frames[:, :: frame // OVERLAPS].swapaxes(2, 3)  # [B, N, frame, C]
    return scipy.fft.rfft(frames * _hann(frame), axis=2, workers=-1)


def overlap_add(spectra: np.ndarray, frame: int) -> np.ndarray:
    """Inverts `compute_spectrogram`, except for the first and last three quarters of a frame.

    complex64 [B, N, F, C] -> float32 [B, T, C] with T = (N + 3) * frame / 4. At both ends, where
    fewer than four frames overlap, the result is their sum: the outputs of adjacent segments can be
    added.
    """
    hop = frame // OVERLAPS
    frames = scipy.fft.irfft(spectra, n=frame, axis=2, workers=-1) * (GAIN * _hann(frame))
    batch, num_frames, _, channels = frames.shape
    rows = frames.reshape(batch, num_frames, OVERLAPS, hop, channels)
    audio = np.zeros((batch, num_frames + OVERLAPS - 1, hop, channels), np.float32)
    for i in range(OVERLAPS):
        audio[:, i : i + num_frames] += rows[:, :, i]
    return audio.reshape(batch, -1, channels)
