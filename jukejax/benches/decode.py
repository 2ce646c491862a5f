"""The token loop: codes a second by batch and position, and its share of the memory's bandwidth.

python -m jukejax.bench decode --config=tiny --batch=4
python -m jukejax.bench decode --config=small --reference=port.json --json
python -m jukejax.bench decode --config=released --dtype=bfloat16 --batch=8 --tokens=512
python -m jukejax.bench decode --config=upsampler --dtype=bfloat16 --aot=h200:1
python -m jukejax.bench decode --model=demo/model --seconds=10
python -m jukejax.bench decode --model=demo/model --codes=demo/codes

The shapes tiny, small, train_small, small_prior and upsampler are those of Hugging Face's port in
the reference bench; prior_1b is OpenAI's 1b_lyrics without its conditioner; a config file gives its
prior. `released` runs prior_1b and upsampler, and says what all levels of a track take. Weights are
drawn at random. --reference names a file of the reference bench's JSON lines, measured in the same
minute. With --model a bundle is sampled in both schedules, and the seams are measured; with --codes
as well, what weights in eight bits cost on held-out codes. With --aot nothing is run: the loop is
compiled for a device elsewhere (launch/aot_check.sh fetches the compilers).
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from jukejax.benches import common
from jukejax.runtime import memory

TRACK_SECONDS = 90.0


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config", "tiny", "A shape, `released`, or a file of configs/.", flag_values=values
    )
    flags.DEFINE_integer("batch", 1, "Sequences side by side.", 1, flag_values=values)
    flags.DEFINE_integer(
        "tokens", 0, "Positions to draw, 8 or more; 0: the whole window.", 0, flag_values=values
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
        "reference", "", "JSON lines of `hf_bench.py sample` to divide by.", flag_values=values
    )
    flags.DEFINE_string(
        "aot", "", "Only compile, for one such device: h200:1, v5e:2x2 ...", flag_values=values
    )
    flags.DEFINE_string(
        "model", "", "Sample with this bundle instead, and look at the seams.", flag_values=values
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


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """A row for each model, and one for all levels of `released`."""
    if 0 < values.tokens < 8:
        raise ValueError(f"--tokens={values.tokens} must be 8 or more, an eighth each time")
    if values.reference and (values.aot or values.model or values.config == "released"):
        raise ValueError("--reference is compared with one shape's token loop, named by --config")
    reference = references(values.reference) if values.reference else []
    if values.aot:
        from jukejax.benches.aot import decode as decode_aot

        yield from decode_aot.rows(values)
    elif values.codes and not values.model:
        raise ValueError(f"--codes={values.codes} needs --model, the bundle to judge on them")
    elif values.codes:
        from jukejax.benches import weight_bits

        yield from weight_bits.rows(values)
    elif values.model:
        from jukejax.benches import seams

        yield from seams.rows(values)
    elif values.config == "released":
        found = {name: measured(values, name, []) for name in ("prior_1b", "upsampler")}
        yield from found.values()
        yield track(values, found)
    else:
        yield measured(values, values.config, reference)


def references(path: str) -> list[dict]:
    """The lines of a file that the reference bench printed about sampling."""
    try:
        lines = [line for line in Path(path).read_text().splitlines() if line.strip()]
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise ValueError(f"--reference={path}: {error}") from error
    found = [one for one in found if isinstance(one, dict) and one.get("bench") == "sample"]
    if not found:
        raise ValueError(f"--reference={path} has no line with bench sample; see hf_bench.py")
    return found


def compared(tokens_per_s: float, config: str, batch: int, reference: list[dict]) -> float | None:
    """How many times the reference's codes a second ours are, at the same shape and batch."""
    if not reference:
        return None
    for one in reference:
        if (one.get("config"), one.get("batch")) == (config, batch):
            return tokens_per_s / one["tokens_per_s"]
    there = ", ".join(f"{one.get('config')} batch {one.get('batch')}" for one in reference)
    raise ValueError(f"--reference has no {config} batch {batch}, only {there}")


def measured(values: flags.FlagValues, name: str, reference: list[dict]) -> dict:
    """One model's loop on this machine."""
    import time

    import jax
    import numpy as np

    from jukejax.benches import decode_program
    from jukejax.runtime.precision import default_dtype

    dtype = values.dtype or default_dtype()
    loop = decode_program.make(name, batch=values.batch, dtype=dtype, weights=values.weights)
    tokens = values.tokens or loop.stack.seq_len
    if tokens > loop.stack.seq_len:
        raise ValueError(f"--tokens={tokens} exceeds the window of {loop.stack.seq_len}")
    begun = time.perf_counter()
    compiled = loop.compile()
    compile_seconds = time.perf_counter() - begun
    told = decode_program.random_arguments(loop)
    state = [told.caches, told.codes]

    def run(start: int, stop: int) -> float:
        """Seconds of these positions."""
        begun = time.perf_counter()
        state[:] = compiled(told.weights, *state, np.int32(start), np.int32(stop), told.keys)
        jax.block_until_ready(state)
        return time.perf_counter() - begun

    run(0, 8)
    edges = np.linspace(0, tokens, 9).astype(int).tolist()
    spans = list(itertools.pairwise(edges))
    times = [run(*span) for span in spans]
    seconds = sum(times)
    rate = values.batch * tokens / seconds
    bandwidth = common.read_bandwidth()
    moved = loop.bytes_per_step() * tokens / seconds
    return common.row(
        "decode",
        "token loop",
        config=name,
        batch=values.batch,
        device=common.device(),
        dtype=dtype,
        seconds=seconds,
        compile_seconds=compile_seconds,
        peak_memory_bytes=memory.peak_bytes(),
        weights=values.weights,
        tokens=tokens,
        tokens_per_s=rate,
        positions_per_s_by_eighth=[
            float(f"{(b - a) / t:.4g}") for (a, b), t in zip(spans, times, strict=True)
        ],
        ms_per_step=1000 * seconds / tokens,
        bytes_per_step=loop.bytes_per_step(),
        read_bandwidth=bandwidth,
        bandwidth_share=moved / bandwidth,
        cache_bytes_per_sequence=loop.cache_bytes(),
        dense_cache_bytes_per_sequence=loop.dense_cache_bytes(),
        times_reference=compared(rate, name, values.batch, reference),
    )


def track(values: flags.FlagValues, found: dict[str, dict]) -> dict:
    """All levels of a track from the two models' rates, window by window, without prefills."""
    hops = {2: 128, 1: 32, 0: 8}
    parts = {
        level: TRACK_SECONDS
        * (44100 / hop)
        / found["prior_1b" if level == 2 else "upsampler"]["tokens_per_s"]
        for level, hop in hops.items()
    }
    seconds = sum(parts.values())  # of one track, where `batch` of them are made together
    first = found["upsampler"]
    return common.row(
        "decode",
        f"{TRACK_SECONDS:.0f} s of music, levels 2 to 0, by these rates",
        config=values.config,
        batch=values.batch,
        device=first["device"],
        dtype=first["dtype"],
        seconds=seconds * values.batch,
        peak_memory_bytes=memory.peak_bytes(),
        weights=values.weights,
        level_seconds=[float(f"{parts[level] * values.batch:.4g}") for level in sorted(parts)],
        seconds_per_second_of_audio=seconds / TRACK_SECONDS,
        audio_seconds_per_s=TRACK_SECONDS / seconds,
    )
