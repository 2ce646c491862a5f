"""Facts of this machine: devices, memory, compute type, released models that fit, extras."""

import functools
import importlib.metadata
import importlib.util
import platform
from typing import Any

import jax
import jax.numpy as jnp

from jukejax.common.extras import format_install
from jukejax.common.formatting import format_count
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer import empty_caches
from jukejax.ops.cpu import (
    attention,
    cached_attention,
    convolution,
    kernel_gradient,
    noise,
    norm,
    panels,
    products,
)
from jukejax.preparation import separators
from jukejax.runtime import devices, memory, precision
from jukejax.runtime.precision import default_dtype
from jukejax.runtime.processors import count_processors
from jukejax.weights.openai import released
from jukejax.weights.part_configs import find_prior_shapes

CPU_KERNELS = (
    attention,
    cached_attention,
    convolution,
    kernel_gradient,
    noise,
    norm,
    panels,
    products,
)
PACKAGES = ("jukejax", "jax", "jaxlib", "flax", "orbax-checkpoint")
EXTRAS = {  # module: (extra of pyproject.toml, its use)
    "tensorflow": ("tfds", "data sets through TFDS"),
    "apache_beam": ("beam", "prepare on many machines"),
    "torch": ("convert", "released weights in .pth.tar files"),
    "unidecode": ("lyrics", "lyrics in other scripts"),
    "visqol": ("visqol", "ViSQOL in evaluate"),
    "tensorboard": ("tensorboard", "to display the files of train"),
    "gradio": ("ui", "the page of serve"),
    "wandb": ("wandb", "logging to Weights & Biases"),
}


def list_devices() -> list[dict[str, Any]]:
    """Returns one row for each device of this process."""
    rows = []
    for device in jax.local_devices():
        kind = devices.find_device(device.device_kind)
        rows.append(
            {
                "platform": device.platform,
                "kind": device.device_kind,
                "memory_bytes": memory.usable_bytes(device),
                "peak_flops": kind.peak_flops if kind else None,
                "bandwidth": kind.bandwidth if kind else None,
            }
        )
    return rows


def list_released_models(dtype: str, limit: float | None) -> list[dict[str, Any]]:
    """Returns the bytes that each released model needs to sample one track, and whether they fit.

    Args:
      limit: bytes of one device; None if unknown.
    """
    rows = []
    for name in released.MODELS:
        parts = released.load_configs(name)
        parts.pop("vqvae")  # 12 MB
        largest = max(_count_prior_bytes(prior, dtype) for prior in parts.values())
        fits = None if limit is None else largest < limit
        rows.append({"model": name, "bytes": largest, "fits": fits})
    return rows


@functools.cache  # the models share their upsamplers
def _count_prior_bytes(config: PriorConfig, dtype: str) -> int:
    """Counts the bytes of a prior's parameters and of its caches for one track."""
    compute, stack = precision.compute_dtype(dtype), config.autoregressive.transformer
    caches = jax.eval_shape(lambda: empty_caches(stack, 1, compute))
    leaves = jax.tree.leaves((find_prior_shapes(config), caches))
    return sum(leaf.size for leaf in leaves) * jnp.dtype(compute).itemsize


def describe_machine() -> dict[str, Any]:
    """Returns all facts, in the form of `doctor --json`."""
    device_rows, dtype = list_devices(), default_dtype()
    libraries = [module.LIBRARY for module in CPU_KERNELS]
    extras = [
        {"module": module, "extra": extra, "for": use, "there": _is_installed(module)}
        for module, (extra, use) in EXTRAS.items()
    ]
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "processors": count_processors(),
        "memory_bytes": memory.machine_bytes(),
        "processes": jax.process_count(),
        "devices": device_rows,
        "dtype": dtype,
        "compiled": {library.name: library.is_usable() for library in libraries},
        "compiled_faults": {
            library.name: fault for library in libraries if (fault := library.find_fault())
        },
        "spleeter_weights": separators.find_weights() is not None,
        "models": list_released_models(dtype, device_rows[0]["memory_bytes"]),
        "extras": extras,
    }


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def format_machine(facts: dict[str, Any]) -> list[str]:
    """Formats the facts as lines of text."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        f"software    Python {facts['python']}, {versions}",
        f"machine     {format_count(facts['processors'], 'processor')}, "
        f"{_format_gb(facts['memory_bytes'])}",
    ]
    for number, device in enumerate(facts["devices"]):
        size, peak = device["memory_bytes"], device["peak_flops"]
        details = f", {_format_gb(size)}" if size else ""
        if peak:
            best = max(peak, key=peak.get)
            details += f", at most {peak[best] / 1e12:.0f} TFLOP/s ({best})"
        lines.append(f"device {number:<4} {device['platform']}: {device['kind']}{details}")
    lines.append(f"computes in {facts['dtype']}, unless --dtype names another")
    if any(device["platform"] == "cpu" for device in facts["devices"]):
        lines += _format_kernels(facts["compiled_faults"])
    weights = "installed" if facts["spleeter_weights"] else "missing: make spleeter-weights"
    lines += [f"spleeter    weights are {weights}", "", "released models, to sample one track:"]
    verdicts = {True: "fits", False: "does not fit", None: "this device's memory is not known"}
    for model in facts["models"]:
        size = _format_gb(model["bytes"])
        lines.append(f"  {model['model']:<28} {size:>8}   {verdicts[model['fits']]}")
    lines += ["", "extras:"]
    for extra in facts["extras"]:
        hint = f"missing: {format_install(extra['extra'])}"
        state = "installed" if extra["there"] else hint
        lines.append(f"  {extra['extra']:<12} {extra['for']:<36} {state}")
    return lines


def _format_kernels(faults: dict[str, str]) -> list[str]:
    """Formats the state of the compiled kernels for CPUs, a line for each fault."""
    names: dict[str, list[str]] = {}
    for name, fault in faults.items():
        names.setdefault(fault, []).append(name)
    prefix = "compiled    for training on CPUs: "
    return [f"{prefix}{', '.join(names[fault])}: {fault}" for fault in names] or [
        f"{prefix}all built"
    ]


def _format_gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
