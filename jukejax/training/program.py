"""The compiled functions of a training run, built from a config for a mesh.

The mesh may consist of devices that this machine does not have, and the data may be absent.
"""

import functools
from dataclasses import dataclass

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.ops.logical_axes import placed_by
from jukejax.runtime import sharding
from jukejax.training import anneal, loss_scale, offload, optim, state
from jukejax.training.task import Batch, Metrics, Task
from jukejax.training.tasks.adapted import AdaptedPriorTask
from jukejax.training.tasks.prior import PriorTask
from jukejax.training.tasks.vqvae import VQVAETask

TASKS: dict[str, type[VQVAETask] | type[PriorTask]] = {"vqvae": VQVAETask, "prior": PriorTask}


def make_task(config: ConfigDict, *, with_data: bool = True) -> Task:
    """Makes the task of the name `config.task`.

    Args:
      with_data: False: for planning or compiling without the data.
    """
    if config.task not in TASKS:
        raise ValueError(f"config.task is {config.task!r}; known: {', '.join(TASKS)}")
    if config.get("lora"):
        if config.task != "prior":
            raise ValueError(f"config.lora adapts priors, and config.task is {config.task}")
        return AdaptedPriorTask(config, with_data=with_data)
    return TASKS[config.task](config, with_data=with_data)


def make_recipe(config: ConfigDict) -> state.Recipe:
    """Makes the settings of the training step from a config."""
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


def mesh_config(config: ConfigDict) -> sharding.MeshConfig:
    """Returns `config.mesh`, completed with its defaults."""
    return freeze(sharding.MeshConfig, config.get("mesh", {}), "config.mesh")


@dataclass(frozen=True)
class Program:
    """The functions of a run, and the shardings of its state.

    Attributes:
      task, recipe, mesh: the arguments of `build_program`.
      boxed: shapes of the state with the logical names of the axes.
      shardings: of the state, some of it perhaps in the host's memory.
      device_shardings: of the state on the devices.
      init: key -> state; each device computes its own shards only.
      update: (state, batch, key) -> (state, metrics); the old state is donated.
      evaluate: (params, extra, batch) -> metrics, replicated on every device.
    """

    task: Task
    recipe: state.Recipe
    mesh: Mesh
    boxed: state.TrainState
    shardings: state.TrainState
    device_shardings: state.TrainState
    init: jax.stages.Wrapped
    update: jax.stages.Wrapped
    evaluate: jax.stages.Wrapped

    @property
    def target(self) -> state.TrainState:
        """Shapes, types and shardings of the state, the target of a restore."""
        return sharding.shapes_with(self.shardings, self.boxed)

    def load_averages(self, run_state: state.TrainState) -> Tree:
        """Returns the averaged weights on the devices."""
        if "ema" not in self.recipe.optimizer.on_host:
            return run_state.ema_params
        return jax.device_put(run_state.ema_params, self.device_shardings.ema_params)

    def batch_target(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes, types and shardings of a global batch."""
        batch_sharding = NamedSharding(self.mesh, sharding.BATCH)
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=batch_sharding)
            for name, leaf in self.task.batch_shapes(self.recipe.batch_size).items()
        }

    def lower(self) -> jax.stages.Lowered:
        """Lowers the training step for the mesh, which need not exist on this machine."""
        replicated = NamedSharding(self.mesh, PartitionSpec())
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated)
        with jax.set_mesh(self.mesh):
            return self.update.lower(self.target, self.batch_target(), key)


def build_program(task: Task, recipe: state.Recipe, mesh: Mesh) -> Program:
    """Builds the program of a run; nothing is computed or compiled yet."""
    sharding.check_batch(mesh, recipe.batch_size, recipe.accumulate)
    boxed = jax.eval_shape(functools.partial(state.init_state, task, recipe), jax.random.key(0))
    on_device = sharding.state_shardings(mesh, boxed)
    on_host = recipe.optimizer.on_host
    shardings = offload.place_on_host(on_device, mesh, on_host)
    replicated = NamedSharding(mesh, PartitionSpec())

    def init(key: jax.Array) -> state.TrainState:
        return sharding.unbox(state.init_state(task, recipe, key))

    def update(
        run_state: state.TrainState, batch: Batch, key: jax.Array
    ) -> tuple[state.TrainState, Metrics]:
        run_state = offload.move_state(run_state, on_device, on_host)
        with placed_by(sharding.RULES):
            run_state, metrics = state.train_step(task, recipe, run_state, batch, key)
        return offload.move_state(run_state, shardings, on_host), metrics

    def evaluate(params: Tree, extra: Tree, batch: Batch) -> Metrics:
        with placed_by(sharding.RULES):
            return task.evaluate(params, extra, batch) | {"track": batch["track"]}

    return Program(
        task=task,
        recipe=recipe,
        mesh=mesh,
        boxed=boxed,
        shardings=shardings,
        device_shardings=on_device,
        init=jax.jit(init, out_shardings=shardings),
        update=jax.jit(update, donate_argnums=0, out_shardings=(shardings, replicated)),
        evaluate=jax.jit(evaluate, out_shardings=replicated),
    )
