"""Division of the rows of a batch among the devices of this host.

Every device has all weights and computes its own rows, without communication, by the program that
one device would run for as many rows: the rows of a batch do not depend on each other.

Letters: R rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jukejax.common.types import Tree

AXIS = "rows"


class Division(NamedTuple):
    """The division of a batch: so many devices, with so many rows on each."""

    num_devices: int
    rows_each: int


def divide_rows(num_rows: int, num_devices: int) -> Division:
    """Returns the division with the fewest rows on a device, and then the fewest devices.

    Its devices have room for `num_rows` rows or a few more: 9 rows are divided among 5 of 8
    devices, 2 on each.
    """
    rows_each = -(-num_rows // num_devices)
    return Division(-(-num_rows // rows_each), rows_each)


class Replicas:
    """Keeps the weights of a model on as many devices as its batches need."""

    def __init__(self, weights: Tree, devices: Sequence[jax.Device]):
        """Starts with the weights on one device, wherever that is."""
        self._weights, self._devices = weights, devices
        self._num_devices = 1
        self._mesh: Mesh | None = None

    def place(self, num_devices: int) -> tuple[Mesh | None, Tree]:
        """Returns a mesh of the first devices, None for one, and the weights on each of them."""
        if num_devices != self._num_devices:
            mesh = Mesh(np.asarray(self._devices[:num_devices]), (AXIS,))
            self._weights = jax.device_put(self._weights, NamedSharding(mesh, PartitionSpec()))
            self._mesh = mesh if num_devices > 1 else None
            self._num_devices = num_devices
        return self._mesh, self._weights


def map_rows(
    function: Callable[[Tree, Tree], jax.Array], mesh: Mesh, weights: Tree, inputs: Tree
) -> jax.Array:
    """Computes `function(weights, inputs)` with the rows divided among the devices of a mesh.

    Args:
      function: computes each row independently.
      mesh, weights: see `Replicas.place`.
      inputs: arrays [R, ...] and scalars; leaves may be None. The devices divide R evenly.

    Returns:
      [R, ...].
    """
    specs = jax.tree.map(lambda leaf: PartitionSpec(AXIS) if leaf.ndim else PartitionSpec(), inputs)
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(PartitionSpec(), specs),
        out_specs=PartitionSpec(AXIS),
        check_vma=False,  # custom calls do not declare along which axes their results vary
    )(weights, inputs)
