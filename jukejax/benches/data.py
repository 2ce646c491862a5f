"""Times preparing, separating, encoding and loading, and the time that training waits for data.

prepare         decode, repair, rules and fingerprint of FLAC files, one process
separate        each separator that is installed
encode          all levels of codes, by a VQ-VAE of the config's shape
load            batches of 8 windows of 8 s from the shards, in a separate process
train           steps of the config; data_wait is the share of the time spent waiting for data
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from jukejax.benches import common
from jukejax.common import files
from jukejax.data import audio, corpus, records
from jukejax.runtime import memory

if TYPE_CHECKING:
    from jukejax.training.task import Task

CONFIG = files.find_configs_folder() / "tiny.py"
HOUSE = ("--house_tracks=6", "--house_seconds=30", "--separator=none", "--heldout=0.1")
EXCERPTS = 3  # files that are prepared
WINDOW_SECONDS, WINDOWS = 8, 8  # of a batch to load


def define_flags(values: flags.FlagValues) -> None:
    config_flags.DEFINE_config_file(
        "config",
        f"{CONFIG}:vqvae",
        "VQ-VAE to encode with and to train, as for train.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "input",
        None,
        "Audio shards of prepare; without it a small house corpus is generated.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "seconds", 5.0, "How long to load, and how long to train.", 0.1, flag_values=values
    )
    flags.DEFINE_float(
        "excerpt", 30.0, "Seconds of a track to prepare, separate, encode.", 1.0, flag_values=values
    )


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields the rows of each part, in the order of the module's docstring."""
    from jukejax.training import program

    config = ConfigDict(values.config)
    if config.task != "vqvae":
        raise ValueError(f"--config is for {config.task}; bench data needs a VQ-VAE's, :vqvae")
    with tempfile.TemporaryDirectory(prefix="jukejax-bench-") as scratch:
        folder = values.input or make_house_corpus(Path(scratch, "audio"))
        dataset = corpus.open_dataset(folder)
        if dataset.kind != "audio":
            raise ValueError(f"--input={folder} holds {dataset.kind}; give the output of prepare")
        if not dataset.tracks("train"):
            raise ValueError(f"--input={folder} has no track to train on; prepare more music")
        config.data.folder = str(folder)
        task = program.make_task(config)
        name = config_flags.get_config_filename(values["config"])
        shape = Path(name).stem
        sounds = read_excerpts(dataset, values.excerpt)
        facts = {"bench": "data", "config": None, "batches_per_s": None, "x_realtime": None}
        facts["data_wait"] = None
        for part in (
            measure_prepare(sounds, Path(scratch)),
            measure_separators(sounds[0]),
            measure_encode(task, shape, sounds),
            measure_load(str(folder), values.seconds),
            measure_train(task, config, shape, values.seconds),
        ):
            for fields in part:
                yield common.make_row(**facts | fields)


def make_house_corpus(folder: Path) -> Path:
    """Generates a small corpus with `prepare`."""
    command = [sys.executable, "-m", "jukejax.prepare", "--input=house", f"--output={folder}"]
    done = subprocess.run([*command, *HOUSE], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"no corpus to measure with: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def read_excerpts(dataset: corpus.Dataset, seconds: float) -> list[np.ndarray]:
    """Returns the first `seconds` of some training tracks, int16 [time, channels]."""
    samples = int(seconds * audio.SAMPLE_RATE)

    def read_start(track: corpus.Track) -> np.ndarray:
        chunks = range(min(track.records, -(-samples // records.CHUNK)))
        read = (dataset.read_chunk("train", track, chunk) for chunk in chunks)
        return np.concatenate([records.decode_audio(chunk).copy() for chunk in read])[:samples]

    return [read_start(track) for track in dataset.tracks("train")[:EXCERPTS]]


def sum_durations(sounds: list[np.ndarray]) -> float:
    """Returns the seconds of all sounds together."""
    return sum(map(len, sounds)) / audio.SAMPLE_RATE


def measure_prepare(sounds: list[np.ndarray], scratch: Path) -> Iterator[dict[str, Any]]:
    import soundfile

    from jukejax.preparation import tracks
    from jukejax.preparation.prepared_track import Source
    from jukejax.preparation.rules import Rules
    from jukejax.preparation.separators import Separator

    paths = [scratch / f"{i}.flac" for i in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        soundfile.write(path, sound, audio.SAMPLE_RATE)

    def prepare_files(cache: str) -> None:
        (scratch / cache).mkdir()
        for path in paths:
            source = Source(path.name, path=str(path))
            prepared = tracks.prepare_track(source, Separator("none"), str(scratch / cache), rules)
            if prepared.reason:
                raise ValueError(f"an excerpt of --input cannot be prepared: {prepared.reason}")

    rules, caches = Rules(min_seconds=0.5), iter(("first", "second"))
    seconds, extra_seconds = common.time_twice(lambda: prepare_files(next(caches)))
    yield {
        "what": "prepare",
        "batch": 1,
        "device": "cpu",
        "dtype": "int16",
        "seconds": seconds,
        "compile_seconds": extra_seconds,
        "peak_memory_bytes": memory.process_peak_bytes(),
        "x_realtime": sum_durations(sounds) / seconds,
    }


def measure_separators(sound: np.ndarray) -> Iterator[dict[str, Any]]:
    from jukejax.preparation import separators

    mix = audio.to_float(sound)
    for method in separators.METHODS:
        if method == "none":
            continue
        try:
            separator = separators.make_separator(method)
        except ValueError:  # its weights are missing
            continue
        seconds, extra_seconds = common.time_twice(lambda: list(separator.separate(mix)))  # noqa: B023  # called at once
        on_device = method == "spleeter"
        yield {
            "what": f"separate {method}",
            "batch": 1,
            "device": common.name_devices() if on_device else "cpu",
            "dtype": "float32",
            "seconds": seconds,
            "compile_seconds": extra_seconds,
            "peak_memory_bytes": memory.peak_bytes() if on_device else memory.process_peak_bytes(),
            "x_realtime": sum_durations([sound]) / seconds,
        }


def measure_encode(task: "Task", shape: str, sounds: list[np.ndarray]) -> Iterator[dict[str, Any]]:
    import jax

    from jukejax.inference import codec
    from jukejax.inference.spans import ArraySound
    from jukejax.runtime import sharding

    params, extra = jax.device_get(sharding.unbox(jax.jit(task.init_params)(jax.random.key(0))))
    model = codec.Codec(task.describe(), {"params": params, "extra": extra})
    batch_size = codec.default_batch_size()
    arrays = [ArraySound(audio.to_float(sound).mean(axis=1)) for sound in sounds]
    seconds, extra_seconds = common.time_twice(
        lambda: list(model.encode_all(arrays, batch_size=batch_size))
    )
    yield {
        "what": "encode all levels",
        "config": shape,
        "batch": batch_size,
        "device": common.name_devices(),
        "dtype": "float32",
        "seconds": seconds,
        "compile_seconds": extra_seconds,
        "peak_memory_bytes": memory.peak_bytes(),
        "x_realtime": sum_durations(sounds) / seconds,
    }


def measure_load(folder: str, seconds: float) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_load_batches, args=(folder, seconds, sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError as error:
        raise ValueError(f"the process that loads --input={folder} died") from error
    finally:
        process.join()
    if isinstance(answer, ValueError):
        raise answer
    batches, elapsed, peak = answer
    yield {
        "what": f"load {WINDOWS} windows of {WINDOW_SECONDS} s",
        "batch": WINDOWS,
        "device": "cpu",
        "dtype": "float32",
        "seconds": elapsed,
        "peak_memory_bytes": peak,
        "batches_per_s": batches / elapsed,
        "x_realtime": batches * WINDOWS * WINDOW_SECONDS / elapsed,
    }


def _load_batches(folder: str, seconds: float, sender: Connection) -> None:
    """Loads batches without JAX; sends (batches, seconds, peak bytes) of this process."""
    from jukejax.data import pipeline

    try:
        window = WINDOW_SECONDS * audio.SAMPLE_RATE
        batches = pipeline.read_audio_batches(
            folder, "train", window=window, batching=pipeline.Batching(batch_size=WINDOWS)
        )
        for _ in range(8):  # prefetch before the timed section
            next(batches)
        count, started_at = 0, time.perf_counter()
        while time.perf_counter() - started_at < seconds:
            next(batches)
            count += 1
        sender.send((count, time.perf_counter() - started_at, memory.process_peak_bytes()))
        batches.close()
    except ValueError as error:
        sender.send(error)


def measure_train(
    task: "Task", config: ConfigDict, shape: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """Times synchronous steps of `train`, an upper bound of the time spent waiting for data."""
    import jax

    from jukejax.runtime import sharding
    from jukejax.training import program
    from jukejax.training.feeding import Feeder

    batch_size = config.data.batch_size
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    key = jax.random.key(config.seed)
    batches = task.open_batches("train", sharding.batch_rows(mesh, batch_size))
    feeder = Feeder(batches, lambda batch: sharding.put_batch(mesh, batch))
    with jax.set_mesh(mesh):
        state = built.init(key)

        def run_step() -> None:
            nonlocal state
            state, metrics = built.update(state, next(feeder), key)
            jax.block_until_ready(metrics)

        first = common.time_call(run_step)
        for _ in range(3):  # steps with a filled queue
            run_step()
        count, waited, started_at = 0, feeder.wait_seconds, time.perf_counter()
        while time.perf_counter() - started_at < seconds:
            run_step()
            count += 1
        elapsed, waited = time.perf_counter() - started_at, feeder.wait_seconds - waited
    feeder.close()
    yield {
        "what": "train",
        "config": shape,
        "batch": batch_size,
        "device": common.name_devices(),
        "dtype": config.dtype,
        "seconds": elapsed,
        "compile_seconds": max(first - elapsed / count, 0.0),
        "peak_memory_bytes": memory.peak_bytes(),
        "batches_per_s": count / elapsed,
        "x_realtime": count * batch_size * config.data.window / audio.SAMPLE_RATE / elapsed,
        "data_wait": waited / elapsed,
    }
