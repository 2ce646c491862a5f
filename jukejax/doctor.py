"""What this machine can do: devices, memory, compute type, which released models fit, extras.

    python -m jukejax.doctor
    python -m jukejax.doctor --json

A released model fits if the largest of its parts, which are loaded one at a time, its caches for
one track included, lies within the memory of one device. What training takes, several times as
much, `train --dry_run` says of a config.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Sequence

from absl import flags

from jukejax import cli

FLAGS = flags.FlagValues()

JSON = flags.DEFINE_bool("json", False, "One JSON object instead of lines.", flag_values=FLAGS)

PACKAGES = ("jukejax", "jax", "jaxlib", "flax", "orbax-checkpoint")
EXTRAS = {  # module: (extra of pyproject.toml, what it is for)
    "tensorflow": ("tfds", "data sets through TFDS"),
    "apache_beam": ("beam", "prepare on many machines"),
    "torch": ("convert", "released weights in .pth.tar files"),
    "unidecode": ("lyrics", "lyrics in other scripts"),
    "visqol": ("visqol", "ViSQOL in evaluate"),
    "tensorboard": ("tensorboard", "to look at what train writes"),
    "wandb": ("wandb", "logging to Weights & Biases"),
}


def devices_here() -> list[dict]:
    """One row for each device of this process."""
    import jax

    from jukejax.runtime import devices, memory

    found = []
    for device in jax.local_devices():
        known = devices.find(device.device_kind)
        found.append(
            {
                "platform": device.platform,
                "kind": device.device_kind,
                "memory_bytes": memory.memory_of(device),
                "peak_flops": known.peak_flops if known else None,
                "bandwidth": known.bandwidth if known else None,
            }
        )
    return found


def released_models(dtype: str, limit: float | None) -> list[dict]:
    """Bytes that each released model needs to sample one track, and whether they fit."""
    from jukejax.weights.openai import released

    found = []
    for name in released.MODELS:
        parts = released.load_configs(name)
        parts.pop("vqvae")  # 12 MB
        largest = max(_bytes_of(prior, dtype) for prior in parts.values())
        fits = None if limit is None else largest < limit
        found.append({"model": name, "bytes": largest, "fits": fits})
    return found


@functools.cache  # the models share their upsamplers
def _bytes_of(config, dtype: str) -> int:
    """Of a prior's parameters and its caches for one track."""
    import jax
    import jax.numpy as jnp

    from jukejax.models.transformer import empty_caches
    from jukejax.runtime import precision
    from jukejax.weights.openai import prior as openai_prior

    compute, stack = precision.compute_dtype(dtype), config.autoregressive.transformer
    caches = jax.eval_shape(lambda: empty_caches(stack, 1, compute))
    numbers = jax.tree.leaves((openai_prior.prior_shapes(config), caches))
    return sum(leaf.size for leaf in numbers) * jnp.dtype(compute).itemsize


def report() -> dict:
    """All that there is to say."""
    import jax

    from jukejax.ops import norm
    from jukejax.ops.cpu import attention as attention_native
    from jukejax.ops.cpu import convolution, kernel_gradient, products
    from jukejax.preparation import separators
    from jukejax.runtime import memory
    from jukejax.runtime.precision import default_dtype

    here, dtype = devices_here(), default_dtype()
    modules = (attention_native, convolution, kernel_gradient, norm, products)
    libraries = [module.LIBRARY for module in modules]
    extras = [
        {"module": module, "extra": extra, "for": use, "there": _is_there(module)}
        for module, (extra, use) in EXTRAS.items()
    ]
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": memory.machine_bytes(),
        "processes": jax.process_count(),
        "devices": here,
        "dtype": dtype,
        "compiled": {library.name: library.is_usable() for library in libraries},
        "compiled_faults": {
            library.name: fault for library in libraries if (fault := library.find_fault())
        },
        "spleeter_weights": separators.find_weights() is not None,
        "models": released_models(dtype, here[0]["memory_bytes"]),
        "extras": extras,
    }


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _lines(found: dict) -> list[str]:
    gb = 1e9
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"software    Python {found['python']}, {versions}",
        f"machine     {found['processors']} processor(s), {found['memory_bytes'] / gb:.1f} GB",
    ]
    for number, device in enumerate(found["devices"]):
        memory, peak = device["memory_bytes"], device["peak_flops"]
        known = f", {memory / gb:.1f} GB" if memory else ""
        if peak:
            best = max(peak, key=peak.get)
            known += f", at most {peak[best] / 1e12:.0f} TFLOP/s ({best})"
        lines.append(f"device {number:<4} {device['platform']}: {device['kind']}{known}")
    lines.append(f"computes in {found['dtype']}, if nothing else is asked for")
    if any(device["platform"] == "cpu" for device in found["devices"]):
        by_fault = {}
        for name, fault in found["compiled_faults"].items():
            by_fault.setdefault(fault, []).append(name)
        for fault, names in by_fault.items():
            lines.append(f"compiled    for training on CPUs: {', '.join(names)}: {fault}")
        if not by_fault:
            lines.append("compiled    for training on CPUs: all built")
    weights = "there" if found["spleeter_weights"] else "missing: make spleeter-weights"
    lines += [f"spleeter    weights are {weights}", "", "released models, to sample one track:"]
    said = {True: "fits", False: "does not fit", None: "this device's memory is not known"}
    for model in found["models"]:
        size = f"{model['bytes'] / gb:.1f} GB"
        lines.append(f"  {model['model']:<28} {size:>8}   {said[model['fits']]}")
    lines += ["", "extras:"]
    for extra in found["extras"]:
        there = "there" if extra["there"] else f"missing: pip install -e '.[{extra['extra']}]'"
        lines.append(f"  {extra['extra']:<12} {extra['for']:<36} {there}")
    return lines


def main() -> None:
    found = report()
    print(json.dumps(found) if JSON.value else "\n".join(_lines(found)))


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
