"""OpenAI's checkpoints: `.pth.tar` files with a state dict under "model"; no code is executed.

Only this module imports torch, and only when a file is read or written.
"""

import importlib
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from jukejax.common import extras, files
from jukejax.weights import stream

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    Tensor = Any  # types of torch, which is an optional dependency

WRAPPER = "module."  # prefix of all names of a model that was saved inside of torch's DataParallel


def checkpoint_name(part: str) -> str:
    """Returns OpenAI's file name for a part of a bundle ("vqvae", "level_0", ...)."""
    return f"{part if part == 'vqvae' else f'prior_{part}'}.pth.tar"


def import_torch() -> "ModuleType":
    """Imports torch, which is needed for conversion only.

    Raises:
      ValueError: torch is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ValueError(
            "reading and writing PyTorch files needs torch, which is not installed: "
            f"{extras.format_install('convert')}"
        ) from error


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict; its arrays are memory-mapped where the file's format allows it.

    Files written by torch before 1.6, OpenAI's own among them, are no zip archives and are read
    into memory.

    Raises:
      ValueError: no such file, no checkpoint, a damaged one, or no torch.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give a checkpoint such as vqvae.pth.tar")
    _check_download(path)
    torch = import_torch()
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch has no common class for the exceptions of damaged files
        raise ValueError(
            f"{path} is no checkpoint of PyTorch, or a truncated one ({_first_sentence(error)})"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds no state dict, neither under 'model' nor as a whole")
    other = next((name for name, value in state.items() if not torch.is_tensor(value)), None)
    if other is not None:
        raise ValueError(f"{path}: {other!r} is no tensor; a state dict holds only tensors")
    arrays = {name.removeprefix(WRAPPER): _to_array(torch, value) for name, value in state.items()}
    return stream.MappedState(arrays) if mapped else arrays


def _check_download(path: Path) -> None:
    """Checks that a file is no failed download.

    Raises:
      ValueError: it is a web page, or a zip archive without its end.
    """
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{path} is a web page, and no checkpoint; download the file again")
    if start.startswith(b"pk\x03\x04") and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no checkpoint of PyTorch, or a truncated one: its {path.stat().st_size:,} "
            "bytes lack the end of the archive; download it again"
        )


def write_checkpoint(path: str | os.PathLike, state: stream.State, facts: Mapping) -> None:
    """Writes a `.pth.tar` for OpenAI's code atomically.

    Args:
      facts: additional entries besides "model", of types that torch loads with weights_only.
    """
    torch = import_torch()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _to_tensor(torch, value) for name, value in state.items()}
    with files.replacing(path) as temporary:
        torch.save({"model": tensors, **facts}, temporary)


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:120] if lines else type(error).__name__


def _to_array(torch: "ModuleType", tensor: "Tensor") -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # NumPy has this type only through ml_dtypes
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _to_tensor(torch: "ModuleType", value: np.ndarray) -> "Tensor":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of read-only arrays; the tensor is only written to a file
        if value.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(value)
