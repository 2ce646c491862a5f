"""Figures of the use of a codebook (Jukebox, section 3.1, on collapse and restarts of codes)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CodebookUsage:
    """Figures of the counts of codes.

    Attributes:
      size: of the codebook.
      used: codes that occur at least `threshold` times.
      entropy_bits: of the distribution of codes, in bits per code.
    """

    size: int
    used: int
    entropy_bits: float

    @property
    def dead(self) -> int:
        """Returns the number of codes that occur less often than the threshold."""
        return self.size - self.used

    @property
    def perplexity(self) -> float:
        """Returns the size of an evenly used codebook of the same entropy."""
        return 2.0**self.entropy_bits

    def to_dict(self) -> dict[str, float]:
        """Returns figures by name: usage and dead as shares, perplexity, entropy."""
        return {
            "usage": self.used / self.size,
            "dead": self.dead / self.size,
            "perplexity": self.perplexity,
            "entropy_bits": self.entropy_bits,
        }


def count_codes(codes: np.ndarray, size: int) -> np.ndarray:
    """Counts each code of a codebook of `size` codes, int64 [size].

    Raises:
      ValueError: a code is outside of the codebook.
    """
    codes = np.asarray(codes).ravel()
    if codes.size and not 0 <= codes.min() <= codes.max() < size:
        raise ValueError(
            f"codes run from {codes.min()} to {codes.max()}, but the codebook has {size}: they "
            "were made with another VQ-VAE"
        )
    return np.bincount(codes, minlength=size)


def measure_usage(counts: np.ndarray, *, threshold: float = 1.0) -> CodebookUsage:
    """Computes figures of the counts [size] of codes.

    Args:
      threshold: least number of occurrences of a code that is not dead; training restarts codes
        below 1.0.

    Raises:
      ValueError: all counts are 0.
    """
    total = counts.sum()
    if total <= 0:
        raise ValueError("the figures of a codebook need at least one code, got none")
    share = counts[counts > 0] / total
    entropy = max(0.0, float(-(share * np.log2(share)).sum()))
    return CodebookUsage(len(counts), int((counts >= threshold).sum()), entropy)
