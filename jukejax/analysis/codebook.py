"""How well a codebook is used (Jukebox, section 3.1: collapse, and codes that are restarted)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CodebookFigures:
    """What counts of codes say.

    Attributes:
      size: codes there are.
      used: codes that occur at least `threshold` times.
      entropy_bits: what a code costs to a reader who knows only how often each occurs.
    """

    size: int
    used: int
    entropy_bits: float

    @property
    def dead(self) -> int:
        """Codes that occur less often than the threshold."""
        return self.size - self.used

    @property
    def perplexity(self) -> float:
        """The size of a codebook that is used evenly and carries as much."""
        return 2.0**self.entropy_bits

    def table(self) -> dict[str, float]:
        """By name: usage and dead as shares of the codebook, perplexity, entropy."""
        return {
            "usage": self.used / self.size,
            "dead": self.dead / self.size,
            "perplexity": self.perplexity,
            "entropy_bits": self.entropy_bits,
        }


def counts(codes: np.ndarray, size: int) -> np.ndarray:
    """How often each code occurs, int64 [size].

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


def figures(occurrences: np.ndarray, *, threshold: float = 1.0) -> CodebookFigures:
    """What the counts [size] of codes say.

    Args:
      threshold: a code with fewer occurrences is dead; 1.0, as the training restarts them.
    """
    total = occurrences.sum()
    if total <= 0:
        raise ValueError("the figures of a codebook need at least one code, got none")
    share = occurrences[occurrences > 0] / total
    entropy = max(0.0, float(-(share * np.log2(share)).sum()))
    return CodebookFigures(len(occurrences), int((occurrences >= threshold).sum()), entropy)
