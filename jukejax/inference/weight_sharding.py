"""Sharding of a prior's weights among the devices of this host, for models too large for one.

The mesh has the axes of training (runtime/sharding.py): `tensor` shards heads, hidden features and
vocabulary, caches by heads; `data` shards rows. XLA partitions the program of one device for the
mesh, so that sums are computed in another order, and codes may differ from those of one device.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jukejax.common.types import Tree
from jukejax.inference import budget
from jukejax.inference.conditioning import PriorWeights, prepare_weights
from jukejax.models import decoding
from jukejax.models.prior_config import PriorConfig
from jukejax.ops.logical_axes import placed_by
from jukejax.runtime import sharding
from jukejax.runtime.memory import usable_bytes
from jukejax.runtime.sharding import MeshConfig
from jukejax.weights.part_configs import box_prior_shapes


def make_mesh(devices: Sequence[jax.Device], num_shards: int) -> Mesh:
    """Returns a mesh of as many devices as `num_shards` divides, so many along `tensor`.

    Raises:
      ValueError: there are fewer devices.
    """
    if not 0 < num_shards <= len(devices):
        raise ValueError(
            f"--tensor={num_shards} devices shall share the weights, and this host has "
            f"{len(devices)}"
        )
    count = len(devices) // num_shards * num_shards
    return sharding.make_mesh(MeshConfig(tensor=num_shards), list(devices[:count]))


def choose_mesh(
    config: PriorConfig, dtype: jnp.dtype, weights: str, memory_fraction: float
) -> Mesh:
    """Returns the mesh of this host's devices where the fewest hold the weights and one row.

    Their number divides that of the heads where such a number suffices. On CPUs, whose devices
    share one memory, it is 1.

    Args:
      dtype, weights: see `conditioning.prepare_weights`.
      memory_fraction: share of each device's memory.
    """
    devices = jax.local_devices()
    capacity = _find_capacity(devices[0])
    if capacity is None:
        return make_mesh(devices, 1)
    shapes = _box_shapes(config, dtype, weights)
    num_heads = config.transformer.num_heads
    counts = sorted(range(1, len(devices) + 1), key=lambda count: (num_heads % count > 0, count))
    for count in counts:
        mesh = make_mesh(devices, count)
        held = _count_bytes(mesh, shapes)
        row = budget.count_row_bytes(config, dtype, count) + budget.count_pass_bytes(config, dtype)
        if held + budget.SLACK * row <= memory_fraction * capacity:
            return mesh
    return make_mesh(devices, len(devices))


def _find_capacity(device: jax.Device) -> float | None:
    """Returns the memory of a device; None where it is unknown, or that of all devices."""
    return None if device.platform == "cpu" else usable_bytes(device)


def _count_bytes(mesh: Mesh, shapes: PriorWeights) -> int:
    """Returns the bytes of the weights on each device of a mesh."""
    return sharding.bytes_by_device(
        sharding.shapes_with(sharding.state_shardings(mesh, shapes), shapes)
    )


def shard_weights(
    config: PriorConfig, params: Tree, dtype: jnp.dtype, weights: str, mesh: Mesh
) -> PriorWeights:
    """Prepares weights on the host, and places the shards of each device on it.

    Args:
      config, params, dtype, weights: see `conditioning.prepare_weights`.

    Raises:
      ValueError: JAX has no CPU backend.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise ValueError(f"{error}; add cpu to JAX_PLATFORMS to divide weights") from error
    with jax.default_device(host):
        prepared = prepare_weights(config, params, dtype, weights, is_partitioned=True)
    shardings = sharding.state_shardings(mesh, _box_shapes(config, dtype, weights))
    return jax.device_put(prepared, shardings)


def _box_shapes(config: PriorConfig, dtype: jnp.dtype, weights: str) -> PriorWeights:
    """Returns the shapes of partitioned weights with logical axis names."""
    boxed = box_prior_shapes(config)
    prepare = functools.partial(prepare_weights, config, is_partitioned=True)
    shapes = jax.eval_shape(lambda params: prepare(params, dtype, weights), sharding.unbox(boxed))
    conditioners = {name: tree for name, tree in boxed.items() if name != "autoregressive"}
    decode = decoding.name_weight_axes(
        config.autoregressive, shapes.decode, boxed["autoregressive"]
    )
    return PriorWeights(conditioners, decode)


def find_mesh(weights: Tree) -> Mesh | None:
    """Returns the mesh whose devices share the weights; None for weights on one device."""
    placed = getattr(jax.tree.leaves(weights)[0], "sharding", None)
    if isinstance(placed, NamedSharding) and placed.mesh.shape.get("tensor", 1) > 1:
        assert isinstance(placed.mesh, Mesh)
        return placed.mesh
    return None


@contextlib.contextmanager
def use_mesh(mesh: Mesh | None) -> Iterator[None]:
    """Makes programs that are traced in the block those of a mesh; None: of one device."""
    if mesh is None:
        yield
        return
    with jax.set_mesh(mesh), placed_by(sharding.RULES):
        yield


def place_rows(mesh: Mesh, inputs: Tree) -> Tree:
    """Shards arrays [R, ...] by rows, which the axis `data` divides; scalars are replicated."""
    rows, replicated = NamedSharding(mesh, sharding.BATCH), NamedSharding(mesh, sharding.REPLICATED)
    return jax.device_put(
        inputs, jax.tree.map(lambda leaf: rows if leaf.ndim else replicated, inputs)
    )
