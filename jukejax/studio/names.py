"""Checks of what users type: names, numbers, identifiers, and paths below a folder.

Messages are one line each, with the value and what is allowed; they are text, never markup.
"""

import math
import re
import unicodedata
from pathlib import Path

MAX_NAME = 80  # characters
_ID = re.compile(r"[a-z]\d{4,9}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d")  # devices of Windows


def clean_name(text: object, what: str = "the name") -> str:
    """Returns a name as one line of printable characters.

    Raises:
      ValueError: nothing is left of it, or it is longer than `MAX_NAME`.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} must be text")
    if len(text) > 100 * MAX_NAME:
        raise ValueError(f"{what} has {len(text)} characters; the limit is {MAX_NAME}")
    normal = unicodedata.normalize("NFC", text)
    # Control characters, surrogates, and marks that change the direction of what follows.
    printable = (
        c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Cn") else " " for c in normal
    )
    name = " ".join("".join(printable).split())
    if not name:
        raise ValueError(f"{what} is empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} has {len(name)} characters; the limit is {MAX_NAME}")
    return name


def make_slug(name: str) -> str:
    """Returns the name of a folder or a file for a name: lower-case ASCII letters and digits."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:40].strip("-")
    if not slug or _RESERVED.fullmatch(slug):
        slug = f"project-{slug}".strip("-")
    return slug


def check_slug(text: object) -> str:
    """Returns the name of a project's folder.

    Raises:
      ValueError: it is none.
    """
    if not isinstance(text, str) or not _SLUG.fullmatch(text) or _RESERVED.fullmatch(text):
        raise ValueError(f"{str(text)[:60]!r} is no project; choose one of the list")
    return text


def check_id(text: object, kind: str) -> str:
    """Returns an identifier such as t0001.

    Args:
      kind: its letter.

    Raises:
      ValueError: it is none of that kind.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text) or text[0] != kind:
        what = {"t": "take", "u": "recording", "j": "job", "c": "corpus", "m": "model"}[kind]
        raise ValueError(f"{str(text)[:60]!r} is no {what}; choose one of the list")
    return text


def check_number(
    value: object, what: str, low: float, high: float, *, is_whole: bool = False
) -> float:
    """Returns a number in a range.

    Raises:
      ValueError: it is no finite number, or outside of the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise ValueError(f"{what} is {value:g}; it must be {low:g} to {high:g}")
    if is_whole and value != int(value):
        raise ValueError(f"{what} is {value:g}; it must be a whole number")
    return value


def resolve_below(root: Path, relative: str) -> Path:
    """Returns the path of an existing file below a folder, with all links followed.

    Raises:
      ValueError: there is no such file, or it lies elsewhere.
    """
    if "\0" in relative or len(relative) > 1000:
        raise ValueError("there is no such file")
    root = root.resolve()
    try:
        path = (root / relative).resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name that is too long, a loop of links
        raise ValueError("there is no such file") from error
    if not path.is_relative_to(root) or not is_file:
        raise ValueError("there is no such file")
    return path
