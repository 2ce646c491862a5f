"""Renaming between two layouts of the same weights, as a table that is read in both directions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Tree = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One tensor of a foreign checkpoint and its place in our tree.

    Attributes:
      name: key in the foreign state dict.
      path: keys from the root of our tree to the leaf.
      layer: index on the leaf's leading `layers` axis, None for leaves that are not stacked.
      axes: transposition from theirs to ours, None for none; applied without the layers axis.
    """

    name: str
    path: tuple[str, ...]
    layer: int | None = None
    axes: tuple[int, ...] | None = None


def _leaf(tree: Tree, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def read(
    entries: Iterable[Entry],
    state: Mapping[str, np.ndarray],
    shapes: Tree,
    *,
    prefix: str = "",
    dtype: np.dtype = np.float32,
) -> Tree:
    """Builds our tree from a foreign state dict.

    Args:
      entries: the table; together they fill every leaf of `shapes`.
      state: name -> array; names outside `prefix` are left alone.
      shapes: our tree with anything that has a `.shape` as leaves.
      prefix: of the names in `state`.
      dtype: of the new leaves.

    Raises:
      ValueError: a tensor is missing or has another shape, or a name under `prefix` is unknown.
    """
    tree: Tree = {}
    known = set()
    for entry in entries:
        name = prefix + entry.name
        known.add(name)
        if name not in state:
            raise ValueError(f"the checkpoint lacks the tensor {name}")
        target = _leaf(shapes, entry.path).shape
        wanted = target if entry.layer is None else target[1:]
        value = np.asarray(state[name])
        theirs = wanted if entry.axes is None else [wanted[i] for i in np.argsort(entry.axes)]
        if value.shape != tuple(theirs):
            raise ValueError(f"tensor {name} has shape {value.shape}, expected {tuple(theirs)}")
        ours = value if entry.axes is None else value.transpose(entry.axes)
        node = tree
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        if entry.layer is None:
            node[entry.path[-1]] = np.asarray(ours, dtype)
        else:
            leaf = node.setdefault(entry.path[-1], np.empty(target, dtype))
            leaf[entry.layer] = ours
    unknown = sorted(name for name in state if name.startswith(prefix) and name not in known)
    if unknown:
        raise ValueError(f"the checkpoint holds {unknown[0]}, which this model does not have")
    return tree


def write(entries: Iterable[Entry], tree: Tree, *, prefix: str = "") -> dict[str, np.ndarray]:
    """The inverse of `read`: our tree to a foreign state dict."""
    state = {}
    for entry in entries:
        value = np.asarray(_leaf(tree, entry.path))
        value = value if entry.layer is None else value[entry.layer]
        if entry.axes is not None:
            value = value.transpose(np.argsort(entry.axes))
        state[prefix + entry.name] = np.asarray(value, order="C")
    return state
