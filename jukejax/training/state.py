"""Everything that a run must remember to go on, as one pytree, and the step that moves it."""

import dataclasses

import flax
import jax
import jax.numpy as jnp
import optax

from jukejax.common.types import Tree
from jukejax.ops.logical_axes import constrain
from jukejax.training import anneal as annealing
from jukejax.training import loss_scale as scaling
from jukejax.training import optim
from jukejax.training.task import Task


@flax.struct.dataclass
class TrainState:
    """What a checkpoint holds.

    Attributes:
      step: int32 scalar, batches seen.
      params: trained weights, float32.
      opt_state: the optimizer's.
      extra: model state without gradient, such as codebooks.
      ema_params: moving average of `params`; what is evaluated and exported.
      anneal: what the learning rate has waited for.
      loss_scale: float32 scalar, see `loss_scale`; 1 where it is not used.
      skipped, skipped_in_row: int32 scalars, steps whose loss or gradient was not finite: all of
        them, and those since the last good one.
    """

    step: jax.Array
    params: Tree
    opt_state: Tree
    extra: Tree
    ema_params: Tree
    anneal: annealing.Anneal
    loss_scale: jax.Array
    skipped: jax.Array
    skipped_in_row: jax.Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a step moves the state.

    Attributes:
      optimizer: of the parameters.
      batch_size: examples of a global batch, which sets the default of the average's decay.
      schedule: when its rate goes to zero.
      accumulate: parts that a batch is worked through in, one after another.
      loss_scale: for float16; None where gradients cannot underflow.
    """

    optimizer: optim.OptimizerConfig
    batch_size: int
    schedule: annealing.ScheduleConfig
    accumulate: int = 1
    loss_scale: scaling.LossScaleConfig | None = None

    def __post_init__(self):
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} does not divide data.batch_size {self.batch_size}"
            )


def init_state(task: Task, recipe: Recipe, key: jax.Array) -> TrainState:
    """A fresh state; pure, so that it can be shaped or jitted into shards."""
    params, extra = task.init(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optim.make_optimizer(recipe.optimizer).init(params),
        extra=extra,
        # The average gets buffers of its own: the step donates both.
        ema_params=jax.tree.map(jnp.copy, params),
        anneal=annealing.initial(),
        loss_scale=jnp.float32(recipe.loss_scale.initial if recipe.loss_scale else 1.0),
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
    )


def train_step(
    task: Task, recipe: Recipe, state: TrainState, batch: dict, key: jax.Array
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update. `key` is the run's; the step is folded in here.

    A step whose loss or gradient is not finite changes nothing but the counters and the loss scale.
    """
    key = jax.random.fold_in(key, state.step)
    gradients = whole_gradients if recipe.accumulate == 1 else accumulated_gradients
    loss, extra, metrics, grads = gradients(task, recipe, state, batch, key)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)  # a sum of squares: no leaf can hide

    rate = annealing.factor(recipe.schedule, state.anneal, state.step)
    optimizer = optim.make_optimizer(recipe.optimizer)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
    updates_made = state.step - state.skipped
    decay = optim.ema_decay(recipe.optimizer, recipe.batch_size)
    if recipe.optimizer.ema_bias_correction:
        decay = optim.corrected_decay(decay, updates_made + 1)

    moved = {
        "params": params,
        "opt_state": opt_state,
        "extra": extra,
        "ema_params": optim.update_ema(state.ema_params, params, decay),
        "anneal": annealing.observe(recipe.schedule, state.anneal, loss, state.step),
        "skipped_in_row": jnp.zeros((), jnp.int32),
    }
    kept = {name: getattr(state, name) for name in moved} | {
        "skipped_in_row": state.skipped_in_row + 1
    }
    scale = state.loss_scale
    if recipe.loss_scale is not None:
        scale = scaling.update(scale, finite, window=recipe.loss_scale.window)
    new = TrainState(
        step=state.step + 1,
        loss_scale=scale,
        skipped=state.skipped + jnp.where(finite, 0, 1),
        **scaling.keep_if(finite, moved, kept),
    )
    metrics = {
        "loss": loss,
        "grad_norm": norm,
        "learning_rate": rate * optim.schedule(recipe.optimizer)(updates_made),
        "skipped": new.skipped,
        "skipped_in_row": new.skipped_in_row,
        "anneal_start": new.anneal.start,
        **({"loss_scale": scale} if recipe.loss_scale is not None else {}),
        **metrics,
    }
    return new, metrics


def whole_gradients(task: Task, recipe: Recipe, state: TrainState, batch: dict, key: jax.Array):
    """(loss, new extra, metrics, gradients) of a batch in one piece."""
    del recipe

    def scaled(params):
        loss, aux = task.loss(params, state.extra, batch, key)
        return loss * state.loss_scale, (loss, aux)

    grads, (loss, (extra, metrics)) = jax.grad(scaled, has_aux=True)(state.params)
    return loss, extra, metrics, _unscaled(grads, state.loss_scale)


def accumulated_gradients(
    task: Task, recipe: Recipe, state: TrainState, batch: dict, key: jax.Array
):
    """The same as `whole_gradients`, with the activations of one part of the batch at a time.

    Part m holds rows m, m + parts, m + 2 parts, ...: so each device works on its own rows, however
    the batch is cut. Losses and gradients are means over the parts; what moves with the whole batch
    (codebooks) sees it whole.
    """
    parts = recipe.accumulate
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)
    whole = task.whole_batch
    extra = state.extra if whole is None else whole.begin(state.params, state.extra, split, key)

    def scaled(params, part, part_key):
        if whole is None:
            loss, (_, metrics) = task.loss(params, extra, part, part_key)
            kept = ()
        else:
            loss, (kept, metrics) = whole.loss(params, extra, part, part_key)
        return loss * state.loss_scale, (loss, kept, metrics)

    def add(total, inputs):
        part, number = inputs
        part = jax.tree.map(lambda x: constrain(x, "batch", *(None,) * (x.ndim - 1)), part)
        grads, (loss, kept, metrics) = jax.grad(scaled, has_aux=True)(
            state.params, part, jax.random.fold_in(key, number)
        )
        return jax.tree.map(jnp.add, total, (grads, (loss, metrics))), kept

    first = jax.tree.map(lambda x: x[0], split)
    shapes = jax.eval_shape(jax.grad(scaled, has_aux=True), state.params, first, key)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], (shapes[1][0], shapes[1][2]))
    )
    total, kept = jax.lax.scan(add, zeros, (split, jnp.arange(parts)))
    grads, (loss, metrics) = jax.tree.map(lambda x: x / parts, total)
    if whole is not None:
        rows = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), kept)
        extra, moved = whole.end(extra, rows, key)
        metrics |= moved
    return loss, extra, metrics, _unscaled(grads, state.loss_scale)


def _unscaled(grads: Tree, scale: jax.Array) -> Tree:
    return jax.tree.map(lambda g: g / scale, grads)
