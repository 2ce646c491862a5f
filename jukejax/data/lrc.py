"""LRC files: lyrics with the times of lines and words.

`[01:02.50]` before a line is its time in minutes and seconds, `<01:02.50>` before a word that of
the word; `[offset:500]` shifts all times to 500 ms earlier. A line with several times is sung
several times.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TIME = r"(\d+):(\d{1,2}(?:[.:]\d+)?)"
_LINE = re.compile(rf"^\s*((?:\[{_TIME}\]\s*)+)(.*)$")
_LINE_TIME, _WORD_TIME = re.compile(rf"\[{_TIME}\]"), re.compile(rf"<{_TIME}>")
_TAG = re.compile(r"^\s*\[([a-zA-Z#]+):(.*)\]\s*$")


@dataclass(frozen=True)
class TimedLyrics:
    """Lyrics, with times where they are known.

    Attributes:
      times: (character of `text`, seconds) where a line or a word begins, in order.
    """

    text: str = ""
    times: tuple[tuple[int, float], ...] = ()


def has_line_times(text: str) -> bool:
    """Returns true if a text is that of an LRC file."""
    return any(_LINE.match(line) for line in text.splitlines())


def parse_lrc(text: str) -> TimedLyrics:
    """Parses the text of an LRC file; its tags, such as `[ar:...]`, are removed."""
    shift = 0.0
    lines: list[tuple[float, str, list[tuple[int, float]]]] = []
    for line in text.splitlines():
        if tag := _TAG.match(line):
            if tag[1].lower() == "offset" and re.fullmatch(r"[+-]?\d+", tag[2].strip()):
                shift = -int(tag[2]) / 1000
        elif match := _LINE.match(line):
            plain, word_times = _parse_words(match[4])
            starts = [_parse_time(*time) for time in _LINE_TIME.findall(match[1])]
            if plain:
                # Times of words are those of the first time that the line is sung.
                lines += [
                    (start, plain, word_times if i == 0 else []) for i, start in enumerate(starts)
                ]
    lines.sort(key=lambda line: line[0])
    times: list[tuple[int, float]] = []
    position = 0
    for start, plain, word_times in lines:
        begins_with_time = word_times[:1] and word_times[0][0] == 0
        own_times = word_times if begins_with_time else [(0, start), *word_times]
        times += [(position + index, max(time + shift, 0.0)) for index, time in own_times]
        position += len(plain) + 1
    return TimedLyrics("\n".join(plain for _, plain, _ in lines), tuple(times))


def _parse_words(text: str) -> tuple[str, list[tuple[int, float]]]:
    """Returns a line without its word times, and those as (character, seconds)."""
    plain, times = "", []
    parts = _WORD_TIME.split(text)  # text, then minutes, seconds, text, ...
    for i in range(0, len(parts), 3):
        part = " ".join(parts[i].split())
        if not part:
            continue
        start = len(plain) + 1 if plain else 0
        plain = f"{plain} {part}" if plain else part
        if i:
            times.append((start, _parse_time(parts[i - 2], parts[i - 1])))
    return plain, times


def _parse_time(minutes: str, seconds: str) -> float:
    return int(minutes) * 60 + float(seconds.replace(":", "."))


def format_lrc(lines: Sequence[Sequence[tuple[str, float]]]) -> str:
    """Formats an LRC file of lines of words, each with the second at which it begins."""
    return "".join(
        f"[{_format_time(line[0][1])}]"
        + " ".join(f"<{_format_time(start)}> {word}" for word, start in line)
        + "\n"
        for line in lines
        if line
    )


def format_synchronised_text(pieces: Sequence[tuple[str, int]]) -> str:
    """Formats the text of an ID3 SYLT frame as an LRC file.

    Pieces are syllables with the spaces and line ends between them; if no piece has any, each is a
    line.

    Args:
      pieces: (text, milliseconds), in order.
    """
    if all(text == text.strip() for text, _ in pieces):
        return "".join(f"[{_format_time(time / 1000)}]{text}\n" for text, time in pieces)
    lines: list[list[tuple[str, float]]] = [[]]
    is_in_word = False  # the next piece continues the last word
    for text, milliseconds in pieces:
        for i, part in enumerate(text.replace("\r", "").split("\n")):
            if i:
                lines.append([])
            words = [(word, milliseconds / 1000) for word in part.split()]
            if is_in_word and not i and words and not part[0].isspace():
                start, time = lines[-1].pop()
                words[0] = start + words[0][0], time
            lines[-1] += words
            is_in_word = part == part.rstrip() and bool(lines[-1])
    return format_lrc(lines)


def _format_time(seconds: float) -> str:
    hundredths = round(max(seconds, 0.0) * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
