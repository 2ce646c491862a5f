"""A VQ-VAE: how many times faster than the music it encodes, decodes and trains.

python -m jukejax.bench vqvae --seconds=10
python -m jukejax.bench vqvae --part=train --samples=65536 --batch=1 --json
python -m jukejax.bench vqvae --config=configs/house_vqvae.py --loss=config

Encoding gives the codes of all levels at once; decoding takes one level's codes. A training step is
forward, backward and Adam: on the squared error and the commitment, as in the reference bench
(--loss=l2), or on everything that the config's own loss adds up (--loss=config).
"""

from collections.abc import Iterator

from absl import flags

from jukejax.benches import common
from jukejax.runtime import memory, platform_flags

RELEASED = "released"
CODEC_BATCH = 1


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
        "loss", "l2", ["l2", "config"], "What a training step minimises.", flag_values=values
    )
    flags.DEFINE_string("dtype", "float32", "float32, bfloat16 or float16.", flag_values=values)
    flags.DEFINE_integer(
        "repeat", 3, "Timed runs of each; the fastest counts.", 1, flag_values=values
    )


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """One row with the figures of both parts; null for a part that was not asked for."""
    platform_flags.keep_memory()
    config = make_config(values)
    found = {"seconds": 0.0, "compile_seconds": 0.0}
    names = [f"decode_level_{level}_x_realtime" for level in range(3)]
    found |= dict.fromkeys(["encode_all_levels_x_realtime", *names, "train_audio_seconds_per_s"])
    for part, measure in (("codec", codec), ("train", train)):
        if values.part in ("all", part):
            more = measure(values, config)
            found |= more | {
                name: found[name] + more[name] for name in ("seconds", "compile_seconds")
            }
    yield common.row(
        "vqvae",
        f"{values.part}, {values.loss} loss" if values.part != "codec" else "codec",
        config=values.config,
        batch=values.batch,
        device=common.device(),
        dtype=config.dtype,
        peak_memory_bytes=memory.peak_bytes(),
        **found,
    )


def make_config(values: flags.FlagValues):
    """The config to train, with the flags' window, batch and compute type."""
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


def make_model(config):
    from jukejax.common.config import freeze
    from jukejax.models.vqvae import VQVAE, VQVAEConfig
    from jukejax.runtime import precision

    frozen = freeze(VQVAEConfig, config.model, "config.model")
    return VQVAE(frozen, precision.compute_dtype(config.dtype))


def codec(values: flags.FlagValues, config) -> dict:
    """Encoding to all levels and decoding from each, one piece of noise; `seconds` of encoding."""
    import jax
    import numpy as np

    from jukejax.data import audio
    from jukejax.runtime import sharding
    from jukejax.training import program

    model = make_model(config)
    top = model.config.hops[-1]
    samples = max(1, int(values.seconds * audio.SAMPLE_RATE) // top) * top
    random = np.random.default_rng(0)
    noise = 0.3 * random.standard_normal((CODEC_BATCH, samples, 1), np.float32)
    task = program.make_task(config, with_data=False)
    params, books = sharding.unbox(jax.jit(task.init_params)(jax.random.key(0)))
    for book in books.values():
        book["codebook"] = random.standard_normal(book["codebook"].shape, np.float32)
    variables = {"params": params, "codebook": books}
    length, compiling, found = samples / audio.SAMPLE_RATE, 0.0, {}

    def best(method, *inputs, **static) -> tuple[float, tuple]:
        """(seconds, result) of a method of the model."""
        nonlocal compiling
        work = jax.jit(lambda given, *x: model.apply(given, *x, **static, method=method))
        built = []
        compiling += common.timed(lambda: built.append(work.lower(variables, *inputs).compile()))
        result = jax.block_until_ready(built[0](variables, *inputs))
        seconds = min(
            common.timed(lambda: jax.block_until_ready(built[0](variables, *inputs)))
            for _ in range(values.repeat)
        )
        return seconds, result

    seconds, codes = best(model.encode, noise)
    found["encode_all_levels_x_realtime"] = length / seconds
    for level in range(model.config.levels):
        spent, _ = best(model.decode, codes[level], level=level)
        found[f"decode_level_{level}_x_realtime"] = length / spent
    return found | {"seconds": seconds, "compile_seconds": compiling, "audio_seconds": length}


def train(values: flags.FlagValues, config) -> dict:
    """A training step, with its codebooks and averages; `seconds` of one."""

    from jukejax.benches import shapes
    from jukejax.benches.aot import step as aot
    from jukejax.data import audio
    from jukejax.runtime import sharding
    from jukejax.training import program

    if values.loss == "l2":
        task = shapes.SquaredErrorTask(config, with_data=False)
    else:
        task = program.make_task(config, with_data=False)
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    compiled, compiling = aot.compile_step(built)
    seconds = shapes.step_seconds(built, compiled, values.repeat)
    return {
        "seconds": seconds,
        "compile_seconds": compiling,
        "samples": values.samples,
        "seconds_per_step": seconds,
        "train_audio_seconds_per_s": values.batch * values.samples / audio.SAMPLE_RATE / seconds,
    }
