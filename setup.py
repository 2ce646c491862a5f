"""Lists the packages, and builds the kernels for CPUs, jukejax/ops/cpu/*.cc.

The configs of configs/ are installed as jukejax/configs; `jukejax/training/config_files.py` finds
them in both places. Everything else is in pyproject.toml.

Where kernels cannot be built (no compiler, no jaxlib yet, another processor), or with
JUKEJAX_CPU_KERNELS=0 in the environment, jukejax is installed without them, and XLA computes their
operations. Such a wheel is for every platform.
"""

import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from setuptools import Extension, find_packages, setup

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
    if os.environ.get("JUKEJAX_CPU_KERNELS") == "0":
        return []
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


setup(
    ext_modules=extensions(),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    packages=[*find_packages(include=["jukejax*"]), "jukejax.configs"],
    package_dir={"jukejax.configs": "configs"},
)
