"""Decay of the learning rate to zero: at a target loss, or when the held-out loss stalls.

The recipe of the house-music model: train at full rate until the loss is about 2 bits per code,
then decay the rate linearly to zero. The losses are part of the training state, so that a resumed
run and all of its processes make the same decision at the same step.
"""

import dataclasses

import flax
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

NEVER = jnp.iinfo(jnp.int32).max


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Conditions of the linear decay to zero, and of an early end of the run.

    Attributes:
      anneal_at_bits: smoothed training loss (bits per code of a prior) at which the decay starts;
        None: never.
      anneal_on_stall: number of consecutive held-out evaluations without improvement at which the
        decay starts; 0: never.
      anneal_steps: steps of the decay, at whose end the run ends.
      smoothing: steps over which the training loss is averaged.
      stop_on_stall: number of consecutive held-out evaluations without improvement at which the run
        ends; 0: never.
    """

    anneal_at_bits: float | None = None
    anneal_on_stall: int = 0
    anneal_steps: int = 1000
    smoothing: int = 100
    stop_on_stall: int = 0

    def __post_init__(self) -> None:
        for name in ("anneal_steps", "smoothing"):
            if getattr(self, name) < 1:
                raise ValueError(f"schedule.{name} is {getattr(self, name)}: it must be 1 or more")


@flax.struct.dataclass
class Anneal:
    """Losses of a run so far; all scalars.

    Attributes:
      start: int32, the first step of the decay to zero; NEVER before the decision.
      loss: float32, decayed sum of the training losses.
      weight: float32, sum of the weights of `loss`.
      best: float32, the best held-out loss.
      stalled: int32, held-out evaluations since `best`.
    """

    start: jax.Array
    loss: jax.Array
    weight: jax.Array
    best: jax.Array
    stalled: jax.Array

    @property
    def smoothed(self) -> jax.Array:
        """The training loss averaged over about `smoothing` steps; NaN before the first."""
        return self.loss / self.weight


def init_anneal() -> Anneal:
    """Returns the state of a new run."""
    return Anneal(
        start=jnp.int32(NEVER),
        loss=jnp.float32(0),
        weight=jnp.float32(0),
        best=jnp.float32(jnp.inf),
        stalled=jnp.int32(0),
    )


def rate_factor(config: ScheduleConfig, anneal: Anneal, step: jax.Array) -> jax.Array:
    """Computes the factor of the learning rate of `step`: 1, then linearly to 0."""
    # The difference would overflow if start is NEVER.
    steps = jnp.where(anneal.start == NEVER, 0, step - anneal.start)
    return jnp.clip(1.0 - steps / config.anneal_steps, 0.0, 1.0)


def observe_train_loss(
    config: ScheduleConfig, anneal: Anneal, loss: jax.Array, step: jax.Array
) -> Anneal:
    """Updates the state with the loss of training step `step` (from 0)."""
    keep = 1.0 - 1.0 / config.smoothing
    anneal = dataclasses.replace(
        anneal, loss=keep * anneal.loss + loss, weight=keep * anneal.weight + 1.0
    )
    if config.anneal_at_bits is None:
        return anneal
    # The average must span `smoothing` steps: a single batch with a low loss is no reason.
    is_filled = step + 1 >= config.smoothing
    is_reached = is_filled & (anneal.smoothed <= config.anneal_at_bits)
    start = jnp.where(is_reached, jnp.minimum(anneal.start, step + 1), anneal.start)
    return dataclasses.replace(anneal, start=start)


def observe_heldout_loss(
    config: ScheduleConfig, anneal: Anneal, loss: ArrayLike, step: ArrayLike
) -> Anneal:
    """Updates the state with the held-out loss after `step` training steps."""
    better = loss < anneal.best
    stalled = jnp.where(better, 0, anneal.stalled + 1)
    start = anneal.start
    if config.anneal_on_stall:
        start = jnp.where(stalled >= config.anneal_on_stall, jnp.minimum(start, step), start)
    return dataclasses.replace(
        anneal, best=jnp.where(better, loss, anneal.best), stalled=stalled, start=start
    )
