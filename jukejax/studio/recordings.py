"""Recordings that users send: limited in size, length and type, decoded as a whole before use.

The decoder is that of `prepare` (`data.decoding`): known containers only, with proof that the file
is complete. The file is kept as it was sent, under a name of our own.
"""

import os
import shutil
from pathlib import Path

from jukejax.common import files
from jukejax.data.decoding import EXTENSIONS, open_regular, open_sound
from jukejax.studio.names import clean_name
from jukejax.studio.project import Project
from jukejax.studio.state import Entry

MAX_BYTES = 200 * 1024**2
MAX_SECONDS = 1200.0  # of a recording, or of a record of a corpus
MIN_SECONDS = 0.5
MAX_FILES = 200  # of a corpus


def check_recording(path: Path, name: str) -> float:
    """Decodes a sound file and returns its length in seconds.

    Args:
      name: under which the user knows it.

    Raises:
      ValueError: its type, size or length is not allowed, or it is damaged.
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise ValueError(
            f"{name}: {path.suffix[:12] or 'a file without an ending'} is no sound file"
        )
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        limit = MAX_BYTES // 1024**2
        raise ValueError(f"{name} has {size // 1024**2} MiB; the limit is {limit}")
    frames = 0
    try:
        with open_sound(path) as sound:
            for block in sound.blocks():
                frames += len(block)
                if frames > MAX_SECONDS * sound.rate:
                    raise ValueError(f"longer than {MAX_SECONDS / 60:g} minutes")
            seconds = frames / sound.rate
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if seconds < MIN_SECONDS:
        raise ValueError(f"{name} has {seconds:.2f} s; half a second is the least")
    return seconds


def clean_file_name(path: Path) -> str:
    """Returns the name of a file for display."""
    name = path.name if len(path.name) <= 80 else f"{path.stem[:60]}{path.suffix[:12]}"
    try:
        return clean_name(name.encode("utf-8", "replace").decode())
    except ValueError:
        return "recording"


def add_recording(project: Project, sent: Path) -> str:
    """Checks a sent file and copies it into the project; returns its identifier.

    Raises:
      ValueError: it cannot be used.
    """
    name = clean_file_name(sent)
    seconds = check_recording(sent, name)
    suffix = sent.suffix.lower()

    def make(identifier: str) -> Entry:
        file = f"{identifier}{suffix}"
        copy_file(sent, project.folder / "recordings" / file)
        return Entry(name=name, file=file, seconds=seconds)

    return project.add_entry("u", make)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
