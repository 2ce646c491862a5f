"""The arguments of `sample` for what the page offers: new takes, and takes made from takes.

All values are checked here, in the words of the page, before a job waits for them; no text of a
user gets into a command line but names out of a model's vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jukejax.data.grid import BEATS_PER_BAR, FASTEST, SLOWEST, parse_key
from jukejax.data.sections import parse_plan
from jukejax.studio.models import ModelInfo
from jukejax.studio.names import check_number
from jukejax.studio.take_files import TakeFiles
from jukejax.weights.recommended_settings import DEFAULTS

MAX_SECONDS = 600.0
MAX_TAKES = 16
MAX_SECTIONS_TEXT = 400  # characters
MAX_TEMPERATURE, MAX_GUIDANCE = 5.0, 20.0
# Windows of the finer levels at once (docs/sampling.md), in the order of --levels=2,1,0.
_PARALLEL = ("--schedule=parallel", "0.5", "0.9")
# Guidance by tempo, bar or section makes tracks louder and fuller than the corpus (docs/house.md).
_GUIDED_LABELS = "artist,genre,key"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of sampling.

    Attributes:
      guidance: of artist, genre and key, at the coarsest level.
      temperature: by level.
      is_sketch: only the coarsest level.
    """

    seed: int = 0
    guidance: float = 1.0
    temperature: dict[int, float] = field(default_factory=dict)
    is_sketch: bool = True


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A request for new takes; lengths in bars of four beats, or else in seconds.

    Attributes:
      sections: with their bars, such as intro:4,drop:8; "": drawn by the model's seed.
    """

    artist: str = ""
    genre: str = ""
    bpm: float | None = None
    key: str = ""
    sections: str = ""
    bars: float | None = None
    seconds: float | None = None
    is_loop: bool = False


def compose(
    model: ModelInfo, composition: Composition, settings: Settings, item_seed: int
) -> list[str]:
    """Returns the arguments for a new take.

    Args:
      item_seed: seed of this take.
    """
    arguments = [*_describe_labels(model, composition), *_describe_length(composition)]
    if composition.is_loop:
        if composition.bars is None or composition.bars < 2 or composition.bars % 1:
            raise ValueError("a loop needs a tempo and two or more whole bars")
        arguments.append("--loop")
    sampling = _describe_sampling(model, settings, item_seed, stream=not composition.is_loop)
    return [*arguments, *sampling]


def compose_from_recording(
    model: ModelInfo,
    composition: Composition,
    settings: Settings,
    item_seed: int,
    *,
    recording: Path,
    prompt_seconds: float,
) -> list[str]:
    """Returns the arguments for a take that continues a recording."""
    check_number(prompt_seconds, "the length of the prompt in seconds", 0.5, MAX_SECONDS)
    arguments = _describe_labels(model, composition)
    if composition.bars is not None and composition.bpm is not None:
        seconds = composition.bars * BEATS_PER_BAR * 60 / composition.bpm
    else:
        seconds = composition.seconds or 0.0
    check_number(seconds, "the length in seconds", 1, MAX_SECONDS)
    if seconds <= prompt_seconds:
        raise ValueError(
            f"the take has {seconds:g} s and its prompt {prompt_seconds:g} s; make it longer"
        )
    arguments += ["--mode=primed", f"--prompt={recording}", f"--prompt_seconds={prompt_seconds!r}"]
    arguments.append(f"--seconds={seconds!r}")
    return [*arguments, *_describe_sampling(model, settings, item_seed, stream=True)]


def play_recording(model: ModelInfo, settings: Settings, recording: Path) -> list[str]:
    """Returns the arguments for a recording as the model would play it: its finer levels anew."""
    return [
        "--mode=upsample",
        f"--prompt={recording}",
        *_upsample(model, settings, model.levels[1:]),
    ]


def upsample_take(model: ModelInfo, settings: Settings, take: TakeFiles) -> list[str]:
    """Returns the arguments for the finer levels of a take."""
    _check_codes(take)
    finer = [level for level in model.levels if level < min(take.levels)]
    if not finer:
        raise ValueError("this take has all levels already; re-roll it to change it")
    arguments = ["--mode=upsample", f"--codes={take.codes}"]
    is_loop = take.meta.get("loop") is True
    if take.grid.bpm is not None and take.seconds:  # the sound ends on the beat, not with a code
        bars = count_beats(take) / BEATS_PER_BAR
        arguments += [f"--bpm={take.grid.bpm!r}", f"--bars={bars!r}"]
    if is_loop:
        arguments.append("--loop")
    return [*arguments, *_upsample(model, settings, finer, stream=not is_loop)]


def continue_take(
    model: ModelInfo, settings: Settings, take: TakeFiles, bars: float, keep_bars: float
) -> list[str]:
    """Returns the arguments for a take that keeps the beginning of another one.

    Args:
      bars: new bars.
      keep_bars: bars that are kept; 0: all.
    """
    _check_codes(take)
    bar, seconds = _bar_seconds(take), take.seconds or 0.0
    check_number(bars, "the number of new bars", 0.25, MAX_SECONDS / bar)
    check_number(keep_bars, "the number of bars to keep", 0, seconds / bar + 1e-6)
    keep = min(take.bars[0] + keep_bars * bar, seconds) if keep_bars else seconds
    total = check_number(keep + bars * bar, "the length in seconds", 1, MAX_SECONDS)
    arguments = ["--mode=continue", f"--codes={take.codes}", f"--seconds={total!r}"]
    arguments.append(f"--prompt_seconds={keep!r}")
    return [*arguments, *_describe_sampling(model, settings, settings.seed, stream=True)]


def loop_take(model: ModelInfo, settings: Settings, take: TakeFiles, bars: float) -> list[str]:
    """Returns the arguments for a loop: the first bars of a take, the last one drawn again."""
    _check_codes(take)
    bar = _bar_seconds(take)
    check_number(
        bars, "the number of bars of a loop", 2, (take.seconds or 0) / bar + 1e-6, is_whole=True
    )
    if (take.grid.first_downbeat or 0) > 1:
        raise ValueError("a loop begins with bar 1: trim the take to it first")
    arguments = ["--mode=continue", f"--codes={take.codes}", "--loop"]
    arguments += [f"--bpm={take.grid.bpm!r}", f"--bars={bars:g}"]
    arguments.append(f"--prompt_seconds={(bars - 1) * bar!r}")
    return [*arguments, *_describe_sampling(model, settings, settings.seed, stream=False)]


def reroll_take(
    model: ModelInfo,
    settings: Settings,
    take: TakeFiles,
    first_bar: float,
    last_bar: float,
    candidates: float,
) -> list[str]:
    """Returns the arguments for a take with some bars drawn again.

    Args:
      first_bar, last_bar: counted from 1, both included.
      candidates: versions from which the best fitting one is selected.
    """
    _check_codes(take)
    count = max(len(take.bars), 1)
    check_number(first_bar, "the first bar", 1, count, is_whole=True)
    check_number(last_bar, "the last bar", first_bar, count, is_whole=True)
    check_number(candidates, "the number of candidates", 1, 16, is_whole=True)
    start, stop = bar_range(take, int(first_bar), int(last_bar))
    arguments = ["--mode=reroll", f"--codes={take.codes}", f"--reroll={start!r}:{stop!r}"]
    arguments.append(f"--candidates={int(candidates)}")
    levels = [level for level in model.levels if level in take.levels]
    return [*arguments, *_describe_sampling(model, settings, settings.seed, levels=levels)]


def describe_bars(first: float, last: float) -> str:
    """Returns a range of bars in words, both included."""
    return f"bar {first:g}" if first == last else f"bars {first:g} to {last:g}"


def bar_range(take: TakeFiles, first_bar: int, last_bar: int) -> tuple[float, float]:
    """Returns the seconds from the start of a bar to the end of another, within the take."""
    bar, seconds = _bar_seconds(take), take.seconds or 0.0
    start = take.bars[0] + (first_bar - 1) * bar
    stop = min(take.bars[0] + last_bar * bar, seconds)
    if not stop > start:
        raise ValueError(f"bars {first_bar} to {last_bar} lie behind the end of the take")
    return start, stop


def count_beats(take: TakeFiles) -> float:
    """Returns the length of the sound of a take in beats, whole ones where it ends on a beat."""
    assert take.grid.bpm is not None
    beats = take.sound_seconds * take.grid.bpm / 60
    return round(beats) if abs(beats - round(beats)) < 0.01 else beats


def _bar_seconds(take: TakeFiles) -> float:
    if not take.bars:
        raise ValueError("the tempo of this take is unknown, and so are its bars")
    return take.grid.bar_samples(take.sample_rate) / take.sample_rate


def _check_codes(take: TakeFiles) -> None:
    if not take.levels or not take.codes.is_file():
        raise ValueError("this take has no finished level yet; wait for it, or resume its job")


def _describe_labels(model: ModelInfo, composition: Composition) -> list[str]:
    arguments = []
    for name, value, known in (
        ("artist", composition.artist, model.artists),
        ("genre", composition.genre, model.genres),
    ):
        if value:
            if value not in known:
                raise ValueError(f"{str(value)[:60]!r} is no {name} that {model.name} knows")
            arguments.append(f"--{name}={value}")
    if composition.bpm is not None:
        check_number(composition.bpm, "the tempo", SLOWEST, FASTEST)
        arguments.append(f"--bpm={composition.bpm!r}")
    if composition.key:
        arguments.append(f"--key={parse_key(str(composition.key)[:40])}")
    if sections := str(composition.sections).strip()[:MAX_SECTIONS_TEXT]:
        if composition.bpm is None:
            raise ValueError("sections are in bars and need a tempo")
        parse_plan(sections)
        arguments.append(f"--sections={sections}")
    return arguments


def _describe_length(composition: Composition) -> list[str]:
    if composition.bars is not None:
        if composition.bpm is None:
            raise ValueError("a length in bars needs a tempo")
        bar = BEATS_PER_BAR * 60 / composition.bpm
        check_number(composition.bars, "the number of bars", 0.5, MAX_SECONDS / bar)
        return [f"--bars={composition.bars!r}"]
    seconds = check_number(composition.seconds, "the length in seconds", 1, MAX_SECONDS)
    return [f"--seconds={seconds!r}"]


def _upsample(
    model: ModelInfo, settings: Settings, levels: Sequence[int], *, stream: bool = True
) -> list[str]:
    if not levels:
        raise ValueError(f"{model.name} has one level only; there is nothing finer to add")
    return _describe_sampling(model, settings, settings.seed, stream=stream, levels=levels)


def _describe_sampling(
    model: ModelInfo,
    settings: Settings,
    seed: int,
    *,
    stream: bool = False,
    levels: Sequence[int] | None = None,
) -> list[str]:
    if levels is None:
        levels = list(model.levels[:1] if settings.is_sketch else model.levels)
    check_number(seed, "the seed", 0, 2**32 - 1, is_whole=True)
    guidance = check_number(settings.guidance, "the guidance", 0, MAX_GUIDANCE)
    temperatures = [
        check_number(
            settings.temperature.get(level, DEFAULTS["temperature"]),
            f"the temperature of level {level}",
            0,
            MAX_TEMPERATURE,
        )
        for level in levels
    ]
    schedule, coarse, fine = _PARALLEL
    hops = [coarse if level == model.levels[0] else fine for level in levels]
    weights = [guidance if level == model.levels[0] else 1.0 for level in levels]
    return [
        f"--model={model.folder}",
        f"--levels={','.join(map(str, levels))}",
        f"--temperature={','.join(f'{value:g}' for value in temperatures)}",
        f"--guidance={','.join(f'{value:g}' for value in weights)}",
        f"--guided_labels={_GUIDED_LABELS}",
        f"--seed={int(seed)}",
        schedule,
        f"--hop_fraction={','.join(hops)}",
        *(["--stream"] if stream else []),
    ]
