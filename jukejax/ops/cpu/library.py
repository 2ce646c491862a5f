"""Loading of the compiled kernels, which setup.py builds if there is a compiler."""

import ctypes
import dataclasses
import functools
import importlib.util

import jax
import jaxlib

REINSTALL = "pip install --no-build-isolation --no-deps -e ."


@dataclasses.dataclass(frozen=True)
class Library:
    """A compiled library and its custom calls.

    Attributes:
      name: as in setup.py.
      usable_symbol: name of its function that checks the processor.
      handlers: its custom calls.
    """

    name: str
    usable_symbol: str
    handlers: tuple[str, ...]

    def target(self, handler: str) -> str:
        """Returns the name by which a program calls a handler."""
        return f"jukejax_{self.name}_{handler}"

    def is_usable(self) -> bool:
        """Returns true if the library is built, and fits this processor and this release of JAX."""
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
