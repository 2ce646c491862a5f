"""State of a run in the host's memory (`OptimizerConfig.on_host`): averages, optimizer state.

A training step copies them to the devices and back.
"""

import dataclasses
from collections.abc import Collection

import jax
from jax.sharding import Mesh

from jukejax.common.types import Tree
from jukejax.training.optim import ON_HOST
from jukejax.training.state import TrainState

HOST_MEMORY = "pinned_host"  # the name of JAX


def place_on_host(shardings: TrainState, mesh: Mesh, parts: Collection[str]) -> TrainState:
    """Returns the shardings of a state with parts of it in the host's memory.

    Args:
      parts: keys of `ON_HOST`.

    Raises:
      ValueError: the backend cannot address the host's memory.
    """
    if not parts:
        return shardings
    device = mesh.devices.flat[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST_MEMORY not in kinds:
        raise ValueError(
            f"optimizer.on_host needs the memory {HOST_MEMORY}, and {device.device_kind} has "
            f"{', '.join(kinds)}; remove it"
        )
    moved = {
        ON_HOST[part]: jax.tree.map(
            lambda sharding: sharding.with_memory_kind(HOST_MEMORY),
            getattr(shardings, ON_HOST[part]),
        )
        for part in parts
    }
    return dataclasses.replace(shardings, **moved)


def move_state(state: TrainState, shardings: TrainState, parts: Collection[str]) -> TrainState:
    """Moves the named parts of a state to the memory of their shardings."""
    moved: dict[str, Tree] = {
        ON_HOST[part]: jax.device_put(
            getattr(state, ON_HOST[part]), getattr(shardings, ON_HOST[part])
        )
        for part in parts
    }
    return dataclasses.replace(state, **moved)
