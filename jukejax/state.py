"""Everything that a run must remember to go on, as one pytree, and the step that moves it."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from jukejax.optim import update_ema

Tree = Any


@flax.struct.dataclass
class TrainState:
    """What a checkpoint holds.

    Attributes:
      step: int32 scalar, updates made.
      params: trained weights, float32.
      opt_state: the optimizer's.
      extra: model state without gradient, such as codebooks.
      ema_params: moving average of `params`; what is evaluated and exported.
    """

    step: jax.Array
    params: Tree
    opt_state: Tree
    extra: Tree
    ema_params: Tree


def init_state(
    init: Callable[[jax.Array], tuple[Tree, Tree]],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
) -> TrainState:
    """A fresh state; pure, so that it can be shaped or jitted into shards."""
    params, extra = init(key)
    # The average gets buffers of its own: the step donates both.
    average = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), extra, average)


def train_step(
    loss_fn: Callable,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    state: TrainState,
    batch: dict,
    key: jax.Array,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update. `loss_fn` is a task's `loss`; `key` is the run's, the step is folded in here."""
    key = jax.random.fold_in(key, state.step)
    (loss, (extra, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params, state.extra, batch, key
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **metrics}
    state = TrainState(
        step=state.step + 1,
        params=params,
        opt_state=opt_state,
        extra=extra,
        ema_params=update_ema(state.ema_params, params, ema_decay),
    )
    return state, metrics
