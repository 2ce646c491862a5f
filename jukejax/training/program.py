"""A training run's compiled parts, built from a config for a mesh: on real devices or on described
ones, with the data at hand or without.
"""

import functools
import importlib
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.ops import logical_axes as placement
from jukejax.runtime import sharding
from jukejax.training import anneal, loss_scale, optim, state
from jukejax.training.task import Task

TASKS = ("vqvae", "prior")


def make_task(config, *, with_data: bool = True) -> Task:
    """The task that `config.task` names."""
    if config.task not in TASKS:
        raise ValueError(f"config.task is {config.task!r}; known: {', '.join(TASKS)}")
    module = importlib.import_module(f"jukejax.training.tasks.{config.task}")
    return module.make(config, with_data=with_data)


def make_recipe(config) -> state.Recipe:
    """How the steps of a run move its state, from its config."""
    scale = None
    if config.dtype == "float16":
        scale = freeze(
            loss_scale.LossScaleConfig, config.get("loss_scale", {}), "config.loss_scale"
        )
    return state.Recipe(
        optimizer=freeze(optim.OptimizerConfig, config.optimizer, "config.optimizer"),
        batch_size=config.data.batch_size,
        schedule=freeze(anneal.ScheduleConfig, config.get("schedule", {}), "config.schedule"),
        accumulate=config.get("accumulate", 1),
        loss_scale=scale,
    )


def mesh_config(config) -> sharding.MeshConfig:
    return freeze(sharding.MeshConfig, config.get("mesh", {}), "config.mesh")


@dataclass(frozen=True)
class Program:
    """What a run computes, and where it lies.

    Attributes:
      task, recipe, mesh: what it is built from.
      boxed: shapes of the state, with the logical names of their axes.
      shardings: of the state.
      init: key -> state, each device making its own shards only.
      update: (state, batch, key) -> (state, metrics); the old state's memory is given away.
      evaluate: (params, extra, batch) -> metrics on every device.
    """

    task: Task
    recipe: state.Recipe
    mesh: Mesh
    boxed: state.TrainState
    shardings: state.TrainState
    init: Any
    update: Any
    evaluate: Any

    @property
    def target(self) -> state.TrainState:
        """Shapes, types and shardings of the state: what a checkpoint is restored into."""
        return sharding.shapes_with(self.shardings, self.boxed)

    def batch_target(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The same of a global batch."""
        placed = NamedSharding(self.mesh, sharding.BATCH)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed)
            for name, leaf in self.task.batch_shapes(self.recipe.batch_size).items()
        }

    def lower(self) -> jax.stages.Lowered:
        """The training step, ready to be compiled for the mesh, whether or not it exists here."""
        replicated = NamedSharding(self.mesh, PartitionSpec())
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated)
        with jax.set_mesh(self.mesh):
            return self.update.lower(self.target, self.batch_target(), key)


def build(task: Task, recipe: state.Recipe, mesh: Mesh) -> Program:
    """The program of a run; nothing is computed or compiled yet."""
    sharding.check_batch(mesh, recipe.batch_size, recipe.accumulate)
    boxed = jax.eval_shape(functools.partial(state.init_state, task, recipe), jax.random.key(0))
    shardings = sharding.state_shardings(mesh, boxed)
    replicated = NamedSharding(mesh, PartitionSpec())

    def init(key: jax.Array) -> state.TrainState:
        return sharding.unbox(state.init_state(task, recipe, key))

    def update(run_state: state.TrainState, batch: dict, key: jax.Array):
        with placement.placed_by(sharding.RULES):
            return state.train_step(task, recipe, run_state, batch, key)

    def evaluate(params: Tree, extra: Tree, batch: dict) -> dict[str, jax.Array]:
        with placement.placed_by(sharding.RULES):
            return task.evaluate(params, extra, batch) | {"track": batch["track"]}

    return Program(
        task=task,
        recipe=recipe,
        mesh=mesh,
        boxed=boxed,
        shardings=shardings,
        init=jax.jit(init, out_shardings=shardings),
        update=jax.jit(update, donate_argnums=0, out_shardings=(shardings, replicated)),
        evaluate=jax.jit(evaluate, out_shardings=replicated),
    )
