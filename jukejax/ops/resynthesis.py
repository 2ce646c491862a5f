"""Audio to its complex spectrogram and back: what masks are laid on.

A periodic Hann window on both ways. With `hop` a quarter of `frame` the squared windows sum to 3/2,
so that 2/3 of the sum is the signal again, wherever four frames overlap.

Letters: B batch, T samples, N frames, F frequencies (frame / 2 + 1), C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

OVERLAPS = 4  # frames over each sample
GAIN = 2 / 3  # 1 / the sum of the squared windows


def _hann(frame: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)).astype(np.float32)


def spectrogram(audio: jax.Array, frame: int) -> jax.Array:
    """Spectra of frames a quarter of a frame apart. [B, T, C] -> complex [B, N, F, C].

    T is (N + 3) * frame / 4: frame i begins at sample i * frame / 4, nothing is padded.
    """
    hop = frame // OVERLAPS
    batch, length, channels = audio.shape
    rows = audio.reshape(batch, length // hop, hop, channels)
    num_frames = length // hop - OVERLAPS + 1
    frames = jnp.concatenate([rows[:, i : i + num_frames] for i in range(OVERLAPS)], axis=2)
    frames = frames.transpose(0, 1, 3, 2)  # [B, N, C, frame]
    return jnp.fft.rfft(frames * _hann(frame)).transpose(0, 1, 3, 2)


def overlap_add(spectra: jax.Array, frame: int) -> jax.Array:
    """The inverse of `spectrogram`, but for the first and last three quarters of a frame.

    complex [B, N, F, C] -> [B, T, C] with T = (N + 3) * frame / 4; there, where fewer than four
    frames overlap, the result is what they give: outputs of neighbouring segments can be added.
    """
    hop = frame // OVERLAPS
    frames = jnp.fft.irfft(spectra.transpose(0, 1, 3, 2), n=frame) * (GAIN * _hann(frame))
    batch, num_frames, channels, _ = frames.shape
    rows = frames.transpose(0, 1, 3, 2).reshape(batch, num_frames, OVERLAPS, hop, channels)
    last = OVERLAPS - 1
    padded = [
        jnp.pad(rows[:, :, i], ((0, 0), (i, last - i), (0, 0), (0, 0))) for i in range(OVERLAPS)
    ]
    return sum(padded).reshape(batch, (num_frames + last) * hop, channels)
