"""Tables of names that map two layouts of the same weights to each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jukejax.common.types import Tree

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """A tensor of a foreign checkpoint and its location in our tree.

    Attributes:
      name: key in the foreign state dict.
      path: keys from the root of our tree to the leaf.
      layer: index on the leaf's leading `layers` axis, None for leaves that are not stacked.
      axes: transposition from the foreign layout to ours, None for none; without the layers axis.
    """

    name: str
    path: tuple[str, ...]
    layer: int | None = None
    axes: tuple[int, ...] | None = None

    def foreign_shape(self, leaf: Shape) -> Shape:
        """Converts the shape of our leaf, with any layers axis, to that of the foreign tensor."""
        shape = leaf if self.layer is None else leaf[1:]
        return shape if self.axes is None else tuple(shape[i] for i in np.argsort(self.axes))


def check_tensor(entry: Entry, state: Mapping[str, np.ndarray], leaf: Shape) -> np.ndarray:
    """Returns a foreign tensor after checking that it is present and has the expected shape.

    Args:
      leaf: shape of our leaf.

    Raises:
      ValueError: the tensor is missing or has another shape.
    """
    name = entry.name
    if name not in state:
        raise ValueError(f"the checkpoint lacks the tensor {name}")
    value, expected = state[name], entry.foreign_shape(leaf)
    if value.shape != expected:
        raise ValueError(f"tensor {name} has shape {value.shape}, expected {expected}")
    return value


def check_names(names: Iterable[str], expected: set[str]) -> None:
    """Checks that a checkpoint holds no tensor that the model does not have.

    Raises:
      ValueError: a tensor is unknown; the message names the first.
    """
    unknown = sorted(set(names) - expected)
    if unknown:
        raise ValueError(f"the checkpoint holds {unknown[0]}, which this model does not have")


def build_tree(
    entries: Iterable[Entry],
    state: Mapping[str, np.ndarray],
    shapes: Tree,
) -> Tree:
    """Builds our tree from a foreign state dict, in float32.

    Args:
      entries: the table; together they fill every leaf of `shapes`.
      state: name -> array.
      shapes: our tree, with leaves that have a `.shape`.

    Raises:
      ValueError: a tensor is missing, misshapen or unknown.
    """
    tree: Tree = {}
    expected = set()
    for entry in entries:
        expected.add(entry.name)
        shape = tuple(_get_leaf(shapes, entry.path).shape)
        value = np.asarray(check_tensor(entry, state, shape))
        value = value if entry.axes is None else value.transpose(entry.axes)
        node = tree
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        if entry.layer is None:
            node[entry.path[-1]] = np.asarray(value, np.float32)
        else:
            leaf = node.setdefault(entry.path[-1], np.empty(shape, np.float32))
            leaf[entry.layer] = value
    check_names(state, expected)
    return tree


def build_state(entries: Iterable[Entry], tree: Tree) -> dict[str, np.ndarray]:
    """Builds a foreign state dict from our tree; inverts `build_tree`."""
    state = {}
    for entry in entries:
        value = np.asarray(_get_leaf(tree, entry.path))
        value = value if entry.layer is None else value[entry.layer]
        if entry.axes is not None:
            value = value.transpose(np.argsort(entry.axes))
        state[entry.name] = np.asarray(value, order="C")
    return state


def _get_leaf(tree: Tree, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
