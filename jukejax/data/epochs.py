"""Which windows an epoch has, and what is drawn for each: planned before anything is read."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jukejax.data import corpus


class Example(NamedTuple):
    """One window to read.

    Attributes:
      window: its number in `Windows`.
      start: its first sample in the stored track.
      blend: share of the left channel in the mono sum; None for the mean of the channels.
    """

    window: int
    start: int
    blend: float | None = None


class Order:
    """The order in which the windows are visited: another permutation each epoch, for ever.

    Not grain's own shuffle: with few windows that takes up to 1.5 ms for each, three times what it
    takes to read one.
    """

    def __init__(self, windows: int, seed: int):
        self._windows, self._seed = windows, seed
        self._permutation = functools.lru_cache(maxsize=2)(self._permute)

    def window(self, visit: int) -> int:
        """The window of visit number `visit`, from 0."""
        epoch, place = divmod(visit, self._windows)
        return int(self._permutation(epoch)[place])

    def random(self, visit: int) -> np.random.Generator:
        """Random numbers of that visit's own."""
        return np.random.Generator(np.random.Philox(key=[self._seed, visit]))

    def _permute(self, epoch: int) -> np.ndarray:
        seeds = np.random.SeedSequence([self._seed, epoch])
        return np.random.Generator(np.random.Philox(seeds)).permutation(self._windows)


@dataclass(frozen=True)
class Windows:
    """Every window of a split, in track order.

    Attributes:
      track: int64 [windows], index of the track.
      order: int64 [windows], place among the windows of that track.
      count: int64 [windows], how many windows that track has.
      starts: int64 [windows], how many different starts a crop of that track can have.
      size, grid: length of a window and the grid that its start keeps to, in samples.
    """

    track: np.ndarray
    order: np.ndarray
    count: np.ndarray
    starts: np.ndarray
    size: int
    grid: int

    def __len__(self) -> int:
        return len(self.track)

    def start(self, i: int, crop: float | None) -> int:
        """First sample of window `i`.

        Without a crop the windows of a track follow one another from its start. With `crop` in
        [0, 1) window `i` starts anywhere in its share of the possible starts, so that all windows
        of an epoch together cover each start equally often.
        """
        if crop is None:
            return int(self.order[i]) * self.size
        place = (int(self.order[i]) + crop) / int(self.count[i])
        return min(int(place * self.starts[i]), int(self.starts[i]) - 1) * self.grid

    def draw(
        self, i: int, random: np.random.Generator, *, aug_shift: bool, aug_blend: bool
    ) -> Example:
        """Window `i` with the augmentation that this visit to it gets.

        `aug_shift` crops at random, `aug_blend` draws the share of the left channel from U[0, 1),
        one draw an example, as OpenAI's `audio_preprocess` does (jukebox/utils/audio_utils.py).

        NOTE: OpenAI shifts a window by up to half its length to each side of its place and, where
        that crosses the end of a song, moves it back: starts near the ends come up more often. Our
        crops cover every start equally often.
        """
        start = self.start(i, random.random() if aug_shift else None)
        return Example(i, start, random.random() if aug_blend else None)


def plan_windows(
    tracks: tuple[corpus.Track, ...], *, size: int, grid: int, split: str, key: str
) -> Windows:
    """Cuts tracks into windows of `size` samples; tracks shorter than one window are left out.

    Args:
      key: the config key that sets the size, for the message if nothing is long enough.
    """
    samples = np.array([track.samples for track in tracks], np.int64)
    count = samples // size
    if not count.sum():
        longest = samples.max(initial=0) / 44100
        raise ValueError(
            f"none of the {len(tracks)} {split} tracks holds a window of {size} samples "
            f"({size / 44100:.2f} s; the longest has {longest:.2f} s); make {key} smaller or add "
            "longer tracks"
        )
    return Windows(
        track=np.repeat(np.arange(len(tracks)), count),
        order=np.concatenate([np.arange(n) for n in count]),
        count=np.repeat(count, count),
        starts=np.repeat((samples - size) // grid + 1, count),
        size=size,
        grid=grid,
    )
