"""Folders and patterns as the sources of requests, --prompt and --codes."""

import glob
from pathlib import Path

from jukejax.data.decoding import EXTENSIONS

NAMES = ("prompt", "codes")  # flags with a path, each file of which may be a request


def is_plural(path: str) -> bool:
    """Returns true for a folder, and for a pattern with `*`, `?` or `[`."""
    return Path(path).is_dir() or (not Path(path).exists() and glob.has_magic(path))


def list_files(name: str, path: str) -> list[str]:
    """Returns the sorted files of a folder or of a pattern; another path as is.

    Args:
      name: one of `NAMES`. A folder has the codes.npz in it and in its subfolders, or the audio
        files in it; a pattern may match such folders too.

    Raises:
      ValueError: there are none.
    """
    if not is_plural(path):
        return [path]
    if Path(path).is_dir():
        paths = _list_folder(name, Path(path))
    else:
        matches = sorted(map(Path, glob.glob(path, recursive=True)))
        lists = [_list_folder(name, each) if each.is_dir() else [each] for each in matches]
        paths = [file for files in lists for file in files]
    if not paths:
        kind = "codes.npz of a sample" if name == "codes" else "audio file"
        raise ValueError(f"--{name}={path} has no {kind}; check the path")
    return [str(file) for file in dict.fromkeys(paths)]


def _list_folder(name: str, folder: Path) -> list[Path]:
    if name == "codes":
        return sorted(folder.rglob("codes.npz"))
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file()
    )
