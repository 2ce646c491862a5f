"""The switch of everything that is done for CPUs only: kernels and forms of formulas.

The operations in `ops/` have one plain definition, which accelerators run. Where a program is
traced for a CPU and the switch is on, they use the kernels and forms of this package instead.
`JUKEJAX_CPU_KERNELS=0` turns the switch off; so do programs that other machines run.
"""

import contextlib
import os
from collections.abc import Iterator

import jax

from jukejax.ops.logical_axes import target_device

# JAX knows the value, so that what was traced with it is not used without it.
_enabled = jax.make_user_context(os.environ.get("JUKEJAX_CPU_KERNELS") != "0")


@contextlib.contextmanager
def set_cpu_kernels(enabled: bool) -> Iterator[None]:
    """Turns the switch on or off for what is traced in the context."""
    with _enabled(enabled):
        yield


def disable_cpu_kernels() -> contextlib.AbstractContextManager[None]:
    """Returns a context whose programs hold no CPU kernel and no form for CPUs.

    For programs that are exported or that XLA partitions, and for second derivatives and
    forward-mode derivatives, which custom calls do not define.
    """
    return set_cpu_kernels(False)


def is_for_cpu() -> bool:
    """Returns whether forms for CPUs are used in what is traced now, on one device or more."""
    return _enabled.value and target_device()[0] == "cpu"


def is_for_one_cpu() -> bool:
    """Returns whether kernels may be called in what is traced now.

    XLA cannot partition a custom call, so they are for a single device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return is_for_cpu() and (mesh.empty or mesh.size == 1)
