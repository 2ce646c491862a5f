"""The values of a request as users write them: lists of numbers, ranges, bars."""

import re

from jukejax.data.grid import BEATS_PER_BAR, Grid


def parse_numbers(name: str, texts: list[str]) -> list[float]:
    """Parses the numbers of a comma-separated flag."""
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of numbers") from error


def parse_integers(name: str, texts: list[str]) -> tuple[int, ...]:
    """Parses the integers of a comma-separated flag."""
    try:
        return tuple(int(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of whole numbers") from error


def parse_range(text: str) -> tuple[float, float]:
    """Parses `8:12.5` as (8.0, 12.5)."""
    try:
        start, stop = (float(number) for number in text.split(":"))
    except ValueError as error:
        raise ValueError(
            f"--reroll={text} is not START:STOP in seconds, such as 8:12.5, nor in bars, such as "
            "bar9:bar13"
        ) from error
    return start, stop


def parse_bar_range(text: str, grid: Grid, sample_rate: int) -> tuple[float, float] | None:
    """Parses `bar9:bar13`, from the start of bar 9 to that of bar 13, as seconds.

    Returns:
      None if the text is not a range of bars.

    Raises:
      ValueError: the tempo or the first bar of the track is unknown.
    """
    match = re.fullmatch(r"bar(\d+):bar(\d+)", text.replace(" ", ""))
    if match is None:
        return None
    if grid.bpm is None or grid.first_downbeat is None:
        raise ValueError(
            f"--reroll={text} is in bars, and the tempo of --codes is unknown; add --bpm (and "
            "--first_beat, where bar 1 does not begin at 0), or give the range in seconds"
        )
    if int(match[1]) < 1:
        raise ValueError(f"--reroll={text}: bars are counted from 1")
    bar = grid.bar_samples(sample_rate)
    start, stop = (
        (grid.first_downbeat + (int(number) - 1) * bar) / sample_rate for number in match.groups()
    )
    return start, stop


def resolve_seconds(seconds: float | None, bars: float | None, bpm: float | None) -> float | None:
    """Returns the length in seconds, which may be given as bars of four beats at a tempo."""
    if bars is None:
        return seconds
    if bpm is None:
        raise ValueError(f"--bars={bars:g} needs --bpm: bars of four beats, beats a minute")
    if seconds is not None:
        raise ValueError("the length is given twice: remove --seconds or --bars")
    if not (bars > 0 and bpm > 0):
        raise ValueError(f"--bars={bars:g} --bpm={bpm:g} must be positive")
    return bars * BEATS_PER_BAR * 60 / bpm
