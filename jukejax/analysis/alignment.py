"""Constant shifts between a sound and its processed version, by cross-correlation.

Sounds are mono, float [time]. A shift is the number of samples by which the output is later.
"""

import numpy as np
import scipy.signal

MAX_SECONDS = 1.0  # largest shift that is searched
_EXCERPT_SECONDS = 30.0  # the part that is correlated, before the whole sounds are compared
_LEAST_CORRELATION = 0.5
_LEAST_GAIN = 2.0  # factor by which a shift reduces the unexplained power (3 dB)


def find_shift(target: np.ndarray, output: np.ndarray, sample_rate: int) -> int:
    """Finds the constant shift of a processed sound against its original.

    The shift must explain the whole sound: correlation 0.5 or more in absolute value, and an
    unexplained power of at most half of that without a shift. Music that repeats, or drifts, has no
    shift by this rule.

    Returns:
      Samples by which the output is later, negative if it is earlier; 0 without a clear shift.
    """
    length = min(len(target), len(output))
    begin, end = _select_excerpt(target[:length], round(_EXCERPT_SECONDS * sample_rate))
    first, second = (np.asarray(x[begin:end], np.float64) for x in (target, output))
    reach = min(round(MAX_SECONDS * sample_rate), (end - begin) // 2)
    products = scipy.signal.correlate(second, first, mode="full", method="fft")
    center = end - begin - 1
    products = products[center - reach : center + reach + 1]
    shift = int(np.argmax(np.abs(products) / _overlap_norms(first, second, reach))) - reach
    aligned, unaligned = _correlate_at(target, output, shift), _correlate_at(target, output, 0)
    gain = (1 - unaligned**2) / max(1 - aligned**2, 1e-12)
    return shift if abs(aligned) >= _LEAST_CORRELATION and gain >= _LEAST_GAIN else 0


def align(target: np.ndarray, output: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the parts of the sounds that correspond at a shift, of equal length."""
    target, output = target[max(-shift, 0) :], output[max(shift, 0) :]
    length = min(len(target), len(output))
    return target[:length], output[:length]


def _select_excerpt(sound: np.ndarray, size: int) -> tuple[int, int]:
    """Returns begin and end of the stretch of most energy, on a grid of its length."""
    starts = np.arange(0, max(len(sound), 1), size)
    energy = np.add.reduceat(np.square(sound, dtype=np.float64), starts)
    begin = int(starts[np.argmax(energy)])
    return begin, min(begin + size, len(sound))


def _overlap_norms(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    """Computes for each shift of `second` the product of the norms of the overlapping parts.

    Returns:
      Float64 [2 * reach + 1], never 0.
    """
    powers = [np.concatenate([[0.0], np.cumsum(np.square(x))]) for x in (first, second)]
    shifts, last = np.arange(-reach, reach + 1), len(first)
    overlaps = [
        power[np.minimum(last - sign * shifts, last)] - power[np.maximum(-sign * shifts, 0)]
        for sign, power in zip((1, -1), powers, strict=True)
    ]
    return np.sqrt(np.maximum(overlaps[0] * overlaps[1], 1e-12))


def _correlate_at(target: np.ndarray, output: np.ndarray, shift: int) -> float:
    first, second = (np.asarray(x, np.float64) for x in align(target, output, shift))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm > 0 else 0.0
