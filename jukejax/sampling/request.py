"""The request of a user to `sample`, and the checks that need no model.

Messages name the flags of `sample`.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jukejax.data.grid import BEATS_PER_BAR, check_bpm
from jukejax.data.labels import LABEL_NAMES
from jukejax.data.sections import parse_plan
from jukejax.inference.windows import SCHEDULES

if TYPE_CHECKING:
    from jukejax.data.audio import Recording
    from jukejax.sampling.source import SourceTrack

AUTO, ALL = "auto", "all"  # sections; labels
MODES = ("ancestral", "primed", "continue", "upsample", "reroll")
DEFAULT_SECONDS = 12.0
MAX_SECONDS = 86400  # longest track
_SOURCES: dict[str, tuple[str, ...]] = {  # the sources, --prompt and --codes, of each mode
    "ancestral": (),
    "primed": ("prompt",),
    "continue": ("codes",),
    "upsample": ("prompt", "codes"),
    "reroll": ("codes",),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for tracks. Lengths are in seconds.

    Attributes:
      mode: one of `MODES`.
      levels: levels to sample, from coarse to fine.
      seconds: length of each track; None: that of the source for mode "upsample", else
        `DEFAULT_SECONDS`.
      is_exact: the sound ends after `seconds` to the sample, within its last code.
      total_seconds: length of the piece that contains the track (timing label); None: up to the
        end of the track.
      offset_seconds: start of the track in that piece.
      items: numbers of the tracks.
      lyrics: text of the lyrics, "" for none.
      prompt: audio file of the source, or a recording in memory.
      codes: codes.npz of the source, or a track in memory.
      prompt_seconds: used seconds of the source; None: all.
      reroll: (start, stop) of the range to sample again.
      candidates: number of versions of that range.
      temperature, hop_fraction: by level.
      guidance: weight of the labels, by level; 1: as trained.
      guided_labels: those that it is for, of `LABEL_NAMES`.
      top_k, top_p, min_p: filters of the logits, by level; 0, or none: all codes.
      bpm: tempo of the tracks; None: unknown, or that of the source.
      key: one of `grid.KEYS`; None: unknown, or that of the source.
      first_beat: start of a bar in the source; None: that of the source.
      sections: from bar 1 on, see `sections.parse_plan`; "": unknown; `AUTO`: those of the source,
        or drawn.
      loop: the end of a track joins its beginning.
      stream: write audio during sampling.
    """

    mode: str = "ancestral"
    levels: tuple[int, ...] = (2, 1, 0)
    seconds: float | None = None
    is_exact: bool = False
    total_seconds: float | None = None
    offset_seconds: float = 0.0
    items: range = range(1)
    seed: int = 0
    artist: str | None = None
    genre: str | None = None
    lyrics: str = ""
    prompt: "str | Recording | None" = None
    prompt_seconds: float | None = None
    codes: "str | SourceTrack | None" = None
    reroll: tuple[float, float] | None = None
    candidates: int = 4
    temperature: dict[int, float]
    hop_fraction: dict[int, float]
    guidance: dict[int, float] = field(default_factory=dict)
    guided_labels: tuple[str, ...] = LABEL_NAMES
    bpm: float | None = None
    key: str | None = None
    first_beat: float | None = None
    sections: str = AUTO
    loop: bool = False
    top_k: dict[int, int] = field(default_factory=dict)
    top_p: dict[int, float] = field(default_factory=dict)
    min_p: dict[int, float] = field(default_factory=dict)
    schedule: str = "sequential"
    memory_fraction: float = 0.8
    stream: bool = False

    def find_logits_filter(self, level: int) -> tuple[int, float, float]:
        """Returns top k, top p and min p of a level; 0 for none."""
        return self.top_k.get(level, 0), self.top_p.get(level, 0.0), self.min_p.get(level, 0.0)

    def count_samples(self, sample_rate: int) -> int | None:
        """Returns the samples of the sound of a track; None: those of its codes."""
        return round(self.seconds * sample_rate) if self.is_exact and self.seconds else None

    def find_used_seconds(self) -> float | None:
        """Returns the most of a prompt that is read; None: all of it."""
        if self.prompt_seconds is not None:
            return self.prompt_seconds
        if self.mode == "upsample" and self.seconds is None:
            return None
        return (self.seconds or DEFAULT_SECONDS) + 1  # s; a longer prompt is refused

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_level_settings()
        self._check_start()

    def _check_numbers(self) -> None:
        levels = ",".join(map(str, self.levels))
        descending = sorted(set(self.levels), reverse=True)
        if list(self.levels) != descending or not descending or descending[-1] < 0:
            raise ValueError(f"--levels={levels} must go down to 0 at most, such as 2,1,0")
        for earlier, later in zip(self.levels, self.levels[1:], strict=False):
            if earlier - later > 1:
                raise ValueError(
                    f"--levels={levels} leaves out level {earlier - 1}, which level {later} needs"
                )
        for name in ("seconds", "total_seconds", "prompt_seconds"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"--{name}={value} must be positive")
            if value is not None and value > MAX_SECONDS:
                raise ValueError(f"--{name}={value:g} must be at most {MAX_SECONDS}, a day")
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
        if not 0 <= self.seed < 2**32:  # JAX uses 32 bits
            raise ValueError(f"--seed={self.seed} must be 0 or more, and below 2**32")
        for name in self.guided_labels or ("",):
            if name not in LABEL_NAMES:
                known = ", ".join(LABEL_NAMES)
                raise ValueError(
                    f"--guided_labels={name} is not known; give all, or some of {known}"
                )
        if self.bpm is not None:
            check_bpm(self.bpm, "--bpm")
        if self.first_beat is not None and not 0 <= self.first_beat <= MAX_SECONDS:
            raise ValueError(f"--first_beat={self.first_beat} must be 0 or more, in seconds")
        if self.sections not in ("", AUTO):
            try:
                parse_plan(self.sections)
            except ValueError as error:
                raise ValueError(f"--sections={self.sections}: {error}") from error
        if not 0 < self.memory_fraction <= 1:
            raise ValueError(
                f"--memory_fraction={self.memory_fraction} must lie above 0 and be at most 1"
            )

    def _check_level_settings(self) -> None:
        for value in self.temperature.values():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"--temperature={value} must be 0 or more")
        for value in self.guidance.values():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"--guidance={value} must be 0 or more; 1 is as trained")
        for value in self.hop_fraction.values():
            if not 0 < value <= 1:
                raise ValueError(f"--hop_fraction={value} must lie above 0 and be at most 1")
        for count in self.top_k.values():
            if count < 0:
                raise ValueError(f"--top_k={count} must be 0 or more")
        for name, values in (("top_p", self.top_p), ("min_p", self.min_p)):
            for value in values.values():
                if not 0 <= value <= 1:
                    raise ValueError(f"--{name}={value} must lie between 0 and 1")

    def _check_start(self) -> None:
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(f"--schedule={self.schedule!r} is not known; give {known}")
        if self.mode not in MODES:
            raise ValueError(f"--mode={self.mode} is not known; modes: {', '.join(MODES)}")
        allowed = _SOURCES[self.mode]
        sources = [name for name in ("prompt", "codes") if getattr(self, name) is not None]
        for name in sources:
            if name not in allowed:
                modes = [mode for mode, names in _SOURCES.items() if name in names]
                raise ValueError(
                    f"--{name} does not go with --mode={self.mode}; it is for {', '.join(modes)}"
                )
            source = getattr(self, name)
            if isinstance(source, str) and not Path(source).is_file():
                raise ValueError(f"--{name}={source} is no file")
        if allowed and len(sources) != 1:
            meanings = {
                "prompt": "--prompt, an audio file",
                "codes": "--codes, a sample's codes.npz",
            }
            needs = " or ".join(meanings[name] for name in allowed)
            raise ValueError(
                f"--mode={self.mode} needs {needs}" + ", not both" * (len(sources) > 1)
            )
        if self.prompt_seconds is not None and (not sources or self.mode == "reroll"):
            raise ValueError("--prompt_seconds is a part of --prompt, or of --codes to go on from")
        if (self.mode == "reroll") != (self.reroll is not None):
            raise ValueError("--mode=reroll and --reroll=START:STOP (seconds) need each other")
        if self.reroll is not None:
            self._check_reroll(*self.reroll)
        if self.first_beat is not None and not sources:
            raise ValueError(
                "--first_beat is of --prompt or --codes; without them bar 1 begins at 0"
            )
        if self.loop:
            self._check_loop()

    def _check_loop(self) -> None:
        if not self.is_exact or self.mode == "reroll":
            raise ValueError(
                "--loop is for tracks of --bars at a --bpm, in --mode=ancestral, primed, continue "
                "or upsample"
            )
        assert self.seconds is not None
        assert self.bpm is not None
        bars = self.seconds * self.bpm / 60 / BEATS_PER_BAR
        if round(bars) < 2 or abs(bars - round(bars)) > 1e-6:
            raise ValueError(
                f"--bars={bars:g}: --loop needs two bars or more, and whole ones; the last is "
                "drawn to lead to the first"
            )
        if self.stream:
            raise ValueError("--stream writes a track before its end is known; remove it or --loop")

    def _check_reroll(self, start: float, stop: float) -> None:
        if not 0 <= start < stop:
            raise ValueError(f"--reroll={start:g}:{stop:g} must be START:STOP with START < STOP")
        if self.candidates < 1:
            raise ValueError(f"--candidates={self.candidates} must be at least 1")
        if self.seconds is not None:
            raise ValueError("--mode=reroll keeps the length of --codes; remove --seconds")
        if self.stream:
            raise ValueError("--stream is for tracks made from start to end, not for --mode=reroll")
