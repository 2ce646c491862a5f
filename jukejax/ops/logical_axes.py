"""Where activations live: models name the axes of an array, the run's rules say what they mean.

Without rules, or on one device, nothing happens; so models stay pure and know of no mesh.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping

import jax
from jax.sharding import PartitionSpec

Rules = Mapping[str, str | tuple[str, ...] | None]

_RULES: contextvars.ContextVar[Rules | None] = contextvars.ContextVar("rules", default=None)


@contextlib.contextmanager
def placed_by(rules: Rules) -> Iterator[None]:
    """While a program is traced in here, logical axis names mean these mesh axes."""
    token = _RULES.set(rules)
    try:
        yield
    finally:
        _RULES.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for a layout of `x`, one name an axis; None, or a name without a rule: not cut.

    An axis that its mesh axes do not divide stays whole. Without constraints the compiler may
    choose to keep whole activations on every device.
    """
    rules, mesh = _RULES.get(), jax.sharding.get_abstract_mesh()
    if not rules or mesh.empty or mesh.size == 1:
        return x

    def place(name: str | None, size: int):
        axes = rules.get(name)
        axes = (axes,) if isinstance(axes, str) else axes or ()
        return axes if axes and size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None

    spec = [place(name, size) for name, size in zip(names, x.shape, strict=True)]
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))
