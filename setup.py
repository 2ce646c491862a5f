"""Builds the kernels for CPUs, jukejax/ops/cpu/*.cc; everything else is in pyproject.toml.

Where they cannot be built (no compiler, no jaxlib yet, another processor), jukejax is installed
without them, and XLA computes their operations.
"""

import importlib.metadata
import importlib.util
import platform
from pathlib import Path

from setuptools import Extension, setup

SOURCES = (
    "attention",
    "cached_attention",
    "convolution",
    "kernel_gradient",
    "noise",
    "norm",
    "panels",
    "products",
)


def extensions() -> list[Extension]:
    """Returns the libraries to build."""
    jaxlib = importlib.util.find_spec("jaxlib")
    if jaxlib is None or platform.system() != "Linux" or platform.machine() != "x86_64":
        return []
    headers = Path(jaxlib.origin).parent / "include"
    flags = ["-O3", "-std=c++17", "-ffp-contract=fast", "-Wno-psabi", "-isystem", str(headers)]
    return [
        Extension(
            f"jukejax.ops.cpu._{name}",
            sources=[f"jukejax/ops/cpu/{name}.cc"],
            depends=[str(header) for header in Path("jukejax/ops/cpu").glob("*.h")],
            define_macros=[("JUKEJAX_JAXLIB", f'"{importlib.metadata.version("jaxlib")}"')],
            extra_compile_args=flags,
            language="c++",
            optional=True,
        )
        for name in SOURCES
    ]


setup(ext_modules=extensions())
