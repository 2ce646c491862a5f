"""The switch of the CPU code paths: kernels, and other forms of formulas.

The operations in `ops/` have one plain definition, which runs on accelerators. If a program is
traced for a CPU and the switch is on, they use the kernels and forms of this package instead.
`JUKEJAX_CPU_KERNELS=0` turns the switch off; it is also off for programs that are exported.
"""

import contextlib
import os
from collections.abc import Iterator

import jax

from jukejax.ops.logical_axes import target_device

# A JAX config state, so that a trace with one value is not reused for another.
_enabled = jax.make_user_context(os.environ.get("JUKEJAX_CPU_KERNELS") != "0")


@contextlib.contextmanager
def set_cpu_kernels(enabled: bool) -> Iterator[None]:
    """Turns the switch on or off for traces in the `with` block."""
    with _enabled(enabled):
        yield


def disable_cpu_kernels() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which programs are traced without the CPU code paths.

    For programs that are exported or that XLA partitions, and for second derivatives and
    forward-mode derivatives, which custom calls do not define.
    """
    return set_cpu_kernels(False)


def is_for_cpu() -> bool:
    """Returns true if the current trace uses forms for CPUs, on one device or more."""
    return _enabled.value and target_device()[0] == "cpu"


def is_for_one_cpu() -> bool:
    """Returns true if the current trace may call kernels.

    They are for a single device, as XLA cannot partition a custom call. Within a `shard_map` over
    all axes of a mesh each device runs a program of its own.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return is_for_cpu() and (mesh.empty or mesh.size == 1 or mesh.are_all_axes_manual)
