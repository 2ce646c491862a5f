"""The one part that is compiled: ops/kernel_gradient.cc, for training on CPUs. All else is said in
pyproject.toml. Where it cannot be built (no compiler, no jaxlib yet, another processor) jukejax
installs without it and lets XLA do that work."""

import importlib.util
import platform
from pathlib import Path

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    jaxlib = importlib.util.find_spec("jaxlib")
    if jaxlib is None or platform.system() != "Linux" or platform.machine() != "x86_64":
        return []
    headers = Path(jaxlib.origin).parent / "include"
    flags = ["-O3", "-std=c++17", "-ffp-contract=fast", "-Wno-psabi", "-isystem", str(headers)]
    return [
        Extension(
            "jukejax.ops._kernel_gradient",
            sources=["jukejax/ops/kernel_gradient.cc"],
            extra_compile_args=flags,
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=extensions())
