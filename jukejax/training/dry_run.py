"""`train --dry_run`: the plan of a run as text, with the compiler's or the clock's word on it."""

import enum
import itertools
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.common.formatting import format_clock
from jukejax.runtime import devices, sharding
from jukejax.training import plan, program
from jukejax.training.plan import Plan
from jukejax.training.program import Program

MEASURED_STEPS = 3
_SIDE = 1024  # of the matrices that a CPU's speed is judged by
# What the plan is worked out for where the run's own devices are not known.
_EXAMPLES = (
    "V100-SXM2-32GB",
    "A100-SXM4-80GB",
    "H100",
    "H200",
    "TPU v4",
    "TPU v5 lite",
    "TPU v5",
    "TPU v6 lite",
)


class How(enum.StrEnum):
    """What the plan may cost: nothing, a compilation, or a compilation and a few steps."""

    PLAN = "plan"
    COMPILE = "compile"
    MEASURE = "measure"


def run(config: ConfigDict, how: str = "plan") -> Iterator[str]:
    """The lines of a plan; those that take time come last.

    Raises:
      ValueError: the config cannot be, or its mesh is not on this machine and `how` needs it.
    """
    how = How(how)
    made = plan.make_plan(config)
    if how != How.PLAN and not made.kind:
        raise ValueError(
            f"--dry_run={how} needs the mesh of {made.devices} devices here, and there are "
            f"{len(jax.devices())}; take --dry_run, or bench train --aot"
        )
    yield from format_lines(made, config.get("peak_flops"))
    if how == How.PLAN:
        return
    task = program.make_task(config, with_data=plan.has_data(config))
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    if how == How.COMPILE:
        yield from compiled_lines(built)
    else:
        yield from measured_lines(built, made, config)


def format_lines(made: Plan, peak_flops: float | None = None) -> Iterator[str]:
    """The plan itself.

    Args:
      peak_flops: FLOP/s of a device as the config gives it; None: by the table, or a trial.
    """
    shape = " x ".join(f"{axis} {size}" for axis, size in made.mesh.items())
    where = (
        f"{made.devices} x {made.kind}, here" if made.kind else f"{made.devices} devices, not here"
    )
    yield f"{made.task} in {made.dtype} on {where} (mesh {shape})"
    if made.open_axis:
        yield f"mesh.{made.open_axis} is -1: planned for the fewest devices; give it a number"
    yield ""
    yield _row("parameters", f"{sum(made.parameters.values()):,}")
    for name, count in made.parameters.items():
        yield _row(f"  {name}", f"{count:,}")
    yield ""
    needed = sum(made.memory.values())
    yield _row("memory of each device", size(needed), _room(needed, made.device_memory))
    for name, amount in made.memory.items():
        note = ""
        if name == "activations":
            policy = f"remat {made.remat}, " if made.remat else ""
            note = f"estimate; {policy}{made.part_size} example(s) at a time"
        yield _row(f"  {name}", size(amount), note)
    yield ""
    unit = "samples" if made.task == "vqvae" else "tokens"
    yield _row("a step", f"{made.batch_size:,} windows", f"{made.tokens:,} {unit}")
    yield _row(
        "FLOPs of a step", f"{made.step_flops:.3g}", "forward and backward, no recomputation"
    )
    for name, amount in made.work.items():
        yield _row(f"  {name}", f"{amount:.3g}")
    yield ""
    yield _row("the run", f"{made.steps:,} steps", _epochs(made))
    yield from _time_lines(made, peak_flops)


def _time_lines(made: Plan, peak_flops: float | None) -> Iterator[str]:
    share = f"{100 * plan.ASSUMED_MFU:.0f} % MFU assumed"
    if peak_flops:
        yield from cost(made, made.seconds_per_step(peak_flops), f"config.peak_flops, {share}")
        return
    if made.kind:
        peak = devices.find_peak_flops(made.kind, made.dtype)
        source = f"peak {(peak or 0) / 1e12:,.0f} TFLOP/s of {made.kind}, {share}"
        if peak is None:
            peak = product_flops()
            source = f"{peak / 1e9:,.0f} GFLOP/s in a float32 product, tried now; {share}"
        yield from cost(made, made.seconds_per_step(peak), source)
    if made.kind and devices.find_device(made.kind):
        return
    yield ""
    yield f"elsewhere, on {made.devices} device(s) in {made.dtype}, {share}:"
    needed = sum(made.memory.values())
    for kind in _EXAMPLES:
        device = devices.find_device(kind)
        peak = device.peak_flops.get(made.dtype)
        if peak is None:
            yield _row(f"  {device.name}", "-", f"has no {made.dtype}")
        else:
            took = duration(made.steps * made.seconds_per_step(peak))
            yield _row(f"  {device.name}", took, _room(needed, device.memory))


def cost(made: Plan, seconds_per_step: float, source: str) -> Iterator[str]:
    """Steps an hour, and what the whole run costs."""
    seconds = made.steps * seconds_per_step
    yield _row("steps an hour", figure(3600 / seconds_per_step), source)
    device_hours = f"{seconds / 3600 * made.devices:,.2f} device-hours, for all its steps"
    yield _row("cost", duration(seconds), device_hours)


def compiled_lines(built: Program) -> Iterator[str]:
    """The compiler's figures of the real step."""
    began = time.monotonic()
    found = built.lower().compile().memory_analysis()
    took = format_clock(time.monotonic() - began)
    if found is None:
        yield f"compiled in {took}; this backend says nothing of memory"
        return
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    yield ""
    yield _row("the compiler's figure", size(held + found.temp_size_in_bytes), f"after {took}")
    yield _row("  state and batch", size(held))
    yield _row("  while a step runs", size(found.temp_size_in_bytes))


def measured_lines(built: Program, made: Plan, config: ConfigDict) -> Iterator[str]:
    """The real step, compiled and run a few times, on the run's own data if they are here."""
    key = jax.random.key(config.seed)
    real = built.task.epoch_size > 0
    with jax.set_mesh(built.mesh):
        run_state = built.init(key)
        batches = _batches(built, config, real)
        seconds = []
        for batch in itertools.islice(batches, MEASURED_STEPS + 1):
            placed = jax.block_until_ready(sharding.put_batch(built.mesh, batch))
            began = time.monotonic()
            run_state, _ = jax.block_until_ready(built.update(run_state, placed, key))
            seconds.append(time.monotonic() - began)
        if hasattr(batches, "close"):
            batches.close()
    what = "the run's own data" if real else "made-up data"
    best = min(seconds[1:])
    yield ""
    yield _row("first step", format_clock(seconds[0]), "compilation included")
    yield from cost(made, best, f"measured: the best of {MEASURED_STEPS} steps on {what}")


def _batches(built: Program, config, real: bool):
    rows = sharding.batch_rows(built.mesh, config.data.batch_size)
    if real:
        return built.task.open_batches("train", rows)
    generator = np.random.default_rng(0)
    shapes = built.task.batch_shapes(len(rows))

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if np.issubdtype(leaf.dtype, np.integer):
            return np.zeros(leaf.shape, leaf.dtype)
        return generator.standard_normal(leaf.shape).astype(leaf.dtype)

    return itertools.repeat({name: draw(leaf) for name, leaf in shapes.items()})


def product_flops() -> float:
    """FLOP/s of one device of this process in the best of a few float32 matrix products."""
    matrix = jnp.ones((_SIDE, _SIDE))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(matrix))
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(product(matrix))
        best = min(best, time.perf_counter() - began)
    return 2.0 * _SIDE**3 / best


def size(amount: float) -> str:
    """Bytes in GB or MB."""
    return f"{amount / 1e9:,.2f} GB" if amount >= 1e8 else f"{amount / 1e6:,.2f} MB"


def figure(value: float) -> str:
    """Three digits or more, without powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """In hours, minutes or seconds."""
    if seconds < 100:
        return f"{seconds:.1f} seconds"
    return f"{seconds / 3600:,.1f} hours" if seconds >= 6000 else f"{seconds / 60:.1f} minutes"


def _room(needed: float, memory: float | None) -> str:
    if memory is None:
        return ""
    return f"{'fits into' if needed < memory else 'MORE THAN'} {size(memory)}"


def _epochs(made: Plan) -> str:
    if made.epochs is not None:
        return f"{figure(made.epochs)} epochs: so often is each window seen"
    return f"no data at {made.data!r}: epochs unknown" if made.data else "no data.folder given"


def _row(name: str, value: str, note: str = "") -> str:
    return f"{name:<36}{value:>16}  {note}".rstrip()
