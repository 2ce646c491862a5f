"""Names of buckets in what a command prints: not those of its local copies."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from jukejax.common import mirrors


class NamingStream:
    """Writes to another stream, with the paths of local copies replaced by those in buckets."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text; returns its length."""
        self._stream.write(mirrors.restore_names(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def restore_printed_names() -> Iterator[None]:
    """Replaces stdout and stderr by a `NamingStream` in its block."""
    with (
        contextlib.redirect_stdout(NamingStream(sys.stdout)),
        contextlib.redirect_stderr(NamingStream(sys.stderr)),
    ):
        yield
