"""Messages about values that were not given as flags."""

import contextlib
import re
from collections.abc import Iterator


@contextlib.contextmanager
def name_values(**names: str) -> Iterator[None]:
    """Names values in messages instead of flags, which have the same names but for `names`."""
    try:
        yield
    except ValueError as error:
        message = re.sub(r"--(\w+)", lambda match: names.get(match[1], match[1]), str(error))
        if message == str(error):
            raise
        raise ValueError(message) from error
