"""Times the token loop: codes a second by batch and position, share of the memory's bandwidth.

python -m jukejax.bench decode --config=tiny --batch=4
python -m jukejax.bench decode --config=small --reference=port.json --json
python -m jukejax.bench decode --config=released --dtype=bfloat16 --batch=8 --tokens=512
python -m jukejax.bench decode --config=upsampler --dtype=bfloat16 --aot=h200:1
python -m jukejax.bench decode --model=runs/from_scratch/model --seconds=10
python -m jukejax.bench decode --model=runs/from_scratch/model --codes=runs/from_scratch/codes

The shapes tiny, small, train_small, small_prior and upsampler are those of Hugging Face's port in
the reference bench; prior_1b is OpenAI's 1b_lyrics without its conditioner; a config file is that
of a prior. `released` runs prior_1b and upsampler, and sums the time of all levels of a track.
Weights are random. --reference names a file of the reference bench's JSON lines, measured at about
the same time. With --model a bundle is sampled in both schedules, and the joins are measured; with
--codes also the cost of weights in eight bits on held-out codes. With --aot the loop is only
compiled, for a described device (launch/aot_check.sh fetches the compilers).
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jukejax.benches import common
from jukejax.runtime import memory

if TYPE_CHECKING:
    from jukejax.inference.loaded_model import Model

TRACK_SECONDS = 90.0
HELDOUT_WINDOWS = 32  # windows of each level for the comparison of weights in eight bits


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config", "tiny", "A shape, `released`, or a file of configs/.", flag_values=values
    )
    flags.DEFINE_integer("batch", 1, "Number of sequences.", 1, flag_values=values)
    flags.DEFINE_integer(
        "tokens", 0, "Positions to sample, 8 or more; 0: the whole window.", 0, flag_values=values
    )
    flags.DEFINE_string(
        "dtype", "", "float32, bfloat16 or float16; default: the device's.", flag_values=values
    )
    flags.DEFINE_enum(
        "weights",
        "float",
        ["float", "int8"],
        "int8 keeps matrices in eight bits.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "reference",
        "",
        "File of another implementation's speed to divide by: lines of JSON with bench (sample), "
        "config, batch and tokens_per_s.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "aot", "", "Only compile, for one such device: h200:1, v5e:2x2 ...", flag_values=values
    )
    flags.DEFINE_string(
        "model", "", "Sample with this bundle instead, and measure the joins.", flag_values=values
    )
    flags.DEFINE_enum(
        "schedule",
        "both",
        ["both", "sequential", "parallel"],
        "Of the windows, with --model.",
        flag_values=values,
    )
    flags.DEFINE_float("seconds", 10.0, "Length of a track, with --model.", 0.1, flag_values=values)
    flags.DEFINE_string(
        "codes",
        "",
        "With --model: code shards, to compare weights in 8 bits on.",
        flag_values=values,
    )


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields a row for each model, and one for all levels of `released`."""
    if 0 < values.tokens < 8:
        raise ValueError(f"--tokens={values.tokens} must be 8 or more, an eighth each time")
    if values.reference and (values.aot or values.model or values.config == "released"):
        raise ValueError("--reference is compared with one shape's token loop, named by --config")
    reference = read_reference(values.reference) if values.reference else []
    if values.aot:
        yield _compile_elsewhere(values)
    elif values.codes and not values.model:
        raise ValueError(f"--codes={values.codes} needs --model, the bundle to judge on them")
    elif values.codes:
        yield from measure_int8_loss(values)
    elif values.model:
        from jukejax.benches import seams

        yield from seams.measure_rows(values)
    elif values.config == "released":
        rows = {name: measure_loop(values, name, []) for name in ("prior_1b", "upsampler")}
        yield from rows.values()
        yield sum_levels(values, rows)
    else:
        yield measure_loop(values, values.config, reference)


def read_reference(path: str) -> list[dict[str, Any]]:
    """Reads the lines about sampling of an output of the reference bench."""
    try:
        lines = [line for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        records = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise ValueError(f"--reference={path}: {error}") from error
    records = [one for one in records if isinstance(one, dict) and one.get("bench") == "sample"]
    if not records:
        raise ValueError(
            f"--reference={path} has no line with bench sample; write lines of JSON such as "
            '{"bench": "sample", "config": "tiny", "batch": 1, "tokens_per_s": 900}'
        )
    return records


def divide_by_reference(
    tokens_per_s: float, config: str, batch: int, reference: list[dict[str, Any]]
) -> float | None:
    """Returns the ratio of codes a second to the reference, for the same shape and batch."""
    if not reference:
        return None
    for record in reference:
        if (record.get("config"), record.get("batch")) == (config, batch):
            return tokens_per_s / record["tokens_per_s"]
    names = ", ".join(f"{one.get('config')} batch {one.get('batch')}" for one in reference)
    raise ValueError(f"--reference has no {config} batch {batch}, only {names}")


def measure_loop(
    values: flags.FlagValues, name: str, reference: list[dict[str, Any]]
) -> dict[str, Any]:
    """Times one model's loop on this machine."""
    from jukejax.benches import decode_program
    from jukejax.runtime.precision import default_dtype

    dtype = values.dtype or default_dtype()
    loop = decode_program.make_loop(name, batch=values.batch, dtype=dtype, weights=values.weights)
    tokens = values.tokens or loop.stack.seq_len
    if tokens > loop.stack.seq_len:
        raise ValueError(f"--tokens={tokens} exceeds the window of {loop.stack.seq_len}")
    compiled, compile_seconds = loop.compile()
    spans, times = decode_program.time_eighths(loop, compiled, tokens)
    seconds = sum(times)
    rate = values.batch * tokens / seconds
    bandwidth = common.measure_read_bandwidth()
    return common.make_row(
        "decode",
        "token loop",
        config=name,
        batch=values.batch,
        device=common.name_devices(),
        dtype=dtype,
        seconds=seconds,
        compile_seconds=compile_seconds,
        peak_memory_bytes=memory.peak_bytes(),
        weights=values.weights,
        tokens=tokens,
        tokens_per_s=rate,
        positions_per_s_by_eighth=[
            common.round_figure(span / time) for span, time in zip(spans, times, strict=True)
        ],
        ms_per_step=1000 * seconds / tokens,
        bytes_per_step=loop.bytes_per_step(),
        **common.bound_by_bandwidth(loop.bytes_per_step() * tokens, bandwidth),
        read_bandwidth=bandwidth,
        bandwidth_share=loop.bytes_per_step() * tokens / seconds / bandwidth,
        cache_bytes_per_sequence=loop.cache_bytes(),
        dense_cache_bytes_per_sequence=loop.dense_cache_bytes(),
        times_reference=divide_by_reference(rate, name, values.batch, reference),
    )


def _compile_elsewhere(values: flags.FlagValues) -> dict[str, Any]:
    """Returns one row, for one device of the kind of --aot."""
    from jukejax.benches.aot import topologies

    topology = topologies.parse_topology(values.aot)
    topologies.set_up_compiler(topology)
    from jukejax.benches import decode_program
    from jukejax.benches.aot import decode

    dtype = values.dtype or topology.default_dtype
    loop = decode_program.make_loop(
        values.config,
        batch=values.batch,
        dtype=dtype,
        weights=values.weights,
        platform="tpu" if topology.is_tpu else "gpu",
    )
    figures = decode.inspect_loop(loop, topologies.describe_devices(topology)[0])
    return common.make_row(
        "decode",
        "compiled only",
        config=values.config,
        batch=values.batch,
        device=str(topology),
        dtype=dtype,
        weights=values.weights,
        **figures,
    )


def sum_levels(values: flags.FlagValues, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sums the time of all levels of a track by two models' rates, without prefills."""
    level_seconds = {
        level: TRACK_SECONDS
        * (44100 / hop)
        / rows["prior_1b" if level == 2 else "upsampler"]["tokens_per_s"]
        for level, hop in {2: 128, 1: 32, 0: 8}.items()
    }
    seconds = sum(level_seconds.values())  # of one track, if `batch` of them are sampled together
    upsampler = rows["upsampler"]
    return common.make_row(
        "decode",
        f"{TRACK_SECONDS:.0f} s of music, levels 2 to 0, by these rates",
        config=values.config,
        batch=values.batch,
        device=upsampler["device"],
        dtype=upsampler["dtype"],
        seconds=seconds * values.batch,
        peak_memory_bytes=memory.peak_bytes(),
        weights=values.weights,
        level_seconds=[
            common.round_figure(level_seconds[level] * values.batch)
            for level in sorted(level_seconds)
        ],
        seconds_per_second_of_audio=seconds / TRACK_SECONDS,
        audio_seconds_per_s=TRACK_SECONDS / seconds,
    )


def measure_int8_loss(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields the cost of weights in eight bits, in bits per code, for each level of a bundle.

    Args:
      values: model, codes (a folder of code shards, whose held-out windows count), dtype.
    """
    from jukejax.inference.loaded_model import Model
    from jukejax.runtime.precision import default_dtype

    dtype = values.dtype or default_dtype()
    models = [Model(values.model, dtype, weights) for weights in ("float", "int8")]
    for level in models[0].levels:
        started_at = time.perf_counter()
        bits, bits_int8 = (_mean_heldout_bits(model, values.codes, level) for model in models)
        yield common.make_row(
            "decode",
            f"level {level} weights in eight bits",
            config=values.model,
            batch=1,
            device=common.name_devices(),
            dtype=dtype,
            seconds=time.perf_counter() - started_at,
            level=level,
            bits_per_code=bits,
            bits_per_code_int8=bits_int8,
            cost_in_bits=bits_int8 - bits,
        )


def _mean_heldout_bits(model: "Model", codes: str, level: int) -> float:
    import numpy as np

    from jukejax.evaluation.heldout_bits import measure_heldout_bits

    by_track = measure_heldout_bits(model, codes, level, max_windows=HELDOUT_WINDOWS)
    return float(np.mean([figures["bits_per_code"] for figures in by_track.values()]))
