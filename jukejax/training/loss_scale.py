"""Dynamic loss scale for float16: small gradients survive, overflowing steps are skipped.

The loss is multiplied by the scale before the backward pass and the gradients are divided by it.
A step whose gradients are not finite changes nothing but the scale, which halves; every other step
lets it grow by 2**(1 / window). OpenAI's form; bfloat16 and float32 need none of it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree


@dataclasses.dataclass(frozen=True)
class LossScaleConfig:
    """The scale of a new run, and the finite steps in which it doubles."""

    initial: float = 2.0**16
    window: int = 1000

    def __post_init__(self):
        if self.initial <= 0 or self.window < 1:
            raise ValueError(
                f"loss_scale.initial {self.initial} must be above 0, and loss_scale.window "
                f"{self.window} at least 1"
            )


def update(scale: jax.Array, finite: jax.Array, *, window: int) -> jax.Array:
    """The scale after a step.

    Args:
      scale: before it.
      finite: whether the step's loss and gradients were.
      window: finite steps in which the scale doubles.
    """
    return jnp.where(finite, scale * 2.0 ** (1.0 / window), scale / 2.0)


def keep_if(finite: jax.Array, new: Tree, old: Tree) -> Tree:
    """`new` after a finite step, else `old`: parameters, optimizer state, averages."""
    return jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, old)
