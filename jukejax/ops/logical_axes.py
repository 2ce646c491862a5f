"""Sharding of activations by logical axis names, and the device that a program is traced for.

Models name the axes of an array; a run's rules map the names to mesh axes. Without rules, or on one
device, `constrain` does nothing, so that models stay pure and need no mesh.
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
    """Maps logical axis names to mesh axes in programs that are traced in the `with` block."""
    token = _RULES.set(rules)
    try:
        yield
    finally:
        _RULES.reset(token)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Constrains the sharding of `x`.

    Without constraints the compiler may replicate activations on every device.

    Args:
      names: a logical name for each axis. An axis is not sharded if its name is None or has no
        rule, or if the mesh axes do not divide its size.
    """
    rules, mesh = _RULES.get(), jax.sharding.get_abstract_mesh()
    if not rules or mesh.empty or mesh.size == 1:
        return x

    spec = [_mesh_axes(rules, mesh, name, size) for name, size in zip(names, x.shape, strict=True)]
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))


def _mesh_axes(
    rules: Rules, mesh: jax.sharding.AbstractMesh, name: str | None, size: int
) -> tuple[str, ...] | None:
    axes = rules.get(name) if name is not None else None
    axes = (axes,) if isinstance(axes, str) else axes or ()
    return axes if axes and size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None


def target_device() -> tuple[str, str]:
    """Returns (platform, device kind) of the devices of the mesh, else of this process."""
    mesh = jax.sharding.get_abstract_mesh()
    described = None if mesh.empty else mesh.abstract_device
    if described is not None:
        return described.platform, described.device_kind
    device = jax.devices()[0]
    return device.platform, device.device_kind
