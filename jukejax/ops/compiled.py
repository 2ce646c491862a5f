"""The parts that are compiled when jukejax is installed and there is a compiler (see setup.py)."""

import contextlib
import ctypes
import functools
import importlib.util
from collections.abc import Iterator

import jax


@functools.cache
def load(name: str, usable: str, handlers: tuple[str, ...]) -> bool:
    """Registers a library's custom calls, if it was built, runs here, and suits this JAX.

    Args:
      name: of the library, as in setup.py.
      usable: its function that says whether this processor can run it.
      handlers: its custom calls; registered as `jukejax_<name>_<handler>` for CPUs.
    """
    spec = importlib.util.find_spec(f"jukejax.ops._{name}")
    if spec is None or spec.origin is None:
        return False
    try:
        library = ctypes.CDLL(spec.origin)
    except OSError:  # built for another system
        return False
    try:
        runs_here = getattr(library, usable)
        runs_here.restype = ctypes.c_bool
        if not runs_here():
            return False
        for handler in handlers:
            capsule = jax.ffi.pycapsule(getattr(library, handler))
            jax.ffi.register_ffi_target(target(name, handler), capsule, platform="cpu")
    except (AttributeError, jax.errors.JaxRuntimeError):  # of another version, or another JAX's
        return False
    return True


def target(name: str, handler: str) -> str:
    """The name by which a program calls a library's handler."""
    return f"jukejax_{name}_{handler}"


def target_device() -> tuple[str, str]:
    """(platform, name) of what a program is traced for: the mesh's devices, or those here."""
    mesh = jax.sharding.get_abstract_mesh()
    described = None if mesh.empty else mesh.abstract_device
    if described is not None:
        return described.platform, described.device_kind
    device = jax.devices()[0]
    return device.platform, device.device_kind


# NOTE: known to JAX, so that what was traced in one is not used in the other.
_left_out = jax.make_user_context(False)


def for_one_cpu() -> bool:
    """Whether what is traced is for one CPU of this machine. XLA cannot part a custom call."""
    mesh = jax.sharding.get_abstract_mesh()
    alone = mesh.empty or mesh.size == 1
    return target_device()[0] == "cpu" and alone and not _left_out.value


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """What is traced within has no custom call: for programs that other machines run, and for
    derivatives of derivatives and in forward mode, which custom calls have not."""
    with _left_out(True):
        yield
