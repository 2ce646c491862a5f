"""The parts that are compiled when jukejax is installed and there is a compiler (see setup.py)."""

import contextlib
import ctypes
import dataclasses
import functools
import importlib.util
from collections.abc import Iterator

import jax
import jaxlib

REINSTALL = "pip install --no-build-isolation --no-deps -e ."


REINSTALL = "pip install --no-build-isolation --no-deps -e ."


@dataclasses.dataclass(frozen=True)
class Library:
    """A compiled library and its custom calls.

    Attributes:
      name: as in setup.py.
      usable_symbol: its function that says whether this processor can run it.
      handlers: its custom calls.
    """

    name: str
    usable_symbol: str
    handlers: tuple[str, ...]

    def target(self, handler: str) -> str:
        """Returns the name by which a program calls a handler."""
        return f"jukejax_{self.name}_{handler}"

    def is_usable(self) -> bool:
        """Whether the library was built, runs on this processor, and suits this JAX."""
        return not self.find_fault()

    def find_fault(self) -> str:
        """Registers the custom calls, or returns why they cannot be used here ("" if they can)."""
        return _register(self)


@functools.cache
def _register(library: Library) -> str:
    spec = importlib.util.find_spec(f"jukejax.ops.cpu._{library.name}")
    if spec is None or spec.origin is None:
        return f"not built: install g++, then {REINSTALL}"
    try:
        symbols = ctypes.CDLL(spec.origin)
        symbols.JukejaxJaxlib.restype = ctypes.c_char_p
        built_for = symbols.JukejaxJaxlib().decode()
        runs_here = getattr(symbols, library.usable_symbol)
        runs_here.restype = ctypes.c_bool
        if built_for != jaxlib.__version__:
            # The interface of custom calls may differ between releases.
            return f"built for jaxlib {built_for}, not {jaxlib.__version__}: {REINSTALL}"
        if not runs_here():
            return "this processor has neither AVX-512 nor AVX2"
        for handler in library.handlers:
            capsule = jax.ffi.pycapsule(getattr(symbols, handler))
            jax.ffi.register_ffi_target(library.target(handler), capsule, platform="cpu")
    except (OSError, AttributeError, jax.errors.JaxRuntimeError):
        return f"built for another system or version of jukejax: {REINSTALL}"
    return ""


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
