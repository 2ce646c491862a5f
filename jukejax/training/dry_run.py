"""The output of `train --dry_run`: the plan of a run, with compiled or measured figures."""

import enum
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.common.formatting import format_bytes, format_clock, format_count, format_duration
from jukejax.runtime import devices, sharding
from jukejax.training import plan, program
from jukejax.training.plan import Plan
from jukejax.training.program import Program

MEASURED_STEPS = 3
_SIDE = 1024  # side of the square matrices whose product is timed on a CPU
# Devices to estimate times for where the mesh is not on this machine, or its peak is not tabulated.
_EXAMPLE_KINDS = (
    "V100-SXM2-32GB",
    "A100-SXM4-80GB",
    "H100",
    "H200",
    "TPU v4",
    "TPU v5 lite",
    "TPU v5",
    "TPU v6 lite",
)


class DryRun(enum.StrEnum):
    """Selects the figures of a dry run: computed, those of a compilation, or measured steps."""

    PLAN = "plan"
    COMPILE = "compile"
    MEASURE = "measure"


def plan_run(config: ConfigDict, mode: str = "plan") -> Iterator[str]:
    """Yields the lines of a dry run, those that take the longest last.

    Args:
      mode: a value of `DryRun`.

    Raises:
      ValueError: the config is not valid, or its mesh is not on this machine and `mode` needs it.
    """
    mode = DryRun(mode)
    planned = plan.make_plan(config)
    if mode != DryRun.PLAN and not planned.kind:
        number = format_count(planned.devices, "device")
        raise ValueError(
            f"--dry_run={mode} needs the mesh of {number} here, and "
            f"this machine has {len(jax.devices())}; take --dry_run, or bench train --aot"
        )
    yield from format_plan(planned, config.get("peak_flops"))
    if mode == DryRun.PLAN:
        return
    task = program.make_task(config, with_data=plan.has_data(config))
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    if mode == DryRun.COMPILE:
        yield from report_compilation(built)
    else:
        yield from report_measurement(built, planned, config)


def format_plan(planned: Plan, peak_flops: float | None = None) -> Iterator[str]:
    """Yields the lines of a plan that need no compilation.

    Args:
      peak_flops: FLOP/s of one device; None: the tabulated peak, or on a CPU a measured one.
    """
    shape = " x ".join(f"{axis} {size}" for axis, size in planned.mesh.items())
    placement = (
        f"{planned.devices} x {planned.kind}, here"
        if planned.kind
        else f"{format_count(planned.devices, 'device')}, not here"
    )
    yield f"{planned.task} in {planned.dtype} on {placement} (mesh {shape})"
    if planned.open_axis:
        yield f"mesh.{planned.open_axis} is -1: planned for the fewest devices; give it a number"
    yield ""
    yield _row("parameters", f"{sum(planned.parameters.values()):,}")
    for name, count in planned.parameters.items():
        yield _row(f"  {name}", f"{count:,}")
    yield ""
    needed = sum(planned.memory.values())
    capacity = _compare_memory(needed, planned.device_memory)
    yield _row("memory of each device", format_bytes(needed), capacity)
    for name, amount in planned.memory.items():
        note = ""
        if name == "activations":
            policy = f"remat {planned.remat}, " if planned.remat else ""
            note = f"estimate; {policy}{format_count(planned.part_size, 'example')} at a time"
        yield _row(f"  {name}", format_bytes(amount), note)
    for name, amount in planned.host_memory.items():
        yield _row(f"  {name}, on the host", format_bytes(amount), "copied in every step")
    if planned.savings:
        yield "with one of these settings:"
    for saving in planned.savings:
        note = f"{saving.part}, instead of {format_bytes(saving.current)}"
        yield _row(f"  {saving.setting}", format_bytes(saving.changed), note)
    yield ""
    unit = "samples" if planned.task == "vqvae" else "tokens"
    yield _row("a step", format_count(planned.batch_size, "window"), f"{planned.tokens:,} {unit}")
    yield _row(
        "FLOPs of a step", f"{planned.step_flops:.3g}", "forward and backward, no recomputation"
    )
    for name, work in planned.work.items():
        yield _row(f"  {name}", f"{work:.3g}")
    yield ""
    yield _row("the run", format_count(planned.steps, "step"), _describe_epochs(planned))
    yield from planned.short_tracks
    yield _row("learning rate", "", planned.rate)
    for line in planned.warnings:
        yield f"warning: {line}"
    yield from _format_times(planned, peak_flops)


def _format_times(planned: Plan, peak_flops: float | None) -> Iterator[str]:
    shares = devices.find_utilization(planned.kind)
    if peak_flops:
        source = f"config.peak_flops at {_format_shares(shares)}"
        yield from format_cost(planned, _step_range(planned, peak_flops, shares), source)
        return
    if planned.kind:
        peak = devices.find_peak_flops(planned.kind, planned.dtype)
        source = f"{(peak or 0) / 1e12:,.0f} TFLOP/s of {planned.kind} at {_format_shares(shares)}"
        if peak is None:
            peak = measure_product_flops()
            source = f"{peak / 1e9:,.0f} GFLOP/s in a float32 product, measured now, at "
            source += _format_shares(shares)
        yield from format_cost(planned, _step_range(planned, peak, shares), source)
    if planned.kind and devices.find_device(planned.kind):
        return
    yield ""
    number = format_count(planned.devices, "device")
    yield f"elsewhere, on {number} in {planned.dtype}, estimated by their MFU:"
    needed = sum(planned.memory.values())
    for kind in _EXAMPLE_KINDS:
        device = devices.find_device(kind)
        assert device is not None
        peak = device.peak_flops.get(planned.dtype)
        if peak is None:
            yield _row(f"  {device.name}", "-", f"has no {planned.dtype}")
            continue
        shares = devices.find_utilization(kind)
        run_times = [planned.steps * time for time in _step_range(planned, peak, shares)]
        note = f"{_format_shares(shares)}; {_compare_memory(needed, device.memory)}"
        yield _row(f"  {device.name}", format_range(run_times, format_duration), note)


def _format_shares(shares: tuple[float, float]) -> str:
    return f"{100 * shares[0]:.0f} to {100 * shares[1]:.0f} % MFU"


def _step_range(planned: Plan, peak: float, shares: tuple[float, float]) -> list[float]:
    """Returns the seconds of a step at the highest and at the lowest MFU."""
    return [planned.seconds_per_step(peak, share) for share in sorted(shares, reverse=True)]


def format_range(values: Sequence[float], format_value: Callable[[float], str]) -> str:
    """Formats one value, or the range of two: `1.7 to 5.7 days`."""
    low, high = (format_value(values[i]) for i in (0, -1))
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    is_same_unit = " " not in unit and high.endswith(f" {unit}") and high.count(" ") == 1
    return f"{number if unit and is_same_unit else low} to {high}"


def format_cost(planned: Plan, seconds_per_step: Sequence[float], source: str) -> Iterator[str]:
    """Yields the lines with the steps an hour and the device time of the run.

    Args:
      seconds_per_step: one measured value, or the lowest and the highest of an estimate.
    """
    speeds = [3600 / seconds for seconds in reversed(seconds_per_step)]
    run_times = [planned.steps * seconds for seconds in seconds_per_step]
    device_times = [planned.devices * seconds for seconds in run_times]
    yield _row("steps an hour", format_range(speeds, format_figure), source)
    note = ""
    if planned.devices > 1:
        total = format_range(device_times, format_duration)
        note = f"of {planned.devices} devices together: {total}"
    yield _row("time of all steps", format_range(run_times, format_duration), note)


def report_compilation(built: Program) -> Iterator[str]:
    """Compiles the training step, and yields lines with the compiler's figures of its memory."""
    started_at = time.monotonic()
    analysis = built.lower().compile().memory_analysis()
    duration = format_clock(time.monotonic() - started_at)
    if analysis is None:
        yield f"compiled in {duration}; this backend reports no memory figures"
        return
    state_size = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    state_size -= analysis.alias_size_in_bytes
    total = state_size + analysis.temp_size_in_bytes
    yield ""
    yield _row("the compiler's figure", format_bytes(total), f"after {duration}")
    yield _row("  state and batch", format_bytes(state_size))
    yield _row("  while a step runs", format_bytes(analysis.temp_size_in_bytes))


def report_measurement(built: Program, planned: Plan, config: ConfigDict) -> Iterator[str]:
    """Runs a few training steps, and yields lines with their times.

    The batches are those of the run's data if the data is on this machine, else random.
    """
    key = jax.random.key(config.seed)
    has_data = built.task.epoch_size > 0
    with jax.set_mesh(built.mesh):
        run_state = built.init(key)
        batches = _open_batches(built, config, has_data)
        seconds = []
        for batch in itertools.islice(batches, MEASURED_STEPS + 1):
            placed = jax.block_until_ready(sharding.put_batch(built.mesh, batch))
            started_at = time.monotonic()
            run_state, _ = jax.block_until_ready(built.update(run_state, placed, key))
            seconds.append(time.monotonic() - started_at)
        if hasattr(batches, "close"):
            batches.close()
    source = "the run's own data" if has_data else "random data"
    best = min(seconds[1:])
    yield ""
    yield _row("first step", format_clock(seconds[0]), "compilation included")
    yield from format_cost(
        planned, [best], f"measured: the best of {MEASURED_STEPS} steps on {source}"
    )


def _open_batches(
    built: Program, config: ConfigDict, has_data: bool
) -> Iterator[dict[str, np.ndarray]]:
    rows = sharding.batch_rows(built.mesh, config.data.batch_size)
    if has_data:
        return built.task.open_batches("train", rows)
    generator = np.random.default_rng(0)
    shapes = built.task.batch_shapes(len(rows))

    def make_array(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if np.issubdtype(leaf.dtype, np.integer):
            return np.zeros(leaf.shape, leaf.dtype)
        return generator.standard_normal(leaf.shape).astype(leaf.dtype)

    return itertools.repeat({name: make_array(leaf) for name, leaf in shapes.items()})


def measure_product_flops() -> float:
    """Measures the FLOP/s of one device in float32 matrix products, the fastest of five."""
    matrix = jnp.ones((_SIDE, _SIDE))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(matrix))
    best = math.inf
    for _ in range(5):
        started_at = time.perf_counter()
        jax.block_until_ready(product(matrix))
        best = min(best, time.perf_counter() - started_at)
    return 2.0 * _SIDE**3 / best


def format_figure(value: float) -> str:
    """Formats a number with three significant digits or more, without an exponent if above 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _compare_memory(needed: float, memory: float | None) -> str:
    if memory is None:
        return ""
    return f"{'fits into' if needed < memory else 'MORE THAN'} {format_bytes(memory)}"


def _describe_epochs(planned: Plan) -> str:
    if planned.epochs is not None:
        return f"{format_figure(planned.epochs)} epochs: passes over the windows"
    return (
        f"no data at {planned.data!r}: epochs unknown" if planned.data else "no data.folder given"
    )


def _row(name: str, value: str, note: str = "") -> str:
    width = min(36, 51 - len(value))  # a long value takes room from the name
    return f"{name:<{width}}{value:>{52 - width}}  {note}".rstrip()
