"""Writing of PyTorch's checkpoints without PyTorch, tensor by tensor, at any size.

The format is that of `torch.save` since 1.6: a zip archive with a pickle of the state dict, whose
tensors refer to storages in the same archive.
"""

import collections
import contextlib
import io
import math
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage"}
BLOCK = 1 << 22  # numbers that are drawn at a time


class _Storage:
    """The place of a storage in the archive."""

    def __init__(self, dtype: str, key: str, size: int):
        self.dtype, self.key, self.size = dtype, key, size


class _Tensor:
    """A contiguous tensor over a whole storage, pickled as PyTorch does."""

    def __init__(self, storage: _Storage, shape: tuple[int, ...]):
        self.storage, self.shape = storage, shape

    def __reduce__(self):
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        return rebuild, (self.storage, 0, self.shape, tuple(strides), False, hooks)


class _Pickler(pickle.Pickler):
    def persistent_id(self, item):
        if not isinstance(item, _Storage):
            return None
        kind = getattr(sys.modules["torch"], STORAGES[item.dtype])
        return "storage", kind, item.key, "cpu", item.size


@contextlib.contextmanager
def _name_torch() -> Iterator[None]:
    """Provides the names of PyTorch that its pickles refer to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise NotImplementedError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        "torch._utils",
        "_rebuild_tensor_v2",
    )
    utils._rebuild_tensor_v2 = torch._utils = _rebuild_tensor_v2
    torch._utils = utils
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def write_archive(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    ties: Mapping[str, str],
    dtype: str = "float32",
    seed: int = 0,
) -> None:
    """Writes {"model": state dict} of random numbers; at most `BLOCK` of them are in memory.

    Args:
      shapes: of the tensors by name.
      ties: {name: name of an earlier tensor with the same storage}.
    """
    storages: dict[str, _Storage] = {}
    tensors = collections.OrderedDict()
    for name, shape in shapes.items():
        storage = storages.get(ties.get(name, ""))
        if storage is None:
            storage = storages[name] = _Storage(dtype, str(len(storages)), math.prod(shape))
        tensors[name] = _Tensor(storage, tuple(shape))
    content = io.BytesIO()
    with _name_torch():
        _Pickler(content, protocol=2).dump({"model": tensors, "step": 0})
    random, width = np.random.default_rng(seed), np.dtype(dtype).itemsize
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content.getvalue())
        archive.writestr("archive/byteorder", "little")
        for storage in storages.values():
            large = storage.size * width >= 1 << 31
            with archive.open(f"archive/data/{storage.key}", "w", force_zip64=large) as file:
                for start in range(0, storage.size, BLOCK):
                    count = min(BLOCK, storage.size - start)
                    numbers = 0.02 * random.standard_normal(count, np.float32)
                    file.write(numbers.astype(dtype).tobytes())
        archive.writestr("archive/version", "3\n")
