"""Rules for training tracks: length, silence, fade-outs, dead air, loudness.

From silence and fade-outs a model learns that music ends and restarts: the model of the published
house run (README.md) copied intros after them. Levels are those of the instrumental, on which the
model is trained.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from jukejax.analysis.loudness import LoudnessMeter
from jukejax.data.audio import BLOCK, Samples, iterate_blocks

SAMPLE_RATE = 44100
FADES = ("keep", "cut", "drop")

QUIET = 1e-3  # ratio to the track's peak, -60 dB, below which a block is silent
STEP = 0.05  # seconds of a block of silence detection
HEAD, TAIL = 0.05, 0.5  # seconds of silence kept before and after the music, for attack and reverb
DEAD_AIR = 2.0  # seconds: shorter silence within a track is a musical rest
GAP = 0.5  # seconds of dead air that remain after a cut
FADE_FROM, FADE_TO = 3.0, 20.0  # dB below the track's level: start and end of a fade
FADE = 4.0  # seconds: shortest fade-out; shorter ones are the reverb of the last chord
FADE_RISE = 3.0  # dB: a larger rise of the level is no fade
FADE_STEADY = 0.4  # least median fall of 2 s / mean fall: an arrangement falls in steps
EDGE = 0.02  # seconds of the fade that prevents a click at a cut
_BLOCK_STEPS = 400  # steps or hops that are measured at once
LEVEL, LEVEL_HOP = 1.0, 0.25  # seconds: levels of fades are measured over about two beats


@dataclass(frozen=True)
class Rules:
    """The rules of a corpus.

    Attributes:
      min_seconds, max_seconds: range of the lengths of used tracks.
      fades: treatment of long fade-outs and dead air. "cut" ends the track where the fade-out
        begins and leaves GAP of dead air: a fade-out repeats earlier music at a falling level, so
        that only an ending is lost. "keep" keeps and reports them, "drop" skips the track.
      loudness: LUFS of each track after one gain; None: loudness is not changed.

    Raises:
      ValueError: a value is not possible.
    """

    min_seconds: float = 5.0
    max_seconds: float = 7200.0
    fades: str = "cut"
    loudness: float | None = None

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0.5:
            raise ValueError(f"--min_seconds={self.min_seconds} must be at least 0.5")
        if not self.max_seconds >= self.min_seconds:
            raise ValueError(
                f"--max_seconds={self.max_seconds:g} must not be less than "
                f"--min_seconds={self.min_seconds:g}"
            )
        if self.fades not in FADES:
            raise ValueError(f"--fades={self.fades} is unknown; there are {', '.join(FADES)}")
        if self.loudness is not None and not -60 <= self.loudness <= 0:
            raise ValueError(
                f"--loudness={self.loudness} must lie between -60 and 0 LUFS, such as -14"
            )

    def check_length(self, samples: int) -> str:
        """Returns the reason why a track of this length is not used; empty if it is."""
        return self.check_seconds(samples / SAMPLE_RATE)

    def check_seconds(self, seconds: float) -> str:
        """Returns the reason why a track of this length is not used; empty if it is."""
        if seconds < self.min_seconds:
            return f"{seconds:.1f} s long, and --min_seconds={self.min_seconds:g}"
        if seconds > self.max_seconds:
            return f"{seconds:.1f} s long, and --max_seconds={self.max_seconds:g}"
        return ""


@dataclass(frozen=True)
class Survey:
    """The position of the music in a track, in samples from the start of the source.

    Attributes:
      start, stop: range without the silence at the ends.
      fade_out: start of a long fade-out at the end; `stop` if there is none.
      dead_air: (start, stop) of each long silence between `start` and `fade_out`.
    """

    start: int
    stop: int
    fade_out: int
    dead_air: tuple[tuple[int, int], ...] = ()

    def pieces(self, fades: str) -> list[tuple[int, int]]:
        """Returns (start, stop) of each section that `Rules.fades` keeps."""
        if fades != "cut":
            return [(self.start, self.stop)]
        half = round(GAP / 2 * SAMPLE_RATE)
        starts = [self.start, *(stop - half for _, stop in self.dead_air)]
        stops = [*(start + half for start, _ in self.dead_air), self.fade_out]
        return list(zip(starts, stops, strict=True))


def survey_sound(sound: Samples) -> Survey:
    """Finds silence, dead air and a fade-out.

    Args:
      sound: float32 [time, channels] at 44.1 kHz, not silent throughout.
    """
    step = round(STEP * SAMPLE_RATE)
    loud = np.concatenate(
        [
            _split_blocks(np.abs(block).max(axis=1), step).max(axis=1)
            for block in iterate_blocks(sound, _BLOCK_STEPS * step)
        ]
    )
    audible = np.nonzero(loud > QUIET * loud.max())[0]
    start = max(0, audible[0] * step - round(HEAD * SAMPLE_RATE))
    stop = min(len(sound), (audible[-1] + 1) * step + round(TAIL * SAMPLE_RATE))
    fade_out = start + _find_fade_out(sound, start, min(len(sound), (audible[-1] + 1) * step))
    fade_out = stop if fade_out >= (audible[-1] + 1) * step else fade_out
    gaps = np.nonzero(np.diff(audible) - 1 >= DEAD_AIR / STEP)[0]
    dead_air = [(int(audible[i] + 1) * step, int(audible[i + 1]) * step) for i in gaps]
    return Survey(
        int(start), int(stop), int(fade_out), tuple(gap for gap in dead_air if gap[1] < fade_out)
    )


def _split_blocks(values: np.ndarray, size: int) -> np.ndarray:
    """Reshapes [time] to [blocks, size], with zeros after the end."""
    return np.pad(values, (0, -len(values) % size)).reshape(-1, size)


def _find_fade_out(sound: Samples, start: int, stop: int) -> int:
    """Finds a long fade-out between `start` and `stop`.

    Returns:
      The sample after `start` at which it begins; the length if there is none.

    The level must fall from FADE_FROM below that of the track to FADE_TO below it, steadily and
    over at least FADE, and never again rise by more than FADE_RISE.
    """
    hop, width = round(LEVEL_HOP * SAMPLE_RATE), round(LEVEL / LEVEL_HOP)
    size = _BLOCK_STEPS * hop
    power = np.concatenate(
        [
            _split_blocks(np.square(sound[first : min(first + size, stop)]).mean(axis=1), hop).mean(
                axis=1
            )
            for first in range(start, stop, size)
        ]
    )
    length = stop - start
    if len(power) <= width:
        return length
    level = np.convolve(power, np.ones(width) / width, "valid")  # [hops], from each hop on
    level = 10 * np.log10(np.maximum(level, 1e-12))
    body = np.median(level[level > level.max() - 20])
    above = np.nonzero(level > body - FADE_FROM)[0][-1]  # the last hop at the level of the track
    tail = level[above:]
    low = np.nonzero(tail < body - FADE_TO)[0]
    if not low.size or low[0] * LEVEL_HOP < FADE:
        return length
    swell = (tail - np.minimum.accumulate(tail)).max()
    fall = tail[: low[0] + 1]
    span = round(2 / LEVEL_HOP)
    steady = np.median(fall[:-span] - fall[span:]) / (fall[0] - fall[-1]) * (len(fall) - 1) / span
    if swell > FADE_RISE or steady < FADE_STEADY:
        return length
    return int(above * hop + width * hop // 2)


def cut_pieces(sound: Samples, pieces: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yields the joined pieces of a track in blocks.

    The end has a fade of EDGE where music was cut.

    Args:
      sound: float32 [time, channels].
    """
    length = sum(stop - start for start, stop in pieces)
    is_cut = pieces[-1][1] < len(sound)
    edge = min(round(EDGE * SAMPLE_RATE), length)
    ramp = np.linspace(1, 0, edge, dtype=np.float32)[:, None]
    position = 0
    for start, stop in pieces:
        for first in range(start, stop, BLOCK):
            block = sound[first : min(first + BLOCK, stop)]
            fade_from = max(0, length - edge - position)
            if is_cut and fade_from < len(block):
                faded = position + fade_from - (length - edge)  # samples of the ramp before
                block = block.copy()
                block[fade_from:] *= ramp[faded : faded + len(block) - fade_from]
            position += len(block)
            yield block


def loudness_gain(
    blocks: Iterable[np.ndarray], channels: int, target: float | None
) -> tuple[float, float | None, list[str]]:
    """Computes the gain of a track for a target loudness without clipping.

    Args:
      blocks: of the track, float32 [time, channels]; its peak may be above 1.
      target: LUFS; None: only a peak above 1 is reduced.

    Returns:
      The gain, the resulting loudness in LUFS, and notes for the user.
    """
    meter, peak = LoudnessMeter(channels), 0.0
    for block in blocks:
        meter.add(block)
        peak = max(peak, float(np.abs(block).max()))
    level = meter.loudness()
    target_gain = 0.0 if target is None or level is None else target - level  # dB
    headroom = -20 * math.log10(max(peak, 1e-9))
    gain, notes = min(target_gain, headroom), []
    if target is None and gain < 0:
        notes.append(f"peak {peak:.3f}: turned down by {-gain:.1f} dB")
    elif target is not None and gain < target_gain - 0.05:
        notes.append(
            f"{target_gain - gain:.1f} dB softer than --loudness={target:g}: louder would clip"
        )
    return 10 ** (gain / 20), None if level is None else level + gain, notes
