"""Level and faults of audio: loudness, true peak, silence, clipping, DC.

Sounds are float [time, channels] at 44.1 kHz, unless noted otherwise.
"""

import math

import numpy as np
import soxr

from jukejax.data.audio import SAMPLE_RATE, Samples, iterate_blocks

MONO = 10 * math.log10(2)  # dB: difference in loudness of mono from two loudspeakers and from one
OVERSAMPLING = 4
SILENCE_DB = -60.0  # RMS of a silent step, at most
STEP = 0.05  # seconds
FULL_SCALE, CLIPPED_RUN = 0.999, 3  # consecutive samples at full scale of a clipped peak
_GATE_STEP = SAMPLE_RATE // 10  # samples: gating blocks of 0.4 s overlap by 75 %
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, 10.0  # LUFS, and LU below the mean
_BLOCK = 1 << 18  # samples oversampled at once
_MARGIN = 512  # samples of context for the filter on each side


class LoudnessMeter:
    """Measures integrated loudness block by block (ITU-R BS.1770-4, gated).

    The filters are pyloudnorm's, whose meter takes a whole sound, in three copies of it. The
    loudness of mono is that of the same signal in both channels.
    """

    def __init__(self, channels: int):
        import pyloudnorm

        stages = pyloudnorm.Meter(SAMPLE_RATE)._filters.values()
        self._filters = [(stage.passband_gain * stage.b, stage.a) for stage in stages]
        self._states = [np.zeros((max(len(b), len(a)) - 1, channels)) for b, a in self._filters]
        self._channels = channels
        self._rest = np.zeros((0, channels))
        self._powers: list[np.ndarray] = []  # sums of squares over steps of 0.1 s, all channels
        self._samples = 0

    def add(self, block: np.ndarray) -> None:
        """Adds a block, float [time, channels]."""
        from scipy import signal

        weighted = np.asarray(block, np.float64)
        for i, (b, a) in enumerate(self._filters):
            weighted, self._states[i] = signal.lfilter(b, a, weighted, axis=0, zi=self._states[i])
        self._samples += len(block)
        weighted = np.concatenate([self._rest, weighted])
        count = len(weighted) // _GATE_STEP * _GATE_STEP
        self._powers.append(self._sum_steps(weighted[:count]))
        self._rest = weighted[count:]

    def _sum_steps(self, weighted: np.ndarray) -> np.ndarray:
        return np.square(weighted).reshape(-1, _GATE_STEP * self._channels).sum(axis=1)

    def loudness(self) -> float | None:
        """Computes the loudness in LUFS.

        Returns:
          None if the sound is too soft, or shorter than a gating block of 0.4 s.
        """
        if self._samples < 4 * _GATE_STEP:
            return None
        padding = np.zeros((_GATE_STEP - len(self._rest), self._channels))
        last = self._sum_steps(np.concatenate([self._rest, padding]))
        steps = np.concatenate([*self._powers, last, np.zeros(4)])
        count = round(self._samples / _GATE_STEP - 4) + 1  # gating blocks, each four steps
        power = np.stack([steps[i : i + count] for i in range(4)]).sum(axis=0) / (4 * _GATE_STEP)
        level = -0.691 + 10 * np.log10(np.maximum(power, 1e-30))
        gated = power[level >= ABSOLUTE_GATE]
        if not gated.size:
            return None
        relative = -0.691 + 10 * math.log10(gated.mean()) - RELATIVE_GATE
        gated = power[(level > relative) & (level > ABSOLUTE_GATE)]
        if not gated.size:
            return None
        loudness = -0.691 + 10 * math.log10(gated.mean())
        return loudness + (MONO if self._channels == 1 else 0.0)


def measure_loudness(sound: Samples) -> float | None:
    """Computes the integrated loudness in LUFS; see `LoudnessMeter`.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.

    Returns:
      None if the sound is too soft, or shorter than a gating block.
    """
    meter = LoudnessMeter(sound.shape[1])
    for block in iterate_blocks(sound):
        meter.add(block)
    return meter.loudness()


def true_peak_db(sound: np.ndarray) -> float:
    """Computes the peak, including the signal between samples, in dBTP (ITU-R BS.1770-4, annex 2).

    Oversamples four times with soxr, whose filter is steeper than that of the annex.
    """
    peak = float(np.abs(sound).max(initial=0.0))
    for start in range(0, len(sound), _BLOCK):
        first = max(start - _MARGIN, 0)
        block = np.asarray(sound[first : start + _BLOCK + _MARGIN], np.float32)
        oversampled = soxr.resample(block, 1, OVERSAMPLING, quality="HQ")
        inner = oversampled[(start - first) * OVERSAMPLING :][: _BLOCK * OVERSAMPLING]
        peak = max(peak, float(np.abs(inner).max(initial=0.0)))
    return 20 * math.log10(max(peak, 1e-6))


def silent_share(sound: np.ndarray, *, sample_rate: int = SAMPLE_RATE) -> float:
    """Computes the share of 50 ms steps whose RMS is under `SILENCE_DB`, 0 to 1."""
    step = round(STEP * sample_rate)
    steps = len(sound) // step
    if not steps:
        return float(_rms(sound) < 10 ** (SILENCE_DB / 20))
    silent = 0
    for block in iterate_blocks(sound[: steps * step], _BLOCK // step * step):
        power = np.square(block, dtype=np.float64).mean(axis=1)
        level = np.sqrt(power.reshape(-1, step).mean(axis=1))
        silent += int((level < 10 ** (SILENCE_DB / 20)).sum())
    return silent / steps


def _rms(sound: np.ndarray) -> float:
    return math.sqrt(np.square(sound, dtype=np.float64).mean()) if sound.size else 0.0


def clipped_share(sound: np.ndarray) -> float:
    """Computes the share of samples in runs of `CLIPPED_RUN` or more at full scale, same sign."""
    clipped = 0
    for channel in np.asarray(sound).T:
        for sign in (1, -1):
            at = np.concatenate([[False], sign * channel >= FULL_SCALE, [False]])
            edges = np.flatnonzero(np.diff(at.astype(np.int8)))
            runs = edges[1::2] - edges[::2]
            clipped += int(runs[runs >= CLIPPED_RUN].sum())
    return clipped / max(sound.size, 1)


def dc_offset(sound: np.ndarray) -> float:
    """Computes the largest mean of a channel, as a share of full scale."""
    return float(np.abs(sound.mean(axis=0, dtype=np.float64)).max(initial=0.0))


def measure_level(sound: np.ndarray) -> dict[str, float | None]:
    """Computes all figures by name: loudness_lufs (may be None), true_peak_db, silent, clipped, dc.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.
    """
    return {
        "loudness_lufs": measure_loudness(sound),
        "true_peak_db": true_peak_db(sound),
        "silent": silent_share(sound),
        "clipped": clipped_share(sound),
        "dc": dc_offset(sound),
    }
