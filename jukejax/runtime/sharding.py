"""Sharding of arrays: one mesh, and one table from logical axis names to mesh axes.

The mesh has the axes `data` (replicas of the model), `fsdp` (parameters sharded along their
embedding axis, gathered layer by layer) and `tensor` (heads, hidden and vocabulary axes sharded).
Between slices of a pod, whose links are slow, only `data` is partitioned.
"""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jukejax.common.types import Tree

AXES = ("data", "fsdp", "tensor")
RULES = {
    "embed": "fsdp",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "conv_in": "fsdp",
    "conv_out": "tensor",
    "position": None,
    "norm": None,
    "layers": None,
    # Activations.
    "batch": ("data", "fsdp"),
    "time": None,
    "act_embed": None,
    "act_heads": "tensor",
    "act_mlp": "tensor",
    "act_vocab": "tensor",
}
BATCH = PartitionSpec(("data", "fsdp"))
REPLICATED = PartitionSpec()


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Numbers of devices along each axis; one of them may be -1, for all remaining devices.

    Attributes:
      slices: TPU slices (or hosts with slow links) that `data` is partitioned over first.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1


def make_mesh(config: MeshConfig = MeshConfig(), devices: list | None = None) -> Mesh:
    """Returns the mesh over `devices` (default: all)."""
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(config, axis) for axis in AXES]
    fixed = int(np.prod([size for size in sizes if size > 0]))
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        named = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise ValueError(f"{named}: sizes must be positive, and one may be -1")
    sizes = [len(devices) // fixed if size == -1 else size for size in sizes]
    if int(np.prod(sizes)) != len(devices):
        shape = " x ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes, strict=True))
        raise ValueError(f"the mesh {shape} does not use all {len(devices)} devices; change mesh.*")
    kinds = (AxisType.Auto,) * len(AXES)
    if config.slices > 1:
        if sizes[0] % config.slices:
            raise ValueError(f"mesh.slices {config.slices} does not divide mesh.data {sizes[0]}")
        within = (sizes[0] // config.slices, *sizes[1:])
        grid = mesh_utils.create_hybrid_device_mesh(
            within, (config.slices, 1, 1), devices, allow_split_physical_axes=True
        )
    else:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=kinds)


def check_batch(mesh: Mesh | AbstractMesh, batch_size: int, accumulate: int = 1) -> None:
    """Raises ValueError if the mesh does not divide the batch evenly."""
    shares = mesh.shape["data"] * mesh.shape["fsdp"] * accumulate
    if batch_size % shares:
        raise ValueError(
            f"data.batch_size {batch_size} must be a multiple of {shares}: mesh.data "
            f"{mesh.shape['data']} x mesh.fsdp {mesh.shape['fsdp']} x accumulate {accumulate}"
        )


def state_shardings(mesh: Mesh | AbstractMesh, boxed: Tree) -> Tree:
    """Returns shardings for a tree of shapes whose leaves may have logical axis names.

    An axis that its mesh axis does not divide is not sharded.
    """

    def shard(leaf: Tree) -> Tree:
        if not isinstance(leaf, nn.Partitioned):
            return _leaf_sharding(mesh, leaf, PartitionSpec())
        # A box may have lost its array, in an optimizer of other leaves.
        find = functools.partial(_leaf_sharding, mesh, spec=leaf.get_partition_spec())
        return jax.tree.map(find, leaf.value)

    return jax.tree.map(shard, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))


def _leaf_sharding(
    mesh: Mesh | AbstractMesh, leaf: jax.ShapeDtypeStruct, spec: PartitionSpec
) -> NamedSharding:
    if len(spec) > len(leaf.shape):  # statistics of a leaf, which the optimizer has reduced
        spec = PartitionSpec()
    axes = [None if name is None else RULES[name] for name in spec]
    axes += [None] * (len(leaf.shape) - len(axes))
    divided = [
        axis if axis is not None and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(axes, leaf.shape, strict=True)
    ]
    return NamedSharding(mesh, PartitionSpec(*divided))


def batch_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Returns the rows of a global batch that this process must load, in order.

    Processes with the same rows (whose devices differ along `tensor` only) both load them.
    """
    indices = NamedSharding(mesh, BATCH).addressable_devices_indices_map((batch_size,))
    spans = {
        (place[0].start or 0, place[0].stop or batch_size) for place in indices.values() if place
    }
    return np.concatenate([np.arange(*span) for span in sorted(spans)])


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Builds global arrays from this process's rows of a batch, sharded along the batch axis."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def unbox(tree: Tree) -> Tree:
    """Removes the logical axis names around the parameters of modules."""
    return nn.meta.unbox(tree)


def shapes_with(shardings: Tree, boxed: Tree) -> Tree:
    """Returns shapes, types and shardings of a state: the target of a restore."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        unbox(boxed),
        shardings,
    )


def bytes_by_device(tree: Tree) -> int:
    """Returns the bytes of a tree of shapes on one device; unsharded leaves count as a whole."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        placed = getattr(leaf, "sharding", None)
        shape = placed.shard_shape(leaf.shape) if placed else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total
