"""The training state as one pytree, and the training step that updates it."""

import dataclasses
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from jukejax.common.types import Tree
from jukejax.ops.logical_axes import constrain
from jukejax.training import optim
from jukejax.training.anneal import (
    Anneal,
    ScheduleConfig,
    init_anneal,
    observe_train_loss,
    rate_factor,
)
from jukejax.training.loss_scale import LossScaleConfig, select_finite, update_scale
from jukejax.training.task import Batch, Metrics, Task


@flax.struct.dataclass
class TrainState:
    """The state of a training run.

    Attributes:
      step: int32 scalar, number of batches so far.
      params: trained weights, float32.
      opt_state: of the optimizer.
      extra: model state without gradient, such as codebooks.
      ema_params: moving average of `params`, which is evaluated and exported.
      anneal: losses that decide when the learning rate decays.
      loss_scale: float32 scalar, see the module `loss_scale`; 1 if unused.
      skipped, skipped_in_row: int32 scalars, steps whose loss or gradient was not finite, or whose
        gradient was above `OptimizerConfig.skip_norm`: in total, and since the last other step.
    """

    step: jax.Array
    params: Tree
    opt_state: Tree
    extra: Tree
    ema_params: Tree
    anneal: Anneal
    loss_scale: jax.Array
    skipped: jax.Array
    skipped_in_row: jax.Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of the training step.

    Attributes:
      optimizer: of the parameters.
      batch_size: examples of a global batch, which determine the default of `ema_decay`.
      schedule: when the learning rate decays to zero.
      accumulate: microbatches of a batch.
      loss_scale: for float16; None where gradients cannot underflow.
    """

    optimizer: optim.OptimizerConfig
    batch_size: int
    schedule: ScheduleConfig
    accumulate: int = 1
    loss_scale: LossScaleConfig | None = None

    def __post_init__(self) -> None:
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} does not divide data.batch_size {self.batch_size}"
            )


def init_state(task: Task, recipe: Recipe, key: jax.Array) -> TrainState:
    """Returns the state of a new run; pure, for use with `jax.eval_shape` and `jax.jit`."""
    params, extra = task.init_params(key)
    return start_state(recipe, params, extra)


def start_state(recipe: Recipe, params: Tree, extra: Tree) -> TrainState:
    """Returns the state of a run that starts from these weights."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optim.make_optimizer(recipe.optimizer).init(params),
        extra=extra,
        # A copy, since the training step donates both buffers.
        ema_params=jax.tree.map(jnp.copy, params),
        anneal=init_anneal(),
        loss_scale=jnp.float32(recipe.loss_scale.initial if recipe.loss_scale else 1.0),
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
    )


def select_saved(task: Task, state: TrainState) -> TrainState:
    """Returns the part of a state that checkpoints contain."""
    return state if task.saves_extra else dataclasses.replace(state, extra={})


def count_leaves(tree: Tree) -> int:
    """Returns the number of values in all leaves of a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def train_step(
    task: Task, recipe: Recipe, state: TrainState, batch: Batch, key: jax.Array
) -> tuple[TrainState, Metrics]:
    """Computes one update.

    A step whose loss or gradient is not finite changes only the counters and the loss scale, and
    one whose gradient is above `OptimizerConfig.skip_norm` only the counters.

    Args:
      key: of the run; the step is folded in here.
    """
    key = jax.random.fold_in(key, state.step)
    compute = batch_gradients if recipe.accumulate == 1 else accumulated_gradients
    result = compute(task, recipe, state, batch, key)
    norm = optax.tree.norm(result.grads)
    # The norm, a sum of squares, is finite only if all leaves are.
    finite = jnp.isfinite(result.loss) & jnp.isfinite(norm)
    accepted = finite & optim.accepts_norm(recipe.optimizer, norm)
    rate = rate_factor(recipe.schedule, state.anneal, state.step)
    num_updates = state.step - state.skipped
    updated = _update(task, recipe, state, result, rate, num_updates)
    unchanged = {name: getattr(state, name) for name in updated} | {
        "skipped_in_row": state.skipped_in_row + 1
    }
    scale = state.loss_scale
    if recipe.loss_scale is not None:
        scale = update_scale(scale, finite, window=recipe.loss_scale.window)
    new_state = TrainState(
        step=state.step + 1,
        loss_scale=scale,
        skipped=state.skipped + jnp.where(accepted, 0, 1),
        **select_finite(accepted, updated, unchanged),
    )
    metrics = {
        "loss": result.loss,
        "grad_norm": norm,
        "learning_rate": rate * optim.make_schedule(recipe.optimizer)(num_updates),
        "skipped": new_state.skipped,
        "skipped_in_row": new_state.skipped_in_row,
        "anneal_start": new_state.anneal.start,
        **({"loss_scale": scale} if recipe.loss_scale is not None else {}),
        **result.metrics,
    }
    return new_state, metrics


def _update(
    task: Task,
    recipe: Recipe,
    state: TrainState,
    result: "Gradients",
    rate: jax.Array,
    num_updates: jax.Array,
) -> dict[str, Tree]:
    """Returns the fields of the state that a step changes if it is not skipped.

    Args:
      rate: factor of the learning rate.
      num_updates: steps before this one that were not skipped.
    """
    optimizer = optim.make_optimizer(recipe.optimizer)
    updates, opt_state = optimizer.update(result.grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
    params = _keep_fixed(task.fixed_params, state.params, params)
    decay = optim.ema_decay(recipe.optimizer, recipe.batch_size)
    correct = recipe.optimizer.ema_bias_correction
    step_decay = optim.corrected_decay(decay, num_updates + 1) if correct else decay
    return {
        "params": params,
        "opt_state": opt_state,
        "extra": result.extra,
        "ema_params": _keep_fixed(
            task.fixed_params,
            state.ema_params,
            optim.update_ema(state.ema_params, params, step_decay),
        ),
        "anneal": observe_train_loss(recipe.schedule, state.anneal, result.loss, state.step),
        "skipped_in_row": jnp.zeros((), jnp.int32),
    }


def _keep_fixed(names: tuple[str, ...], earlier: Tree, later: Tree) -> Tree:
    """Returns the later parameters, but the earlier ones of these names, to the last bit."""
    return {**later, **{name: earlier[name] for name in names}} if names else later


class Gradients(NamedTuple):
    """Result of the forward and backward pass of a batch.

    Attributes:
      loss: scalar.
      extra: updated, see `Task`.
      metrics: of the task.
      grads: of the parameters, without the loss scale.
    """

    loss: jax.Array
    extra: Tree
    metrics: Metrics
    grads: Tree


def batch_gradients(
    task: Task, recipe: Recipe, state: TrainState, batch: Batch, key: jax.Array
) -> Gradients:
    """Computes the gradients of a batch in one pass."""
    del recipe

    def scaled(params: Tree) -> tuple[jax.Array, tuple]:
        loss, aux = task.loss(params, state.extra, batch, key)
        return loss * state.loss_scale, (loss, aux)

    grads, (loss, (extra, metrics)) = jax.grad(scaled, has_aux=True)(state.params)
    return Gradients(loss, extra, metrics, _unscale(grads, state.loss_scale))


def accumulated_gradients(
    task: Task, recipe: Recipe, state: TrainState, batch: Batch, key: jax.Array
) -> Gradients:
    """Computes `batch_gradients` in microbatches, which saves memory for activations.

    With n microbatches, microbatch m has rows m, m + n, m + 2n, ...: each device processes its own
    rows for any n. Losses and gradients are means over the microbatches; `extra` is updated once,
    from the global batch (see `Task.update_extra`).
    """
    num_parts = recipe.accumulate
    parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), batch)
    extra = task.start_extra(state.params, state.extra, parts, key)

    def scaled(params: Tree, part: Batch, part_key: jax.Array) -> tuple[jax.Array, tuple]:
        loss, (statistics, metrics) = task.part_loss(params, extra, part, part_key)
        return loss * state.loss_scale, (loss, statistics, metrics)

    def add(total: Tree, inputs: tuple[Batch, jax.Array]) -> tuple[Tree, Tree]:
        part, number = inputs
        part = jax.tree.map(lambda x: constrain(x, "batch", *(None,) * (x.ndim - 1)), part)
        grads, (loss, statistics, metrics) = jax.grad(scaled, has_aux=True)(
            state.params, part, jax.random.fold_in(key, number)
        )
        return jax.tree.map(jnp.add, total, (grads, (loss, metrics))), statistics

    first = jax.tree.map(lambda x: x[0], parts)
    grads_shape, (loss_shape, _, metrics_shape) = jax.eval_shape(
        jax.grad(scaled, has_aux=True), state.params, first, key
    )
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (grads_shape, (loss_shape, metrics_shape))
    )
    total, statistics = jax.lax.scan(add, zeros, (parts, jnp.arange(num_parts)))
    grads, (loss, metrics) = jax.tree.map(lambda x: x / num_parts, total)
    # [parts, rows, ...] -> [rows of the batch, ...], in the batch's order
    statistics = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), statistics)
    extra, extra_metrics = task.update_extra(extra, statistics, key)
    return Gradients(loss, extra, metrics | extra_metrics, _unscale(grads, state.loss_scale))


def _unscale(grads: Tree, scale: jax.Array) -> Tree:
    return jax.tree.map(lambda g: g / scale, grads)
