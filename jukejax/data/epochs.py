"""Epochs: their windows, the order of the windows, and the random numbers of each visit."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jukejax.common.formatting import format_count
from jukejax.data import audio, corpus

MAX_NAMED = 5  # tracks without a window that are named
GOLDEN_RATIO = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, however many are taken


class Example(NamedTuple):
    """A window to read.

    Attributes:
      window: its index in `Windows`.
      start: its first sample in the stored track.
      blend: weight of the left channel in the mono mix; None for the mean of the channels.
      gain: factor of the samples; less where they would exceed full scale.
      mute: first and last sample (exclusive) of a stretch of silence in the window; None without.
    """

    window: int
    start: int
    blend: float | None = None
    gain: float = 1.0
    mute: tuple[int, int] | None = None


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the windows of a training split.

    Attributes:
      shift: crop at random in each epoch; otherwise windows are on a grid of their own length from
        the start of each track.
      blend: mix the channels of stereo tracks with random weights, left u and right 1 - u with u
        from U[0, 1), one draw per example; otherwise their mean.
      gain: dB; the level of each example is changed by U[-gain, gain) dB.
      mute: share of the examples with a stretch of silence, of up to half the window.
    """

    shift: bool = True
    blend: bool = False
    gain: float = 0.0
    mute: float = 0.0


class Order:
    """Orders the windows: a new permutation in each epoch.

    NOTE: Grain's shuffle takes up to 1.5 ms per window when there are few windows, three times
    as long as reading one.
    """

    def __init__(self, windows: int, seed: int):
        self._windows, self._seed = windows, seed
        self._permutation = functools.lru_cache(maxsize=2)(self._permute)

    def window(self, visit: int) -> int:
        """Returns the window of visit number `visit`, counted from 0 over all epochs."""
        epoch, place = divmod(visit, self._windows)
        return int(self._permutation(epoch)[place])

    def random(self, visit: int) -> np.random.Generator:
        """Returns the random number generator of a visit."""
        return np.random.Generator(np.random.Philox(key=[self._seed, visit]))

    def _permute(self, epoch: int) -> np.ndarray:
        seeds = np.random.SeedSequence([self._seed, epoch])
        return np.random.Generator(np.random.Philox(seeds)).permutation(self._windows)


@dataclass(frozen=True)
class Windows:
    """All windows of a split, in track order.

    Attributes:
      track: int64 [windows], index of the track.
      order: int64 [windows], index among the windows of that track.
      count: int64 [windows], number of windows of that track.
      starts: int64 [windows], number of possible starts of a crop of that track.
      size: length of a window in samples.
      grid: samples; every start is a multiple of it.
    """

    track: np.ndarray
    order: np.ndarray
    count: np.ndarray
    starts: np.ndarray
    size: int
    grid: int

    def __len__(self) -> int:
        return len(self.track)

    def tracks_of(self, examples: Sequence[Example]) -> np.ndarray:
        """Returns the index of the track of each example, int32 [examples]."""
        return self.track[[example.window for example in examples]].astype(np.int32)

    def start(self, i: int, crop: float | None) -> int:
        """Returns the first sample of window `i`.

        Without a crop the windows of a track are consecutive. With `crop` in [0, 1) window `i`
        starts at that fraction of its share of the possible starts, so that the windows of an
        epoch cover each start equally often.
        """
        if crop is None:
            return int(self.order[i]) * self.size
        fraction = (int(self.order[i]) + crop) / int(self.count[i])
        return min(int(fraction * self.starts[i]), int(self.starts[i]) - 1) * self.grid

    def draw(self, i: int, random: np.random.Generator, augmentation: Augmentation) -> Example:
        """Draws the augmentation of one visit to window `i`.

        Crops and weights of the channels are drawn once per example, as OpenAI's `audio_preprocess`
        does (jukebox/utils/audio_utils.py).

        NOTE: OpenAI shifts a window by up to half its length in either direction and, where that
        crosses the end of a song, moves it back: starts near the ends are more frequent. Here
        all starts are equally frequent.
        """
        start = self.start(i, random.random() if augmentation.shift else None)
        blend = random.random() if augmentation.blend else None
        gain, mute = 1.0, None
        if augmentation.gain:
            gain = 10 ** (random.uniform(-augmentation.gain, augmentation.gain) / 20)
        if augmentation.mute and random.random() < augmentation.mute:
            length = int(random.random() * self.size / 2)
            first = int(random.random() * (self.size - length))
            mute = first, first + length
        return Example(i, start, blend, gain, mute)


def count_windows(tracks: Sequence[corpus.Track], size: int) -> int:
    """Counts the windows of `size` samples that tracks are cut into."""
    return sum(track.samples // size for track in tracks)


def cut_windows_of_tracks(
    tracks: tuple[corpus.Track, ...],
    *,
    size: int,
    grid: int,
    split: str,
    key: str,
    sample_rate: int = audio.SAMPLE_RATE,
) -> Windows:
    """Cuts tracks into windows of `size` samples; tracks shorter than one window are omitted.

    Args:
      key: config key that sets the size, for the message.
      sample_rate: of the tracks, for the message.

    Raises:
      ValueError: no track is as long as a window.
    """
    samples = np.array([track.samples for track in tracks], np.int64)
    count = samples // size
    if not count.sum():
        longest = samples.max(initial=0) / sample_rate
        number = format_count(len(tracks), f"{split} track")
        raise ValueError(
            f"none of the {number} holds a window of {size} samples "
            f"({size / sample_rate:.2f} s; the longest has {longest:.2f} s); make {key} "
            "smaller or add longer tracks"
        )
    return Windows(
        track=np.repeat(np.arange(len(tracks)), count),
        order=np.concatenate([np.arange(n) for n in count]),
        count=np.repeat(count, count),
        starts=np.repeat((samples - size) // grid + 1, count),
        size=size,
        grid=grid,
    )


def describe_short_tracks(
    tracks: Sequence[corpus.Track],
    *,
    size: int,
    split: str,
    key: str,
    sample_rate: int = audio.SAMPLE_RATE,
) -> str | None:
    """Returns a line that counts and names the tracks without a window; None if there are none.

    Args:
      size: samples of a window.
      key: config key that sets the size.
      sample_rate: of the tracks.
    """
    names = [track.name for track in tracks if track.samples < size]
    if not names:
        return None
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    number = format_count(len(tracks), f"{split} track")
    verb = "is" if len(names) == 1 else "are"
    return (
        f"{len(names)} of {number} {verb} shorter than a window "
        f"({size / sample_rate:.2f} s, {key}) and not used: "
        f"{', '.join(names[:MAX_NAMED])}{more}"
    )


def spread_windows(windows: Windows, count: int) -> np.ndarray:
    """Selects windows that are spread evenly over the tracks and over the positions in each.

    Every track has the same number of windows as far as it is long enough. Among more tracks than
    windows, evenly spaced tracks are selected. The positions in consecutive tracks differ, so that
    a few windows cover beginnings, middles and ends.

    Args:
      count: number of windows, at most `len(windows)`.

    Returns:
      int64 [count], indices of windows in ascending order.
    """
    tracks, first = np.unique(windows.track, return_index=True)
    available = windows.count[first]
    quotas = np.zeros(len(tracks), np.int64)
    while (left := count - quotas.sum()) > 0:
        open_tracks = np.flatnonzero(quotas < available)
        if left < len(open_tracks):
            open_tracks = open_tracks[(np.arange(left) * 2 + 1) * len(open_tracks) // (2 * left)]
        quotas[open_tracks] += 1
    chosen = []
    for i in np.flatnonzero(quotas):
        offset = (i * GOLDEN_RATIO + 0.5) % 1.0
        positions = (np.arange(quotas[i]) + offset) / quotas[i] * available[i]
        chosen.append(first[i] + positions.astype(np.int64))
    return np.concatenate(chosen)
