"""Runs of the window program on several devices: each has all weights, or they share the weights.

Dimensions: R rows of a batch, T seq_len.
"""

from collections.abc import Sequence
from typing import Protocol

import jax
from jax.sharding import Mesh

from jukejax.inference.conditioning import PriorWeights
from jukejax.inference.placement import Division, Replicas, divide_rows
from jukejax.inference.token_loop import LogitsFilter
from jukejax.inference.weight_sharding import find_mesh, place_rows, use_mesh
from jukejax.inference.window_program import WindowInputs, sample_divided_windows, sample_windows
from jukejax.models.prior_config import PriorConfig


class WindowRunner(Protocol):
    """Samples batches of windows.

    Attributes:
      num_groups: groups of devices that share the rows of a batch.
      num_shards: devices of a group, which share the weights.
    """

    num_groups: int
    num_shards: int

    def divide(self, num_rows: int) -> Division:
        """Returns the division of a batch among the groups."""

    def run(
        self,
        division: Division,
        config: PriorConfig,
        logits_filter: LogitsFilter,
        inputs: WindowInputs,
        *,
        chunk: int | None,
        fresh: bool,
    ) -> jax.Array:
        """Computes `sample_windows`, int32 [R, T].

        Args:
          division: of R rows.
          chunk: rows of each group in a pass over whole windows; None: all.
        """


def choose_runner(weights: PriorWeights, devices: Sequence[jax.Device]) -> WindowRunner:
    """Returns the runner for weights as `Model.load_prior` has placed them.

    Args:
      devices: that get copies of weights that are on one device; none: that device alone.
    """
    mesh = find_mesh(weights)
    return ReplicaRunner(weights, devices) if mesh is None else ShardRunner(weights, mesh)


class ReplicaRunner:
    """Samples on devices that each have all weights; see `WindowRunner`."""

    num_shards = 1

    def __init__(self, weights: PriorWeights, devices: Sequence[jax.Device]):
        self._replicas = Replicas(weights, devices)
        self.num_groups = max(len(devices), 1)

    def divide(self, num_rows: int) -> Division:
        """Returns the division with the fewest rows on a device."""
        return divide_rows(num_rows, self.num_groups)

    def run(
        self,
        division: Division,
        config: PriorConfig,
        logits_filter: LogitsFilter,
        inputs: WindowInputs,
        *,
        chunk: int | None,
        fresh: bool,
    ) -> jax.Array:
        """Computes `sample_windows` on the devices of the division, each for its rows."""
        mesh, weights = self._replicas.place(division.num_devices)
        arguments = (config, logits_filter, weights, inputs, chunk, fresh)
        if mesh is None:
            return sample_windows(*arguments)
        return sample_divided_windows(*arguments, mesh=mesh)


class ShardRunner:
    """Samples by one program for a mesh of devices that share the weights; see `WindowRunner`."""

    def __init__(self, weights: PriorWeights, mesh: Mesh):
        self._weights, self._mesh = weights, mesh
        self.num_groups, self.num_shards = mesh.shape["data"], mesh.shape["tensor"]

    def divide(self, num_rows: int) -> Division:
        """Returns the division among all groups."""
        return Division(self.num_groups, -(-num_rows // self.num_groups))

    def run(
        self,
        division: Division,
        config: PriorConfig,
        logits_filter: LogitsFilter,
        inputs: WindowInputs,
        *,
        chunk: int | None,
        fresh: bool,
    ) -> jax.Array:
        """Computes `sample_windows`; XLA partitions it for the mesh."""
        chunk = None if chunk is None else chunk * division.num_devices
        inputs = place_rows(self._mesh, inputs)
        with use_mesh(self._mesh):
            return sample_windows(config, logits_filter, self._weights, inputs, chunk, fresh)
