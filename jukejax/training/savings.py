"""The memory of a run's optimizer with other settings, for `train --dry_run`."""

import dataclasses
from typing import NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh

from jukejax.common.types import Tree
from jukejax.runtime import sharding
from jukejax.training import optim
from jukejax.training.optim import OptimizerConfig
from jukejax.training.state import Recipe, TrainState

PART_NAMES = {"moments": "optimizer", "ema": "averaged params"}  # in `plan.state_bytes`


class Saving(NamedTuple):
    """The bytes of a part of the state on each device, as configured and with another setting."""

    setting: str
    part: str
    current: int
    changed: int


def list_savings(
    recipe: Recipe, boxed: TrainState, mesh: Mesh | AbstractMesh, memory: dict[str, int]
) -> list[Saving]:
    """Lists the settings of the optimizer that save memory.

    Args:
      boxed: shapes of the state, with logical axis names.
      memory: bytes on each device by part, as configured.
    """
    config, savings = recipe.optimizer, []
    settings = [{"moment_dtype": "bfloat16"}, {"kind": "adafactor"}, {"kind": "muon"}]
    for setting in settings:
        changed = _change(config, setting)
        if changed is None or PART_NAMES["moments"] not in memory:
            continue
        part = PART_NAMES["moments"]
        after = _count_optimizer_bytes(changed, boxed.params, mesh)
        if after < memory[part]:
            ((name, value),) = setting.items()
            savings.append(Saving(f"optimizer.{name}={value}", part, memory[part], after))
    for key, part in PART_NAMES.items():
        if part in memory:
            savings.append(Saving(f"optimizer.on_host={key}", part, memory[part], 0))
    return savings


def _change(config: OptimizerConfig, setting: dict[str, str]) -> OptimizerConfig | None:
    """Returns a config with another setting; None if they exclude each other."""
    if config.adam != "optax" and "kind" in setting:
        setting = setting | {"adam": "optax"}
    try:
        return dataclasses.replace(config, **setting)  # type: ignore[arg-type]
    except ValueError:
        return None


def _count_optimizer_bytes(config: OptimizerConfig, params: Tree, mesh: Mesh | AbstractMesh) -> int:
    boxed = jax.eval_shape(optim.make_optimizer(config).init, params)
    placed = sharding.shapes_with(sharding.state_shardings(mesh, boxed), boxed)
    return sharding.bytes_by_device(placed)
