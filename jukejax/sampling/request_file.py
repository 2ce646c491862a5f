"""Files of requests for `sample --requests`: one JSON object a line, with the names of the flags.

    {"artist": "Kiko Halden", "bpm": 122, "bars": 8, "seed": 3}
    {"mode": "upsample", "codes": "sketches/", "temperature": [0.98, 0.95, 0.95]}

The flags of the command are the defaults of all lines, and null stands for a flag that is not
given. A line whose source is a folder or a pattern is a request for each file. JAX is not imported.
"""

import contextlib
import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from jukejax.common import bucket_flags, files
from jukejax.common.formatting import format_count
from jukejax.common.messages import name_values
from jukejax.sampling import source_paths
from jukejax.sampling.flag_requests import collect_settings, fill_flags, make_flag_request
from jukejax.sampling.request import Request
from jukejax.sampling.request_flags import NAMES

_PATHS = (*source_paths.NAMES, "lyrics_file")
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false"}


@dataclass(frozen=True)
class Entry:
    """A request of a run with many.

    Attributes:
      line: its line in the file of requests; 0: it is that of the command.
      request: None: the line is bad, and skipped.
      settings: all values that the tracks depend on.
    """

    line: int
    request: Request | None = None
    settings: dict[str, Any] | None = None


class BadLines:
    """Collects the errors of lines.

    Attributes:
      path: of the file of requests.
      is_skipping: bad lines are reported on stderr, and left out.
    """

    def __init__(self, path: str, *, is_skipping: bool):
        self.path, self.is_skipping = path, is_skipping
        self._messages: list[str] = []

    @contextlib.contextmanager
    def check_line(self, line: int) -> Iterator[None]:
        """Collects the error of a line that the block raises; that of line 0 is raised."""
        if line == 0:
            yield
            return
        try:
            with name_values():
                yield
        except (ValueError, OSError) as error:
            message = f"line {line} of {self.path}: {' '.join(str(error).split())}"
            if self.is_skipping:
                print(f"{message}; it is skipped", file=sys.stderr)
            self._messages.append(message)

    def refuse(self) -> None:
        """Raises the first error, unless bad lines are skipped.

        Raises:
          ValueError: a line is bad.
        """
        if not self._messages or self.is_skipping:
            return
        more = len(self._messages) - 1
        rest = f", and {format_count(more, 'other bad line')}" if more else ""
        raise ValueError(f"{self._messages[0]}{rest} (--bad_requests=skip leaves bad lines out)")


def read_entries(
    defaults: Mapping[str, Any],
    model: Mapping[str, Any],
    bad_lines: BadLines,
    flag_values: flags.FlagValues,
) -> list[Entry]:
    """Reads the file of requests; each file of a folder or pattern is an entry of its own.

    Args:
      defaults: values of the flags of the command (`request_flags.read_values`).
      model: description of the bundle.
      flag_values: the flags, by which values are parsed.

    Raises:
      ValueError: the file is not readable, or has no requests; or a line is bad, and is not to be
        skipped.
    """
    entries: list[Entry] = []
    for number, text in _read_lines(bad_lines.path):
        added: list[Entry] = []
        with bad_lines.check_line(number):
            values = {**defaults, **_parse_line(text, flag_values)}
            added = make_request_entries(values, model, number)
        entries += added or [Entry(number)]
    if not entries:
        raise ValueError(f"--requests={bad_lines.path} has no line; write one JSON object a line")
    bad_lines.refuse()
    return entries


def make_request_entries(
    values: Mapping[str, Any], model: Mapping[str, Any], line: int = 0
) -> list[Entry]:
    """Returns a request for each file of the source of `values`, or one without a source.

    Raises:
      ValueError: a value is out of range, or contradicts another one; or there are no files.
    """
    entries = []
    for each in _expand_sources(fill_flags(values, model)):
        request = make_flag_request(each, model)
        entries.append(Entry(line, request, collect_settings(each, model["hops"])))
    return entries


def _expand_sources(values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    for name in source_paths.NAMES:
        path = values[name]
        if path is not None and source_paths.is_plural(path):
            return [{**values, name: file} for file in source_paths.list_files(name, path)]
    return [values]


def _read_lines(path: str) -> list[tuple[int, str]]:
    """Returns the numbered lines of a file that are not empty."""
    files.check_regular(path)
    try:
        text = Path(path).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--requests={path} is not UTF-8 text") from error
    # Not splitlines: a JSON text may hold other separators of lines, such as U+2028.
    numbered = enumerate((line.strip() for line in text.split("\n")), 1)
    return [(number, line) for number, line in numbered if line]


def _parse_line(text: str, flag_values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of a line, of the types of the flags."""
    try:
        pairs = json.loads(text, object_pairs_hook=list, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at column {error.colno}: not a JSON object") from error
    except RecursionError as error:
        raise ValueError("too deeply nested: not a JSON object of values") from error
    is_object = isinstance(pairs, list) and text.startswith("{")
    if not is_object:
        raise ValueError(f'{text[:40]} is not a JSON object; write one such as {{"seconds": 8}}')
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name} stands twice; remove one of them")
        if name not in NAMES:
            raise ValueError(_format_unknown(name, flag_values))
        values[name] = _parse_value(name, value, flag_values[name])
    return values


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _format_unknown(name: str, flag_values: flags.FlagValues) -> str:
    if name in flag_values:
        return f"{name} is for the whole command; give it as --{name}"
    close = difflib.get_close_matches(name, NAMES, 1)
    hint = f"did you mean {close[0]}?" if close else "names are those of the flags of sample"
    return f"{name} is not known; {hint}"


def _parse_value(name: str, value: Any, flag: flags.Flag) -> Any:
    """Returns a value of JSON as the flag of this name would have it."""
    if value is None:
        return flag.default
    separator = ":" if name == "reroll" else ","
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | int | float) for item in items):
        raise ValueError(f"{name}={json.dumps(value)} must be a number, a text, or a list of them")
    text = separator.join(item if isinstance(item, str) else json.dumps(item) for item in items)
    if name in _PATHS:
        return bucket_flags.open_source(os.path.expanduser(text))
    try:
        return flag.parser.parse(text)
    except (TypeError, ValueError) as error:
        choices = getattr(flag.parser, "enum_values", None)
        kind = f"one of {', '.join(choices)}" if choices else _KINDS.get(flag.flag_type(), "a list")
        raise ValueError(f"{name}={text} must be {kind}") from error
