"""Dynamic loss scale, which prevents the underflow of gradients in float16.

The loss is multiplied by the scale before the backward pass and the gradients are divided by it.
A step whose gradients are not finite changes nothing but the scale, which halves; every other step
multiplies it by 2**(1 / window). This is OpenAI's form; bfloat16 and float32 do not need it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree


@dataclasses.dataclass(frozen=True)
class LossScaleConfig:
    """Initial scale, and the number of finite steps in which the scale doubles."""

    initial: float = 2.0**16
    window: int = 1000

    def __post_init__(self) -> None:
        if self.initial <= 0 or self.window < 1:
            raise ValueError(
                f"loss_scale.initial {self.initial} must be above 0, and loss_scale.window "
                f"{self.window} at least 1"
            )


def update_scale(scale: jax.Array, finite: jax.Array, *, window: int) -> jax.Array:
    """Returns the scale after a step.

    Args:
      scale: before the step.
      finite: bool scalar, true if the loss and the gradients of the step are finite.
      window: number of finite steps in which the scale doubles.
    """
    return jnp.where(finite, scale * 2.0 ** (1.0 / window), scale / 2.0)


def select_finite(finite: jax.Array, new: Tree, old: Tree) -> Tree:
    """Selects `new` after a finite step, else `old`: parameters, optimizer state, averages."""
    return jax.tree.map(lambda new_leaf, old_leaf: jnp.where(finite, new_leaf, old_leaf), new, old)
