"""The plan of a run: its parameters, memory, FLOPs and epochs, for `train --dry_run`.

Nothing is allocated: parameters, shardings and residuals of the backward pass are shapes. The mesh
may be one that this machine does not have, and the data may be elsewhere.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh
from ml_collections import ConfigDict

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.data.mixture import parse_folders
from jukejax.models.transformer import find_segments
from jukejax.models.transformer_config import TransformerConfig
from jukejax.runtime import sharding
from jukejax.runtime.memory import usable_bytes
from jukejax.training import program, rate_plan, savings, state
from jukejax.training.savings import Saving
from jukejax.training.task import Task


@dataclasses.dataclass(frozen=True)
class Plan:
    """The needs of a run.

    Attributes:
      task: name of the task.
      dtype: compute type.
      remat: rematerialization policy; "" where the model has none.
      mesh: devices along each axis.
      open_axis: the axis of an absent mesh whose size the config leaves open; "" without.
      kind: JAX's `device_kind`; "" where the mesh is not on this machine.
      parameters: by part of the model; of adapters, "base" is not trained.
      memory: bytes on each device, by part; "activations" is an estimate (see `activation_bytes`).
      host_memory: bytes in the host's memory for each device, by part (`optimizer.on_host`).
      savings: settings of the optimizer that need less memory.
      device_memory: bytes of a device's memory; None if unknown.
      work: FLOPs of a step, by part of the model.
      batch_size, part_size: examples of a step, and of a device's microbatch.
      tokens: codes of a step (samples of a VQ-VAE).
      steps: of the run.
      epochs: passes of the run over the windows, of a mixture over those of the corpus that is
        used up first; None without the data.
      data: folder of the data.
      short_tracks: a line for each split with tracks that are shorter than a window.
      rate: the learning rate over the run, in words.
      warnings: lines about it.
    """

    task: str
    dtype: str
    remat: str
    mesh: dict[str, int]
    open_axis: str
    kind: str
    parameters: dict[str, int]
    memory: dict[str, int]
    host_memory: dict[str, int]
    savings: list[Saving]
    device_memory: float | None
    work: dict[str, float]
    batch_size: int
    part_size: int
    tokens: int
    steps: int
    epochs: float | None
    data: str
    rate: str
    warnings: list[str]
    short_tracks: tuple[str, ...] = ()

    @property
    def devices(self) -> int:
        """The devices of the mesh."""
        return math.prod(self.mesh.values())

    @property
    def step_flops(self) -> float:
        """The FLOPs of a step."""
        return sum(self.work.values())

    def seconds_per_step(self, peak_flops: float, share: float) -> float:
        """Returns the time on devices of this peak (FLOP/s each) at an MFU of `share`."""
        return self.step_flops / (peak_flops * share * self.devices)


def make_plan(config: ConfigDict) -> Plan:
    """Plans the run of a config, with its data if the data is on this machine."""
    task = program.make_task(config, with_data=has_data(config))
    recipe = program.make_recipe(config)
    mesh = plan_mesh(program.mesh_config(config))
    sharding.check_batch(mesh, recipe.batch_size, recipe.accumulate)
    boxed = jax.eval_shape(functools.partial(state.init_state, task, recipe), jax.random.key(0))
    placed = sharding.shapes_with(sharding.state_shardings(mesh, boxed), boxed)
    device = mesh.devices.flat[0] if isinstance(mesh, Mesh) else None
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    part_size = recipe.batch_size // shares // recipe.accumulate
    memory = state_bytes(placed, config.dtype, accumulate=recipe.accumulate)
    if find_remat(config) not in ("", "none"):
        memory.pop(f"params in {config.dtype}", None)
        share = _share_of_layers(config) * mesh.shape["fsdp"]
        memory["layers at a time"] = int(share * count_layer_bytes(placed.params, config.dtype))
    parameters = count_parameters(placed.params)
    if not task.saves_extra:
        parameters["base"] = _count(placed.extra)
        memory["base"] = memory.pop("codebooks")
    names = [savings.PART_NAMES[part] for part in recipe.optimizer.on_host]
    host_memory = {name: memory.pop(name) for name in names if name in memory}
    options = savings.list_savings(recipe, boxed, mesh, memory)
    batch = task.batch_shapes(recipe.batch_size // shares)
    memory["batch"] = 2 * sharding.bytes_by_device(batch)  # the batch in use and the prefetched one
    memory["activations"] = activation_bytes(config, task, placed, part_size)
    return Plan(
        task=task.name,
        dtype=config.dtype,
        remat=find_remat(config),
        mesh=dict(mesh.shape),
        open_axis=_open_axis(program.mesh_config(config)) if device is None else "",
        kind="" if device is None else device.device_kind,
        parameters=parameters,
        memory=memory,
        host_memory=host_memory,
        savings=options,
        device_memory=None if device is None else usable_bytes(device),
        work={name: part.total * recipe.batch_size for name, part in task.work.items()},
        batch_size=recipe.batch_size,
        part_size=part_size,
        tokens=recipe.batch_size * task.example_codes,
        steps=config.steps,
        epochs=config.steps * recipe.batch_size / task.epoch_size if task.epoch_size else None,
        data=str(config.data.folder),
        short_tracks=task.short_tracks,
        rate=rate_plan.describe_rate(recipe.optimizer, config.steps),
        warnings=rate_plan.find_rate_warnings(recipe.optimizer, recipe.schedule, config.steps),
    )


def has_data(config: ConfigDict) -> bool:
    """Returns true if the run's shards are on this machine."""
    folders = parse_folders(config.data.folder) if config.data.folder else []
    return bool(folders) and all((Path(name) / "dataset.json").exists() for name, _ in folders)


def plan_mesh(config: sharding.MeshConfig) -> Mesh | AbstractMesh:
    """Makes the config's mesh over this machine's devices if it fits them, else an abstract mesh.

    In an abstract mesh, a size of -1 becomes the smallest possible size.
    """
    sizes = [getattr(config, axis) for axis in sharding.AXES]
    fixed = math.prod(size for size in sizes if size > 0)
    num_devices = len(jax.devices())
    if fixed == num_devices or (-1 in sizes and num_devices % fixed == 0 and config.slices == 1):
        return sharding.make_mesh(config)
    smallest = dict.fromkeys(sharding.AXES, 1) | {"data": config.slices}
    sizes = [
        smallest[axis] if size == -1 else size
        for axis, size in zip(sharding.AXES, sizes, strict=True)
    ]
    return AbstractMesh(
        tuple(sizes), sharding.AXES, axis_types=(AxisType.Auto,) * len(sharding.AXES)
    )


def _open_axis(config: sharding.MeshConfig) -> str:
    return next((axis for axis in sharding.AXES if getattr(config, axis) == -1), "")


def count_layer_bytes(params: Tree, dtype: str) -> int:
    """Returns the bytes of weights and their gradients in the compute type, on each device.

    A backward pass that computes layers again has those of these layers alone, gathered along
    `fsdp`.

    Args:
      params: shapes, with shardings.
    """
    return 2 * sharding.bytes_by_device(params) // (1 if dtype == "float32" else 2)


def state_bytes(placed: state.TrainState, dtype: str, *, accumulate: int = 1) -> dict[str, int]:
    """Returns the bytes of the state and its gradients on each device, by part.

    Args:
      placed: shapes of the state, with shardings.
      dtype: compute type; weights are copied into it if it is not float32.
    """
    params = sharding.bytes_by_device(placed.params)
    sizes = {
        "params": params,
        "optimizer": sharding.bytes_by_device(placed.opt_state),
        "averaged params": sharding.bytes_by_device(placed.ema_params),
        "codebooks": sharding.bytes_by_device(placed.extra),
        # With accumulation: the running sum, and the gradients of one microbatch.
        "gradients": params * (2 if accumulate > 1 else 1),
        f"params in {dtype}": params // 2 if dtype != "float32" else 0,
    }
    return {name: size for name, size in sizes.items() if size}


def count_parameters(params: Mapping) -> dict[str, int]:
    """Counts parameters by part of the model; a part with more than half is divided further."""
    counts: dict[str, int] = {}
    total = _count(params)
    for name, part in params.items():
        if isinstance(part, Mapping) and len(part) > 1 and _count(part) > 0.5 * total:
            counts |= {f"{name}/{inner}": _count(tree) for inner, tree in part.items()}
        else:
            counts[name] = _count(part)
    return counts


def _count(tree: Tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def count_residual_bytes(task: Task, placed: state.TrainState) -> int:
    """Counts the bytes of one example that the forward pass saves for the backward pass."""

    def residuals(params: Tree, extra: Tree, batch: dict, key: jax.Array) -> Tree:
        loss = functools.partial(task.loss, extra=extra, batch=batch, key=key)
        return jax.vjp(loss, params, has_aux=True)[1]

    def count(examples: int) -> int:
        key = jax.eval_shape(lambda: jax.random.key(0))
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (placed.params, placed.extra)
        )
        return sharding.bytes_by_device(
            jax.eval_shape(residuals, *shapes, task.batch_shapes(examples), key)
        )

    return count(2) - count(1)  # the weights cancel


def activation_bytes(
    config: ConfigDict, task: Task, placed: state.TrainState, part_size: int
) -> int:
    """Estimates the activations on a device, from what JAX saves under the remat policy.

    For a policy that recomputes, the residuals of one layer (of one cycle for "full") are added.
    XLA's fusions and temporaries, and the sharding along `tensor`, are not modeled: where they were
    compared, the estimate was between half and twice the compiler's figure.

    Args:
      part_size: examples of a device's microbatch.
    """
    saved = count_residual_bytes(task, placed)
    remat = find_remat(config)
    if remat in ("", "none"):
        return part_size * saved
    plain = config.copy_and_resolve_references()
    with plain.unlocked():
        plain.model.transformer.remat = "none"
    plain_task = program.make_task(plain, with_data=task.epoch_size > 0)
    everything = count_residual_bytes(plain_task, placed)
    return part_size * int(saved + (everything - saved) * _share_of_layers(config))


def _share_of_layers(config: ConfigDict) -> float:
    """Returns the share of a model's layers that a backward pass computes again at a time."""
    remat = find_remat(config)
    stack = freeze(TransformerConfig, config.model.transformer.to_dict(), "config.model")
    cycle = max(len(cycle) for cycle, _ in find_segments(stack.pattern)) if remat == "full" else 1
    return cycle / stack.num_layers


def find_remat(config: ConfigDict) -> str:
    """Returns the remat policy of a prior's transformer; "" for other tasks."""
    if config.task != "prior":
        return ""
    return config.model.transformer.get("remat", "none")
