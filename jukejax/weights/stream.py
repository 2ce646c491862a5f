"""Conversion of a foreign state dict to a safetensors file, one tensor at a time.

Everything is checked before the first byte is written. At most one tensor of the target is in
memory, so that a conversion needs little more memory than the checkpoint.
"""

import ctypes
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from flax import traverse_util

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.weights.headers import read_header
from jukejax.weights.mapping import Entry, Shape, check_names, check_tensor

DTYPES = {
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.float32): "F32",
    np.dtype(np.float64): "F64",
    np.dtype(np.bool_): "BOOL",
}
FLOATS = tuple(dtype for dtype in DTYPES if dtype != np.bool_)

State = Mapping[str, np.ndarray]


class MappedState(dict[str, np.ndarray]):
    """A state dict of memory-mapped tensors, whose pages are read on access."""


@dataclass(frozen=True)
class Piece:
    """A foreign tensor and its transposition to our layout (None for none)."""

    name: str
    axes: tuple[int, ...] | None


@dataclass(frozen=True)
class Leaf:
    """A tensor of the target.

    Attributes:
      name: keys joined by slashes.
      shape, dtype: of the whole tensor.
      pieces: foreign tensors of the content: one, or one for each layer.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def convert_pieces(self, state: State) -> Iterator[np.ndarray]:
        """Yields the content in order, piece by piece, contiguous and of the leaf's type."""
        for piece in self.pieces:
            value = state[piece.name]
            value = value if piece.axes is None else value.transpose(piece.axes)
            yield np.ascontiguousarray(value, self.dtype)


# -- Planning ----------------------------------------------------------------------------------


def plan_leaves(
    entries: Iterable[Entry],
    state: State,
    shapes: Tree,
    *,
    dtype: np.dtype | type[np.generic] | None = None,
) -> list[Leaf]:
    """Plans the tensors of the target, after checking every foreign tensor.

    Args:
      entries: the table of names.
      state: name -> array; memory-mapped arrays are not read, except tied weights.
      shapes: our tree, with leaves that have a `.shape`.
      dtype: of the target; None keeps that of the checkpoint.

    Raises:
      ValueError: a tensor is missing, misshapen, unknown or no float; the message names it.
    """
    sizes = flatten_shapes(shapes)
    sources: dict[str, dict[int, Entry]] = {}  # by leaf and layer; 0 for leaves without layers
    expected = set()
    for entry in entries:
        expected.add(entry.name)
        name = "/".join(entry.path)
        _check_float(entry, state, sizes[name])
        twin = sources.setdefault(name, {}).setdefault(entry.layer or 0, entry)
        if twin is not entry and not np.array_equal(state[twin.name], state[entry.name]):
            raise ValueError(
                f"tensors {twin.name} and {entry.name} differ, but the config ties them; is it "
                "another model, or one with merged_decoder?"
            )
    check_names(state, expected)
    leaves = []
    for name, by_layer in sources.items():
        layers = [by_layer[layer] for layer in sorted(by_layer)]
        stored = np.result_type(*(state[entry.name].dtype for entry in layers))
        pieces = tuple(Piece(entry.name, entry.axes) for entry in layers)
        leaves.append(Leaf(name, sizes[name], np.dtype(dtype or stored), pieces))
    return leaves


def flatten_shapes(shapes: Tree) -> dict[str, Shape]:
    """Converts nested dictionaries of leaves with a `.shape` to {"a/b/c": shape}."""
    flat = traverse_util.flatten_dict(shapes, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def foreign_shapes(entries: Iterable[Entry], shapes: Tree) -> dict[str, Shape]:
    """Returns the shape that each foreign tensor must have."""
    sizes = flatten_shapes(shapes)
    return {entry.name: entry.foreign_shape(sizes["/".join(entry.path)]) for entry in entries}


def _check_float(entry: Entry, state: State, leaf: Shape) -> None:
    """Checks one foreign tensor against its leaf in our tree."""
    value = check_tensor(entry, state, leaf)
    if value.dtype not in FLOATS:
        raise ValueError(f"tensor {entry.name} is of type {value.dtype}, expected floats")


# -- Files -------------------------------------------------------------------------------------


def write_part(
    folder: str | os.PathLike,
    description: dict,
    leaves: Iterable[Leaf],
    state: State,
    extra: State | None = None,
) -> None:
    """Writes one model of a bundle, in the format of `bundle.save_part`."""
    stream_safetensors(Path(folder) / "weights.safetensors", leaves, state, extra)
    files.write_json(Path(folder) / "config.json", description)


def stream_safetensors(
    path: str | os.PathLike, leaves: Iterable[Leaf], state: State, extra: State | None = None
) -> None:
    """Writes a safetensors file atomically.

    The `save_file` of the library is not used: it needs all tensors in memory.

    Args:
      extra: additional tensors by name.
    """
    extra = {name: np.asarray(value, order="C") for name, value in (extra or {}).items()}
    tensors = list(leaves)
    tensors += [
        Leaf(name, value.shape, value.dtype, (Piece(name, None),)) for name, value in extra.items()
    ]
    # Widest types first, so that all are aligned, as in the safetensors library.
    tensors.sort(key=lambda leaf: (-leaf.dtype.itemsize, leaf.name))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_format_header(tensors))
        for leaf in tensors:
            source = extra if leaf.name in extra else state
            for piece, content in zip(leaf.pieces, leaf.convert_pieces(source), strict=True):
                file.write(content.reshape(-1).view(np.uint8).data)
                if isinstance(source, MappedState):
                    _release_pages(source[piece.name])


def _format_header(tensors: Iterable[Leaf]) -> bytes:
    """Formats the header: the size of the JSON, and the JSON padded to 8 bytes."""
    header, end = {}, 0
    for leaf in tensors:
        begin, end = end, end + leaf.nbytes
        header[leaf.name] = {
            "dtype": DTYPES[leaf.dtype],
            "shape": list(leaf.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _release_pages(value: np.ndarray) -> None:
    """Frees the memory of a contiguous tensor in a mapped file, whose pages can be read again.

    It must not be called for tensors that are not mapped, whose content would be lost.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):  # Windows
        return
    start = -(-value.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (value.ctypes.data + value.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if length > 0 and value.flags.c_contiguous:
        address, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
        ctypes.CDLL(None).madvise(address, size, mmap.MADV_DONTNEED)


def map_safetensors(path: str | os.PathLike) -> MappedState:
    """Maps the tensors of a safetensors file into memory.

    Raises:
      ValueError: it is no such file, or a truncated one.
    """
    types = {name: dtype for dtype, name in DTYPES.items()}
    tensors = MappedState()
    for name, entry in read_header(path).items():
        if entry.dtype not in types:
            raise ValueError(f"{path}: {name} is of type {entry.dtype}, not {', '.join(types)}")
        dtype, begin = types[entry.dtype], entry.data_offsets[0]
        tensors[name] = (
            np.memmap(path, dtype, "r", begin, entry.shape)
            if entry.size
            else np.zeros(entry.shape, dtype)
        )
    return tensors
