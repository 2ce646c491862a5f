"""From a foreign state dict into a safetensors file, a tensor at a time.

Everything is checked before the first byte is written, and never is more than one tensor of the
target in memory, so that converting a model takes little more memory than the checkpoint itself.
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

from jukejax.common import files
from jukejax.weights.mapping import Entry, Tree

DTYPES = {
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.float32): "F32",
    np.dtype(np.float64): "F64",
    np.dtype(np.bool_): "BOOL",
}
FLOATS = tuple(dtype for dtype in DTYPES if dtype != np.bool_)


class MappedState(dict):
    """A state dict whose tensors lie in a file and come into memory when they are looked at."""


@dataclass(frozen=True)
class Piece:
    """A foreign tensor and its transposition from theirs to ours (None for none)."""

    name: str
    axes: tuple[int, ...] | None


@dataclass(frozen=True)
class Leaf:
    """A tensor of the target.

    Attributes:
      name: keys joined by slashes.
      shape, dtype: of the whole tensor.
      pieces: what it is made of: one foreign tensor, or one for each layer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def parts(self, state: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
        """Its content in order, contiguous and of the right type, piece by piece."""
        for piece in self.pieces:
            value = state[piece.name]
            value = value if piece.axes is None else value.transpose(piece.axes)
            yield np.ascontiguousarray(value, self.dtype)


def plan(
    entries: Iterable[Entry],
    state: Mapping[str, np.ndarray],
    shapes: Tree,
    *,
    prefix: str = "",
    dtype: np.dtype | None = None,
) -> list[Leaf]:
    """What becomes of each foreign tensor.

    Args:
      entries: the table of names.
      state: name -> array; a memory-mapped one is not read, save where a weight comes twice.
      shapes: our tree, with anything that has a `.shape` as leaves.
      prefix: of our names.
      dtype: of the target; None keeps that of the checkpoint.

    Raises:
      ValueError: a tensor is missing, misshapen, unknown or no float; the message names it.
    """
    sizes = bundle_shapes(shapes)
    found: dict[str, dict[int | None, Entry]] = {}
    known = set()
    for entry in entries:
        known.add(entry.name)
        leaf = "/".join(entry.path)
        _check(entry, state, sizes[leaf])
        slots = found.setdefault(leaf, {})
        twin = slots.setdefault(entry.layer, entry)
        if twin is not entry and not np.array_equal(state[twin.name], state[entry.name]):
            raise ValueError(
                f"tensors {twin.name} and {entry.name} differ, but the config ties them; is it "
                "another model, or one with merged_decoder?"
            )
    unknown = sorted(set(state) - known)
    if unknown:
        raise ValueError(f"the checkpoint holds {unknown[0]}, which this model does not have")
    leaves = []
    for leaf, slots in found.items():
        sources = [slots[layer] for layer in sorted(slots, key=lambda layer: layer or 0)]
        kept = np.result_type(*(state[entry.name].dtype for entry in sources))
        pieces = tuple(Piece(entry.name, entry.axes) for entry in sources)
        leaves.append(Leaf(prefix + leaf, sizes[leaf], np.dtype(dtype or kept), pieces))
    return leaves


def bundle_shapes(shapes: Tree, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Nested dictionaries of anything with a shape to {"a/b/c": shape}."""
    flat = {}
    for key, value in shapes.items():
        name = f"{prefix}{key}"
        flat |= bundle_shapes(value, name + "/") if isinstance(value, dict) else {name: value.shape}
    return flat


def foreign_shapes(entries: Iterable[Entry], shapes: Tree) -> dict[str, tuple[int, ...]]:
    """The shape that each foreign tensor must have."""
    sizes = bundle_shapes(shapes)
    return {entry.name: _foreign_shape(entry, sizes["/".join(entry.path)]) for entry in entries}


def _foreign_shape(entry: Entry, target: tuple[int, ...]) -> tuple[int, ...]:
    """From the shape of our leaf, layers in front, to that of one tensor of theirs."""
    wanted = target if entry.layer is None else target[1:]
    return wanted if entry.axes is None else tuple(wanted[i] for i in np.argsort(entry.axes))


def _check(entry: Entry, state: Mapping[str, np.ndarray], target: tuple[int, ...]) -> None:
    """One foreign tensor against its place in our tree."""
    if entry.name not in state:
        raise ValueError(f"the checkpoint lacks the tensor {entry.name}")
    value, expected = state[entry.name], _foreign_shape(entry, target)
    if value.shape != expected:
        raise ValueError(f"tensor {entry.name} has shape {value.shape}, expected {expected}")
    if value.dtype not in FLOATS:
        raise ValueError(f"tensor {entry.name} is of type {value.dtype}, expected floats")


def write(
    path: str | os.PathLike,
    leaves: Iterable[Leaf],
    state: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray] | None = None,
) -> None:
    """A safetensors file; it appears whole or not at all.

    Args:
      extra: further tensors by name, whole.
    """
    whole = {name: np.ascontiguousarray(value) for name, value in (extra or {}).items()}
    everything = [
        *leaves,
        *(
            Leaf(name, value.shape, value.dtype, (Piece(name, None),))
            for name, value in whole.items()
        ),
    ]
    # As the safetensors library does: widest types first, so that all are aligned.
    everything.sort(key=lambda leaf: (-leaf.dtype.itemsize, leaf.name))
    header, end = {}, 0
    for leaf in everything:
        span = [end, end + leaf.nbytes]
        end = span[1]
        header[leaf.name] = {
            "dtype": DTYPES[leaf.dtype],
            "shape": list(leaf.shape),
            "data_offsets": span,
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for leaf in everything:
            source = whole if leaf.name in whole else state
            for piece, part in zip(leaf.pieces, leaf.parts(source), strict=True):
                file.write(part.reshape(-1).view(np.uint8).data)
                if isinstance(source, MappedState):
                    _forget(source[piece.name])


def _forget(value: np.ndarray) -> None:
    """Gives back the memory of a contiguous tensor in a mapped file; it can be read again.

    Never for tensors elsewhere: they would lose their content.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):  # Windows
        return
    start = -(-value.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (value.ctypes.data + value.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if length > 0 and value.flags.c_contiguous:
        address, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
        ctypes.CDLL(None).madvise(address, size, mmap.MADV_DONTNEED)


def save_part(
    folder: str | os.PathLike,
    description: dict,
    leaves: Iterable[Leaf],
    state: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray] | None = None,
) -> None:
    """One model of a bundle, as `bundle.save_part` writes it."""
    write(Path(folder) / "weights.safetensors", leaves, state, extra)
    files.write_json(Path(folder) / "config.json", description)


def map_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, lying in it (memory-mapped).

    Raises:
      ValueError: it is no such file, or a truncated one.
    """
    path = Path(path)
    types = {name: dtype for dtype, name in DTYPES.items()}
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError("it is shorter than its header")
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        tensors = MappedState()
        for name, told in header.items():
            begin, end = told["data_offsets"]
            dtype, shape = types[told["dtype"]], tuple(told["shape"])
            tensors[name] = (
                np.memmap(path, dtype, "r", 8 + size + begin, shape)
                if end > begin
                else np.zeros(shape, dtype)
            )
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no safetensors file, or a truncated one ({error})") from error
