"""index.npz beside the shards of a dataset: the lengths of their records.

With it a shard in a bucket is opened without a request for each record. It is optional, and the
arrays are named by the content of the shards, so that an index of other shards is never used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files

NAME = "index.npz"


def write_index(
    folder: Path, table: Mapping[str, Any], lengths: Mapping[str, Sequence[Sequence[int]]]
) -> None:
    """Writes the index of a dataset.

    Args:
      table: content of dataset.json.
      lengths: bytes of the records of each shard of each split.
    """
    arrays = {
        _name_shard(entry): np.array(shard, np.uint32)
        for split, shards in lengths.items()
        for entry, shard in zip(table["splits"][split]["shards"], shards, strict=True)
    }
    files.write_arrays(folder / NAME, arrays)


def read_index(folder: Path) -> dict[str, np.ndarray]:
    """Reads the index of a dataset; {} if it is missing or damaged."""
    try:
        with np.load(folder / NAME, allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.int64) for name in arrays}
    except (OSError, ValueError, KeyError):
        return {}


def find_lengths(index: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> np.ndarray | None:
    """Returns the lengths of the records of a shard; None if the index lacks it."""
    return index.get(_name_shard(entry))


def _name_shard(entry: Mapping[str, Any]) -> str:
    return f"{entry['file']}.{entry['crc32c']}"
