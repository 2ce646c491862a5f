"""Times sparse and dense attention layers by length, kind and backend.

python -m jukejax.bench attention
python -m jukejax.bench attention --seq_lens=8192 --kinds=pattern,dense3
python -m jukejax.bench attention --plot=attention.png --json
python -m jukejax.bench attention --pictures=docs/attention
python -m jukejax.bench attention --config=upsampler --dtype=bfloat16 --backend=pallas --aot=h200:1

A layer is the model's: projections, attention, projection. `pattern` is kinds 1, 2 and 3 in a row,
`dense3` three dense layers. The number of rows of a length is the largest power of two up to its
square root, so that rows and columns grow with the square root; --num_blocks fixes it. Memory is
the compiler's figure for arguments, results and temporaries together. Cases that would not fit, or
take longer than --longest, are left out with a note. With --aot layers are only compiled, for a
described device (launch/aot_check.sh fetches the compilers).
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jukejax.benches import common
from jukejax.runtime import platform_flags

if TYPE_CHECKING:
    from jukejax.benches.attention_layers import AttentionCase

LENGTHS = tuple(2**power for power in range(9, 18))
KINDS = ("1", "2", "3", "pattern", "dense", "dense3", "prime")
# Largest share of a device's memory for a run. Processes on CPUs keep freed memory
# (platform_flags.keep_memory): up to 2.2 times the compiler's figure was measured.
ROOM, CPU_ROOM = 0.7, 0.35


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config",
        "",
        "Take width, heads, length and rows of this shape of bench.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "seq_lens", [], f"Lengths; default: {LENGTHS[0]} to {LENGTHS[-1]}.", flag_values=values
    )
    flags.DEFINE_list(
        "kinds", ["1", "2", "3", "pattern", "dense", "dense3"], ", ".join(KINDS), flag_values=values
    )
    flags.DEFINE_integer(
        "width", 256, "Of the model; attention has a quarter of it.", 4, flag_values=values
    )
    flags.DEFINE_integer("num_heads", 4, "Attention heads.", 1, flag_values=values)
    flags.DEFINE_integer(
        "num_blocks", 0, "Rows of the grid; 0: near the square root.", 0, flag_values=values
    )
    flags.DEFINE_integer(
        "lyric_len", 384, "Lyric tokens, the keys of `prime`.", 1, flag_values=values
    )
    flags.DEFINE_integer("batch", 1, "Number of sequences.", 1, flag_values=values)
    flags.DEFINE_string(
        "dtype", "", "float32, bfloat16 or float16; default: the device's.", flag_values=values
    )
    flags.DEFINE_string("backend", "auto", "Backend of kinds 1, 2, 3 and 7.", flag_values=values)
    flags.DEFINE_string("dense_backend", "auto", "Backend of kind 0.", flag_values=values)
    flags.DEFINE_integer(
        "repeat", 15, "Timed runs at most; their median counts.", 1, flag_values=values
    )
    flags.DEFINE_float(
        "longest",
        20.0,
        "Seconds that one run may take, by the last length's.",
        0.1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "plot", "", "Draw time and memory against length into this PNG.", flag_values=values
    )
    flags.DEFINE_string(
        "pictures", "", "Only draw the masks of all kinds, into this folder.", flag_values=values
    )
    flags.DEFINE_string(
        "aot", "", "Only compile, for one such device: h200:1, v100:1, v5e:2x2.", flag_values=values
    )


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields a row for each length, kind and direction; then exponents, ratios and crossovers."""
    for name in values.kinds:
        if name not in KINDS:
            raise ValueError(f"--kinds has {name!r}; known: {', '.join(KINDS)}")
    if values.pictures:
        from jukejax.benches import attention_report

        for path in attention_report.draw_masks(Path(values.pictures)):
            yield common.make_row("attention", f"drew {path}")
    elif values.aot:
        yield from _compile_elsewhere(values)
    else:
        yield from _measure_here(values)


def _measure_here(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    platform_flags.keep_memory()  # as training does
    width, lengths = _choose_shape(values)["width"], _choose_lengths(values)
    platform_flags.set_defaults(width, lengths[-1])
    from jukejax.benches import attention_report
    from jukejax.benches.attention_layers import DIRECTIONS
    from jukejax.runtime.precision import default_dtype

    rows: list[dict[str, Any]] = []
    for case in list_cases(values, values.dtype or default_dtype()):
        for direction in DIRECTIONS:
            row = measure_case(values, case, direction, rows)
            rows.append(row)
            yield row
    yield from attention_report.compare_rows(rows)
    if values.plot:
        attention_report.plot_rows(Path(values.plot), rows)


def _choose_shape(values: flags.FlagValues) -> dict[str, int]:
    """Returns width, num_heads, num_blocks and seq_len: those of --config, else of the flags."""
    if not values.config:
        return {
            "width": values.width, "num_heads": values.num_heads,
            "num_blocks": values.num_blocks, "seq_len": 8192,
        }  # fmt: skip
    from jukejax.benches.shapes import TRANSFORMERS

    if values.config not in TRANSFORMERS:
        raise ValueError(f"--config={values.config!r} is none of {', '.join(TRANSFORMERS)}")
    shape = dict(TRANSFORMERS[values.config])
    fields = ("num_heads", "num_blocks", "seq_len")
    return {"width": int(shape["emb_dim"])} | {name: int(shape[name]) for name in fields}


def _choose_lengths(values: flags.FlagValues) -> list[int]:
    if values.seq_lens:
        return sorted(int(text) for text in values.seq_lens)
    return [_choose_shape(values)["seq_len"]] if values.config or values.aot else list(LENGTHS)


def list_cases(values: flags.FlagValues, dtype: str) -> "Iterator[AttentionCase]":
    """Yields the cases of the flags, shortest first, as times are predicted from shorter ones."""
    from jukejax.benches.attention_layers import AttentionCase

    shape = _choose_shape(values)
    for length in _choose_lengths(values):
        for kind in values.kinds:
            dense = kind.startswith("dense")
            yield AttentionCase(
                kind=kind,
                seq_len=length,
                width=shape["width"],
                num_heads=shape["num_heads"],
                num_blocks=shape["num_blocks"] or 2 ** int(math.log2(length) / 2),
                lyric_len=values.lyric_len,
                batch=values.batch,
                dtype=dtype,
                backend=values.dense_backend if dense else values.backend,
            )


def measure_case(
    values: flags.FlagValues,
    case: "AttentionCase",
    direction: str,
    measured_rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """Returns one row; without a time if the layers would not fit or take too long."""
    import jax
    import numpy as np

    from jukejax.benches import attention_layers
    from jukejax.runtime import devices, memory

    expected = predict_seconds(case, direction, measured_rows)
    if expected is not None and expected > values.longest:
        return make_case_row(case, direction, f"left out: about {expected:.0f} s a run")
    compiled, shapes, compile_seconds = attention_layers.compile_case(case, direction)
    need = common.count_program_bytes(compiled)
    costs = dict(compile_seconds=compile_seconds, peak_memory_bytes=need)
    capacity = memory.usable_bytes(jax.devices()[0])
    # NOTE: the compiler's figure for CPUs does not include all scores: for the forward pass of a
    # dense layer of 16,384 positions it is 0.9 GB, and the process used 7.4 GB.
    on_cpu = jax.default_backend() == "cpu"
    expected_bytes = max(need, 2 * case.score_bytes) if on_cpu else need
    if capacity and expected_bytes > capacity * (CPU_ROOM if on_cpu else ROOM):
        return make_case_row(
            case, direction, f"left out: needs {expected_bytes / 1e9:.0f} GB", **costs
        )
    random = np.random.default_rng(0)
    arguments = jax.tree.map(
        lambda leaf: jax.device_put(0.02 * random.standard_normal(leaf.shape)).astype(leaf.dtype),
        shapes,
    )
    platform_flags.release_memory()

    def time_run() -> float:
        return common.time_call(lambda: jax.block_until_ready(compiled(*arguments)))

    time_run()
    times = [time_run()]
    # At least three: a single run may be disturbed by other processes.
    while len(times) < values.repeat and (len(times) < 3 or sum(times) < values.longest / 4):
        times.append(time_run())
    low, seconds, high = (float(x) for x in np.quantile(times, (0.25, 0.5, 0.75)))
    speed = case.count_flops(direction) / seconds
    peak = devices.find_peak_flops(jax.devices()[0].device_kind, case.dtype)
    return make_case_row(
        case,
        direction,
        "attention",
        seconds=seconds,
        spread=(high - low) / seconds,
        tflops=speed / 1e12,
        tflops_useful=case.count_flops(direction, useful=True) / seconds / 1e12,
        peak_share=speed / peak if peak else None,
        **common.bound_by_flops(case.count_flops(direction, useful=True), case.dtype),
        **costs,
    )


def predict_seconds(
    case: "AttentionCase", direction: str, measured_rows: list[dict[str, Any]]
) -> float | None:
    """Predicts a run's time from the last measured length and the products that each needs."""
    for row in reversed(measured_rows):
        if (row["kind"], row["direction"]) == (case.kind, direction) and row["seconds"]:
            shorter = dataclasses.replace(
                case, seq_len=row["seq_len"], num_blocks=row["num_blocks"]
            )
            return row["seconds"] * case.count_flops(direction) / shorter.count_flops(direction)
    return None


def make_case_row(
    case: "AttentionCase", direction: str, what: str, **fields: Any
) -> dict[str, Any]:
    """Returns a row with all common fields, null for missing figures."""
    names = ("seconds", "spread", "compile_seconds", "peak_memory_bytes")
    rates = ("tflops", "tflops_useful", "peak_share", "bound", "bound_seconds")
    figures = dict.fromkeys((*names, *rates)) | fields
    return common.make_row(
        "attention",
        what,
        config=f"{case.width}x{case.num_heads}",
        device=figures.pop("device", None) or common.name_devices(),
        kind=case.kind,
        direction=direction,
        seq_len=case.seq_len,
        width=case.width,
        num_heads=case.num_heads,
        num_blocks=case.num_blocks,
        batch=case.batch,
        dtype=case.dtype,
        backend=case.backend,
        **figures,
    )


def _compile_elsewhere(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields rows of layers that are compiled for a device of the kind of --aot."""
    from jukejax.benches.aot import topologies

    topology = topologies.parse_topology(values.aot)
    topologies.set_up_compiler(topology)
    import jax
    import numpy as np

    from jukejax.benches.attention_layers import DIRECTIONS, compile_case

    device = topologies.describe_devices(topology)[0]
    mesh = jax.sharding.Mesh(np.array([device]), ("one",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    with jax.set_mesh(mesh):
        for case in list_cases(values, values.dtype or topology.default_dtype):
            for direction in DIRECTIONS:
                compiled, _, compile_seconds = compile_case(case, direction, sharding)
                text = compiled.as_text() or ""
                yield make_case_row(
                    case,
                    direction,
                    "compiled only",
                    device=str(topology),
                    compile_seconds=compile_seconds,
                    peak_memory_bytes=common.count_program_bytes(compiled),
                    kernels=sum(
                        name in line
                        for line in text.splitlines()
                        for name in ("tpu_custom_call", "__gpu$xla.gpu.triton")
                    ),
                )
