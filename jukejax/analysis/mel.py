"""Mel spectrograms with librosa's filters (Slaney's scale).

Letters: F frames, K frequency bins, M mel bands.
"""

import functools

import numpy as np

N_FFT, HOP, NUM_BANDS, LOWEST_HZ = 2048, 512, 96, 30.0  # parameters of the spectrograms in decibels
FLOOR_DB = -120.0
_MAX_COLUMNS = 1200
_BLOCK = 512  # frames transformed at once, which bounds the memory


@functools.lru_cache(maxsize=8)
def mel_filters(
    sample_rate: int,
    *,
    n_fft: int = N_FFT,
    num_bands: int = NUM_BANDS,
    lowest_hz: float = LOWEST_HZ,
    highest_hz: float | None = None,
    area: bool = False,
) -> np.ndarray:
    """Returns triangular filters, float64 [M, K].

    Args:
      highest_hz: None: half the sample rate.
      area: scales triangles to an area of 1 (librosa's "slaney") instead of a height of 1.
    """
    import librosa  # takes a second, and most commands do not need it

    return librosa.filters.mel(
        sr=sample_rate,
        n_fft=n_fft,
        n_mels=num_bands,
        fmin=lowest_hz,
        fmax=highest_hz or sample_rate / 2,
        norm="slaney" if area else None,
        dtype=np.float64,
    )


def band_centers(sample_rate: int = 44_100) -> np.ndarray:
    """Returns the frequencies in Hz of the maxima of the bands of `mel_decibels`, float64 [M]."""
    import librosa

    edges = librosa.mel_frequencies(n_mels=NUM_BANDS + 2, fmin=LOWEST_HZ, fmax=sample_rate / 2)
    return edges[1:-1]


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Converts frequencies to Slaney's mel scale."""
    import librosa

    return librosa.hz_to_mel(np.asarray(hz, np.float64))


def hann(size: int) -> np.ndarray:
    """Returns a periodic Hann window, float64 [size]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def mel_power(padded: np.ndarray, filters: np.ndarray, *, hop: int, num_frames: int) -> np.ndarray:
    """Computes the power of Hann-windowed frames in mel bands.

    Args:
      padded: [time], mono; frame i begins at sample i * hop.
      filters: [M, K], of `mel_filters`.
      hop: samples between frames.
      num_frames: frames to compute.

    Returns:
      float64 [F, M].
    """
    n_fft = 2 * (filters.shape[1] - 1)
    window = hann(n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop][:num_frames]
    blocks = (frames[start : start + _BLOCK] * window for start in range(0, len(frames), _BLOCK))
    return np.concatenate([np.abs(np.fft.rfft(block)) ** 2 @ filters.T for block in blocks])


def full_scale_power(n_fft: int) -> float:
    """Returns the power that a sine of amplitude 1 has over all bands, by Parseval's theorem."""
    return n_fft * float(np.sum(np.square(hann(n_fft)))) / 4


def mel_decibels(audio: np.ndarray, sample_rate: int = 44_100) -> np.ndarray:
    """Computes the mel spectrogram in dB of a full-scale sine. -> float32 [M, columns].

    If there are more than `_MAX_COLUMNS` frames, their powers are averaged to that many columns.

    Args:
      audio: [time] or [time, channels]; channels are averaged.

    Raises:
      ValueError: there are no samples.
    """
    audio = np.asarray(audio, np.float32)
    audio = np.nan_to_num(audio.mean(axis=1) if audio.ndim == 2 else audio)
    if audio.size == 0:
        raise ValueError("a mel picture needs audio, got 0 samples")
    padded = np.pad(audio, (N_FFT // 2, N_FFT // 2 + HOP))
    num_frames = 1 + audio.size // HOP
    power = mel_power(padded, mel_filters(sample_rate), hop=HOP, num_frames=num_frames).T
    power /= full_scale_power(N_FFT)
    columns = min(num_frames, _MAX_COLUMNS)
    firsts = np.arange(columns) * num_frames // columns
    sizes = np.diff(np.append(firsts, num_frames))
    power = np.add.reduceat(power, firsts, axis=1) / sizes
    return (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float32)
