"""Repair of faults of recordings: DC offset, anti-phase, one silent or two equal channels.

A model hears the mean of the channels: that of an anti-phase recording is silent, that of a
recording on one side 6 dB too soft. All commands that read sound apply the same repairs.
"""

from dataclasses import dataclass, field

import numpy as np

SILENT = 1e-3  # peak, -60 dB
DC = 0.005  # offsets above this are removed
ANTI_PHASE = 0.1  # a mono sum below this share of the channels' RMS is anti-phase
ONE_SIDED = 1e-3  # a channel below this share of the other's RMS is silent


class SoundStatistics:
    """Sums up a sound block by block, for `plan_repair`."""

    def __init__(self, channels: int):
        self.samples = 0
        self.total = np.zeros(channels)
        self.products = np.zeros((channels, channels))
        self.low = np.full(channels, np.inf)
        self.high = np.full(channels, -np.inf)
        self.channels_equal = True

    def add(self, block: np.ndarray) -> None:
        """Adds a block, float32 [time, channels]."""
        if not len(block):
            return
        self.samples += len(block)
        self.total += block.sum(axis=0, dtype=np.float64)
        wide = block.astype(np.float64)
        self.products += wide.T @ wide
        self.low = np.minimum(self.low, block.min(axis=0))
        self.high = np.maximum(self.high, block.max(axis=0))
        self.channels_equal &= np.array_equal(block[:, 0], block[:, -1])


@dataclass(frozen=True)
class Repair:
    """A linear repair of a sound.

    Attributes:
      offset: float32 [channels in], removed first.
      gains: float32 [channels in, channels out]; None: nothing is changed.
      notes: what was done, for the user.
    """

    offset: np.ndarray | None = None
    gains: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_identity(self) -> bool:
        """Returns true if the sound is not changed."""
        return self.offset is None and self.gains is None

    def channels(self, channels: int) -> int:
        """Returns the number of channels after the repair."""
        return channels if self.gains is None else self.gains.shape[1]

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Repairs a block, float32 [time, channels]."""
        if self.offset is not None:
            block = block - self.offset
        if self.gains is not None:
            block = block @ self.gains
        return np.ascontiguousarray(block)


def plan_repair(statistics: SoundStatistics) -> Repair:
    """Finds the faults of a sound from its statistics.

    Raises:
      ValueError: the sound is silent.
    """
    count = max(statistics.samples, 1)
    mean = statistics.total / count
    notes: list[str] = []
    offset = None
    if np.abs(mean).max() > DC:
        offset = mean.astype(np.float32)
        notes.append(f"DC offset of {mean[np.abs(mean).argmax()]:.3f} removed")
    removed = np.zeros_like(mean) if offset is None else mean
    peaks = np.maximum(statistics.high - removed, removed - statistics.low)
    if peaks.max() < SILENT:
        raise ValueError(f"silent (peak {20 * np.log10(max(peaks.max(), 1e-9)):.0f} dB)")
    if len(mean) != 2:
        return Repair(offset, None, notes)
    power = statistics.products / count - np.outer(removed, removed)
    rms = np.sqrt(np.maximum(np.diag(power), 0))
    if statistics.channels_equal:
        return Repair(offset, _gains([1], [0]), [*notes, "two equal channels: kept as mono"])
    for silent, (name, other) in enumerate((("left", "right"), ("right", "left"))):
        if rms[silent] <= ONE_SIDED * rms[1 - silent] and peaks[silent] < SILENT:
            note = f"the {name} channel is silent: the {other} one kept as mono"
            gains = _gains([0], [1]) if silent == 0 else _gains([1], [0])
            return Repair(offset, gains, [*notes, note])
    mono = np.sqrt(max(power.sum() / 4, 0))
    if mono < ANTI_PHASE * np.sqrt(np.mean(rms**2)):
        note = "anti-phase: right channel inverted, so that the mono sum does not cancel"
        return Repair(offset, _gains([1, 0], [0, -1]), [*notes, note])
    return Repair(offset, None, notes)


def _gains(left: list[int], right: list[int]) -> np.ndarray:
    """Returns the gains from left and from right to the channels of the result."""
    return np.array([left, right], np.float32)


def repair_sound(sound: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Repairs a sound, float32 [time, channels], and returns notes on what was done.

    Raises:
      ValueError: the sound is silent.
    """
    statistics = SoundStatistics(sound.shape[1])
    statistics.add(sound)
    repair = plan_repair(statistics)
    return (sound if repair.is_identity else repair(sound)), repair.notes
