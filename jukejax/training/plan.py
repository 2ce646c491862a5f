"""What a run will need, worked out before anything is spent: `train --dry_run`.

Nothing is allocated: parameters, shardings and what the backward pass keeps are shapes. The mesh
may be one that this machine does not have, and the data may be elsewhere.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.models.transformer_config import TransformerConfig
from jukejax.runtime import sharding
from jukejax.runtime.memory import usable_bytes
from jukejax.training import program, state
from jukejax.training.task import Task

ASSUMED_MFU = 0.3  # of an accelerator, where nothing was measured


@dataclasses.dataclass(frozen=True)
class Plan:
    """The needs of a run.

    Attributes:
      task, dtype, remat: what is trained and how; remat is "" where the model has no such choice.
      mesh: devices along each axis.
      open_axis: the axis of an absent mesh whose size the config leaves open; "" without.
      kind: of the devices, in JAX's words; "" where the mesh is not on this machine.
      parameters: by part of the model.
      memory: bytes on each device, by part; "activations" is an estimate (see `activation_bytes`).
      device_memory: bytes that a device has; None where that is not known.
      work: FLOPs of a step, by part of the model.
      batch_size, part_size: examples of a step, and those that a device works on at a time.
      tokens: codes of a step (samples of a VQ-VAE).
      steps: of the run.
      epochs: times that the run sees each window; None without the data.
      data: where they are, or should be.
    """

    task: str
    dtype: str
    remat: str
    mesh: dict[str, int]
    open_axis: str
    kind: str
    parameters: dict[str, int]
    memory: dict[str, int]
    device_memory: float | None
    work: dict[str, float]
    batch_size: int
    part_size: int
    tokens: int
    steps: int
    epochs: float | None
    data: str

    @property
    def devices(self) -> int:
        return math.prod(self.mesh.values())

    @property
    def step_flops(self) -> float:
        return sum(self.work.values())

    def seconds_per_step(self, peak_flops: float, share: float = ASSUMED_MFU) -> float:
        """On devices of this peak (FLOP/s each), of which a share goes into the model."""
        return self.step_flops / (peak_flops * share * self.devices)


def make_plan(config) -> Plan:
    """The plan of a config, with the data if they are here."""
    task = program.make_task(config, with_data=has_data(config))
    recipe = program.make_recipe(config)
    mesh = make_mesh(program.mesh_config(config))
    sharding.check_batch(mesh, recipe.batch_size, recipe.accumulate)
    boxed = jax.eval_shape(functools.partial(state.init_state, task, recipe), jax.random.key(0))
    placed = sharding.shapes_with(sharding.state_shardings(mesh, boxed), boxed)
    here = isinstance(mesh, Mesh)
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    part_size = recipe.batch_size // shares // recipe.accumulate
    memory = state_bytes(placed, config.dtype, accumulate=recipe.accumulate)
    batch = task.batch_shapes(recipe.batch_size // shares)
    memory["batch"] = 2 * sharding.bytes_by_device(batch)  # the one in use and the one behind it
    memory["activations"] = activation_bytes(config, task, placed, part_size)
    return Plan(
        task=task.name,
        dtype=config.dtype,
        remat=remat_of(config),
        mesh=dict(mesh.shape),
        open_axis="" if here else _open_axis(program.mesh_config(config)),
        kind=mesh.devices.flat[0].device_kind if here else "",
        parameters=parameters_by_part(placed.params),
        memory=memory,
        device_memory=usable_bytes(mesh.devices.flat[0]) if here else None,
        work={name: part.total * recipe.batch_size for name, part in task.work.items()},
        batch_size=recipe.batch_size,
        part_size=part_size,
        tokens=recipe.batch_size * task.example_codes,
        steps=config.steps,
        epochs=config.steps * recipe.batch_size / task.epoch_size if task.epoch_size else None,
        data=str(config.data.folder),
    )


def has_data(config) -> bool:
    """Whether the run's shards are on this machine."""
    folder = config.data.folder
    return bool(folder) and (Path(folder) / "dataset.json").exists()


def make_mesh(config: sharding.MeshConfig) -> Mesh | AbstractMesh:
    """The config's mesh: over the devices here if it fits them, else one of the sizes it names (-1
    then counts as the fewest that there can be)."""
    sizes = [getattr(config, axis) for axis in sharding.AXES]
    fixed = math.prod(size for size in sizes if size > 0)
    here = len(jax.devices())
    if fixed == here or (-1 in sizes and here % fixed == 0 and config.slices == 1):
        return sharding.make_mesh(config)
    fewest = dict.fromkeys(sharding.AXES, 1) | {"data": config.slices}
    sizes = [
        fewest[axis] if size == -1 else size
        for axis, size in zip(sharding.AXES, sizes, strict=True)
    ]
    return AbstractMesh(
        tuple(sizes), sharding.AXES, axis_types=(AxisType.Auto,) * len(sharding.AXES)
    )


def _open_axis(config: sharding.MeshConfig) -> str:
    return next((axis for axis in sharding.AXES if getattr(config, axis) == -1), "")


def state_bytes(placed: state.TrainState, dtype: str, *, accumulate: int = 1) -> dict[str, int]:
    """Bytes on each device of what lives through a step, and of its gradients.

    Args:
      placed: shapes of the state, with shardings.
      dtype: compute type; weights are copied into it if it is not float32.
    """
    params = sharding.bytes_by_device(placed.params)
    found = {
        "params": params,
        "optimizer": sharding.bytes_by_device(placed.opt_state),
        "averaged params": sharding.bytes_by_device(placed.ema_params),
        "codebooks": sharding.bytes_by_device(placed.extra),
        # With accumulation: the sum so far, and those of one part.
        "gradients": params * (2 if accumulate > 1 else 1),
        f"params in {dtype}": params // 2 if dtype != "float32" else 0,
    }
    return {name: size for name, size in found.items() if size}


def parameters_by_part(params: Mapping) -> dict[str, int]:
    """Parameters of a model by the names of its parts, two deep where one part is nearly all."""

    def count(tree: Tree) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    parts, whole = {}, count(params)
    for name, part in params.items():
        if isinstance(part, Mapping) and len(part) > 1 and count(part) > 0.5 * whole:
            parts |= {f"{name}/{inner}": count(tree) for inner, tree in part.items()}
        else:
            parts[name] = count(part)
    return parts


def kept_bytes(task: Task, placed: state.TrainState) -> int:
    """Bytes of one example that the forward pass keeps for the backward pass."""

    def kept(params: Tree, extra: Tree, batch: dict, key: jax.Array) -> Tree:
        def loss(params: Tree):
            return task.loss(params, extra, batch, key)

        return jax.vjp(loss, params, has_aux=True)[1]

    def size(examples: int) -> int:
        key = jax.eval_shape(lambda: jax.random.key(0))
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (placed.params, placed.extra)
        )
        return sharding.bytes_by_device(
            jax.eval_shape(kept, *shapes, task.batch_shapes(examples), key)
        )

    return size(2) - size(1)  # without what does not depend on the examples: weights


def activation_bytes(config, task: Task, placed: state.TrainState, part_size: int) -> int:
    """An estimate of the activations on a device, by what JAX keeps under the remat policy.

    Where the policy forgets, one layer (or one cycle, under "full") is there besides, computed
    again. What XLA fuses away or adds of its own is not known here, nor that `tensor` cuts a part
    of it: of the models compared with the compiler's figure, it was between a half and twice that.

    Args:
      part_size: examples that a device works on at a time.
    """
    kept = kept_bytes(task, placed)
    remat = remat_of(config)
    if remat in ("", "none"):
        return part_size * kept
    plain = config.copy_and_resolve_references()
    with plain.unlocked():
        plain.model.transformer.remat = "none"
    stack = freeze(TransformerConfig, config.model.transformer.to_dict(), "config.model")
    everything = kept_bytes(program.make_task(plain, with_data=task.epoch_size > 0), placed)
    again = _period(stack.pattern) if remat == "full" else 1
    return part_size * int(kept + (everything - kept) * again / stack.num_layers)


def _period(pattern: tuple) -> int:
    """Layers until a pattern of attention begins anew."""
    return next(n for n in range(1, len(pattern) + 1) if pattern[n : 2 * n] in (pattern[:n], ()))


def remat_of(config) -> str:
    """The remat policy of a prior's transformer."""
    if config.task != "prior":
        return ""
    return config.model.transformer.get("remat", "none")
