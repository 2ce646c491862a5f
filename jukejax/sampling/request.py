"""What a user asks `sample` for, checked as far as that needs no model, so that it answers at once.

Messages name the flags of `sample`, which is where a request comes from.
"""

import math
from dataclasses import dataclass
from pathlib import Path

MODES = ("ancestral", "primed", "continue", "upsample", "reroll")
DEFAULT_SECONDS = 12.0
BEATS_PER_BAR = 4
_SOURCES = {  # which of --prompt and --codes a mode starts from
    "ancestral": (),
    "primed": ("prompt",),
    "continue": ("codes",),
    "upsample": ("prompt", "codes"),
    "reroll": ("codes",),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One order for tracks. Lengths in seconds.

    Attributes:
      mode: one of `MODES`.
      levels: to make, from coarse to fine.
      seconds: of each track; None: as long as what it starts from, or `DEFAULT_SECONDS`.
      total_seconds: of the piece that the model believes it is playing; None: what is needed.
      offset_seconds: where in that piece the track begins.
      items: numbers of the tracks.
      lyrics: text to sing, "" for none.
      prompt: audio file to start from.
      codes: codes.npz to start from.
      prompt_seconds: of either to take; None: all.
      reroll: (start, stop) of the range to make anew.
      candidates: versions of that range to choose from.
      temperature, hop_fraction: by level.
      stream: write the sound while it is made.
    """

    mode: str = "ancestral"
    levels: tuple[int, ...] = (2, 1, 0)
    seconds: float | None = None
    total_seconds: float | None = None
    offset_seconds: float = 0.0
    items: range = range(1)
    seed: int = 0
    artist: str | None = None
    genre: str | None = None
    lyrics: str = ""
    prompt: str | None = None
    prompt_seconds: float | None = None
    codes: str | None = None
    reroll: tuple[float, float] | None = None
    candidates: int = 4
    temperature: dict[int, float]
    hop_fraction: dict[int, float]
    top_k: int = 0
    top_p: float = 0.0
    schedule: str = "sequential"
    memory_fraction: float = 0.8
    stream: bool = False

    def __post_init__(self):
        self._check_numbers()
        self._check_start()

    def _check_numbers(self) -> None:
        levels = ",".join(map(str, self.levels))
        falling = sorted(set(self.levels), reverse=True)
        if list(self.levels) != falling or not falling or falling[-1] < 0:
            raise ValueError(f"--levels={levels} must go down to 0 at most, such as 2,1,0")
        for earlier, later in zip(self.levels, self.levels[1:], strict=False):
            if earlier - later > 1:
                raise ValueError(
                    f"--levels={levels} leaves out level {earlier - 1}, which level {later} needs"
                )
        lengths = ("seconds", "total_seconds", "prompt_seconds")
        for name in lengths:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"--{name}={value} must be positive")
        if not (self.offset_seconds >= 0 and math.isfinite(self.offset_seconds)):
            raise ValueError(f"--offset_seconds={self.offset_seconds} must be 0 or more")
        if self.total_seconds is not None and self.offset_seconds >= self.total_seconds:
            raise ValueError(
                f"--offset_seconds={self.offset_seconds} lies behind the end of a piece of "
                f"--total_seconds={self.total_seconds}"
            )
        if not self.items:
            raise ValueError("--num_samples=0 must be at least 1")
        if self.items[0] < 0:
            raise ValueError(f"--first_item={self.items[0]} must be 0 or more")
        if not 0 <= self.seed < 2**32:  # what a key of JAX's keeps of it
            raise ValueError(f"--seed={self.seed} must be 0 or more, and below 2**32")
        if self.top_k < 0 or not 0 <= self.top_p <= 1:
            raise ValueError(f"--top_k={self.top_k} --top_p={self.top_p}: k >= 0 and 0 <= p <= 1")
        for value in self.temperature.values():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"--temperature={value} must be 0 or more")
        for value in self.hop_fraction.values():
            if not 0 < value <= 1:
                raise ValueError(f"--hop_fraction={value} must lie above 0 and be at most 1")
        if not 0 < self.memory_fraction <= 1:
            raise ValueError(
                f"--memory_fraction={self.memory_fraction} must lie above 0 and be at most 1"
            )

    def _check_start(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"--mode={self.mode} is not known; modes: {', '.join(MODES)}")
        wanted = _SOURCES[self.mode]
        given = [name for name in ("prompt", "codes") if getattr(self, name) is not None]
        for name in given:
            if name not in wanted:
                modes = [mode for mode, names in _SOURCES.items() if name in names]
                raise ValueError(
                    f"--{name} does not go with --mode={self.mode}; it is for {', '.join(modes)}"
                )
            if not Path(getattr(self, name)).is_file():
                raise ValueError(f"--{name}={getattr(self, name)} is no file")
        if wanted and len(given) != 1:
            what = {"prompt": "--prompt, an audio file", "codes": "--codes, a sample's codes.npz"}
            needs = " or ".join(what[name] for name in wanted)
            raise ValueError(f"--mode={self.mode} needs {needs}" + ", not both" * (len(given) > 1))
        if self.prompt_seconds is not None and (not given or self.mode == "reroll"):
            raise ValueError("--prompt_seconds is a part of --prompt, or of --codes to go on from")
        if (self.mode == "reroll") != (self.reroll is not None):
            raise ValueError("--mode=reroll and --reroll=START:STOP (seconds) need each other")
        if self.mode != "reroll":
            return
        start, stop = self.reroll
        if not 0 <= start < stop:
            raise ValueError(f"--reroll={start:g}:{stop:g} must be START:STOP with START < STOP")
        if self.candidates < 1:
            raise ValueError(f"--candidates={self.candidates} must be at least 1")
        if self.seconds is not None:
            raise ValueError("--mode=reroll keeps the length of --codes; leave --seconds away")
        if self.stream:
            raise ValueError("--stream is for tracks made from start to end, not for --mode=reroll")


def numbers(name: str, texts: list[str]) -> list[float]:
    """The numbers of a comma-separated flag."""
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of numbers") from error


def whole_numbers(name: str, texts: list[str]) -> tuple[int, ...]:
    """The same, whole."""
    try:
        return tuple(int(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of whole numbers") from error


def per_level(name: str, texts: list[str], levels: tuple[int, ...]) -> dict[int, float]:
    """One number for all levels or one for each, as {level: number}."""
    values = numbers(name, texts)
    if len(values) == 1:
        values *= len(levels)
    if len(values) != len(levels):
        raise ValueError(f"--{name} has {len(values)} numbers for {len(levels)} levels")
    return dict(zip(levels, values, strict=True))


def parse_range(text: str) -> tuple[float, float]:
    """`8:12.5` to (8.0, 12.5)."""
    try:
        start, stop = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise ValueError(f"--reroll={text} is not START:STOP in seconds, such as 8:12.5") from error
    return start, stop


def length(seconds: float | None, bars: float | None, bpm: float | None) -> float | None:
    """Seconds, given as such or as bars of four beats at a tempo."""
    if bars is None and bpm is None:
        return seconds
    if bars is None or bpm is None:
        raise ValueError("--bars and --bpm need each other: bars of four beats, beats a minute")
    if seconds is not None:
        raise ValueError("the length is given twice: leave --seconds or --bars away")
    if not (bars > 0 and bpm > 0):
        raise ValueError(f"--bars={bars:g} --bpm={bpm:g} must be positive")
    return bars * BEATS_PER_BAR * 60 / bpm
