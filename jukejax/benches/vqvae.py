"""Times a VQ-VAE: encoding, decoding and training, in multiples of the duration of the audio.

python -m jukejax.bench vqvae --seconds=10
python -m jukejax.bench vqvae --part=train --samples=65536 --batch=1 --json
python -m jukejax.bench vqvae --config=configs/house_vqvae.py --loss=config

Encoding computes the codes of all levels at once; decoding is for the codes of one level. A
training step consists of forward pass, backward pass and Adam, for the squared error and the
commitment loss as in the reference bench (--loss=l2), or for the loss of the config
(--loss=config).
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from jukejax.benches import common
from jukejax.runtime import memory, platform_flags

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jukejax.common.types import Tree
    from jukejax.models.vqvae import VQVAE
    from jukejax.training.task import Task

RELEASED = "released"
CODEC_BATCH = 1
LEVELS = 3


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config",
        RELEASED,
        "released, which is OpenAI's shape; or a VQ-VAE's file of configs/.",
        flag_values=values,
    )
    flags.DEFINE_enum("part", "all", ["all", "codec", "train"], "What to time.", flag_values=values)
    flags.DEFINE_float("seconds", 10.0, "Audio to encode and decode.", 0.1, flag_values=values)
    flags.DEFINE_integer(
        "samples", 65536, "Window of a training step, in samples.", 2048, flag_values=values
    )
    flags.DEFINE_integer(
        "batch", 1, "Windows in a training step, of all devices.", 1, flag_values=values
    )
    flags.DEFINE_enum(
        "loss", "l2", ["l2", "config"], "The loss of a training step.", flag_values=values
    )
    flags.DEFINE_string("dtype", "float32", "float32, bfloat16 or float16.", flag_values=values)
    flags.DEFINE_integer(
        "repeat", 3, "Timed runs of each; the fastest counts.", 1, flag_values=values
    )


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields a row with the figures of both parts; null for a part that --part excludes."""
    platform_flags.keep_memory()
    config = make_config(values)
    figures: dict[str, Any] = {"seconds": 0.0, "compile_seconds": 0.0}
    flops = 0.0  # of the work that `seconds` measures
    names = [f"decode_level_{level}_x_realtime" for level in range(LEVELS)]
    figures |= dict.fromkeys(["encode_all_levels_x_realtime", *names, "train_audio_seconds_per_s"])
    for part, measure in (("codec", measure_codec), ("train", measure_training)):
        if values.part in ("all", part):
            measured = measure(values, config)
            flops += measured.pop("flops")
            figures |= measured | {
                name: figures[name] + measured[name] for name in ("seconds", "compile_seconds")
            }
    yield common.make_row(
        "vqvae",
        f"{values.part}, {values.loss} loss" if values.part != "codec" else "codec",
        config=values.config,
        batch=values.batch,
        device=common.name_devices(),
        dtype=config.dtype,
        peak_memory_bytes=memory.peak_bytes(),
        **common.bound_by_flops(flops, config.dtype),
        **figures,
    )


def make_config(values: flags.FlagValues) -> "ConfigDict":
    """Returns the config to train, with the flags' window, batch and compute type."""
    from ml_collections import ConfigDict

    from jukejax.benches import shapes

    if values.config == RELEASED:
        config = ConfigDict({"task": "vqvae", "model": {}, "optimizer": {}, "data": {}})
    else:
        config = shapes.load_config(values.config)
        if config.task != "vqvae":
            raise ValueError(f"--config={values.config} is for {config.task}, not for a VQ-VAE")
    if values.loss == "l2":
        config.optimizer = {"warmup_steps": 0, "weight_decay": 0.0, "clip": 0.0}
        config.accumulate = 1
    config.dtype = values.dtype
    config.data.update(folder="", window=values.samples, batch_size=values.batch)
    return config


def make_model(config: "ConfigDict") -> "VQVAE":
    """Returns the model of a config."""
    from jukejax.common.config import freeze
    from jukejax.models.vqvae import VQVAE
    from jukejax.models.vqvae_config import VQVAEConfig
    from jukejax.runtime import precision

    frozen = freeze(VQVAEConfig, config.model, "config.model")
    return VQVAE(frozen, precision.compute_dtype(config.dtype))


def measure_codec(values: flags.FlagValues, config: "ConfigDict") -> dict[str, Any]:
    """Times encoding of noise to all levels, and decoding of each; `seconds` is for encoding."""
    import jax
    import numpy as np

    from jukejax.data import audio
    from jukejax.runtime import sharding
    from jukejax.training import flops, program

    model = make_model(config)
    unit = model.config.unit
    samples = max(1, int(values.seconds * audio.SAMPLE_RATE) // unit) * unit
    random = np.random.default_rng(0)
    noise = 0.3 * random.standard_normal((CODEC_BATCH, samples, 1), np.float32)
    task = program.make_task(config, with_data=False)
    params, codebooks = sharding.unbox(jax.jit(task.init_params)(jax.random.key(0)))
    for codebook in codebooks.values():
        codebook["codebook"] = random.standard_normal(codebook["codebook"].shape, np.float32)
    timer = MethodTimer(model, {"params": params, "codebook": codebooks}, values.repeat)
    length = samples / audio.SAMPLE_RATE
    seconds, codes = timer.time_method(model.encode, noise)
    figures = {"encode_all_levels_x_realtime": length / seconds}
    for level in range(model.config.levels):
        decode_seconds, _ = timer.time_method(model.decode, codes[level], level=level)
        figures[f"decode_level_{level}_x_realtime"] = length / decode_seconds
    figures |= {"seconds": seconds, "compile_seconds": timer.compile_seconds}
    parts = flops.count_vqvae(model.config, samples)
    work = parts["encoders"].forward + parts["codebooks"].forward
    return figures | {"audio_seconds": length, "flops": work}


class MethodTimer:
    """Compiles and times methods of a VQ-VAE; sums the seconds of compiling."""

    def __init__(self, model: "VQVAE", variables: "Tree", repeat: int) -> None:
        self.model = model
        self.variables = variables
        self.repeat = repeat
        self.compile_seconds = 0.0

    def time_method(self, method: Callable, *inputs: Any, **static: Any) -> tuple[float, Any]:
        """Returns (seconds of the fastest run, result)."""
        import jax

        apply = functools.partial(self.model.apply, **static, method=method)
        started_at = time.perf_counter()
        compiled = jax.jit(apply).lower(self.variables, *inputs).compile()
        self.compile_seconds += time.perf_counter() - started_at
        result = jax.block_until_ready(compiled(self.variables, *inputs))
        seconds = min(
            common.time_call(lambda: jax.block_until_ready(compiled(self.variables, *inputs)))
            for _ in range(self.repeat)
        )
        return seconds, result


def measure_training(values: flags.FlagValues, config: "ConfigDict") -> dict[str, Any]:
    """Times a training step, with its codebooks and averages."""
    from jukejax.benches import shapes, training_step
    from jukejax.data import audio
    from jukejax.runtime import sharding
    from jukejax.training import flops, program

    task: Task
    if values.loss == "l2":
        task = shapes.SquaredErrorTask(config, with_data=False)
        parts = flops.count_vqvae(make_model(config).config, values.samples)  # without spectra
    else:
        task = program.make_task(config, with_data=False)
        parts = dict(task.work)
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    compiled, compile_seconds = training_step.compile_step(built)
    seconds = training_step.measure_step(built, compiled, values.repeat)
    return {
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "samples": values.samples,
        "flops": values.batch * flops.sum_parts(parts),
        "seconds_per_step": seconds,
        "train_audio_seconds_per_s": values.batch * values.samples / audio.SAMPLE_RATE / seconds,
    }
