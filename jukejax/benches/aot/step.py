"""Memory, messages and a roofline of a training step compiled for devices of other machines.

The step is that of training (`build_program`), with its shardings, donated buffers and optimizer.
Memory is the compiler's figure, messages are those of the compiled text; times are a roofline, not
a measurement.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jukejax.benches import training_step
from jukejax.benches.aot import hlo, topologies, traffic
from jukejax.benches.aot.collectives import Collective, find_collectives
from jukejax.common.formatting import format_bytes, format_count
from jukejax.runtime import devices, sharding
from jukejax.training.program import Program

# The parts of a step's memory, by their names in JSON.
MEMORY_PARTS = {
    "params": "parameters", "optimizer": "optimizer", "ema": "averaged parameters",
    "extra": "codebooks", "batch": "batch", "padding": "padding and counters",
    "temporaries": "temporaries (gradients, activations, messages)",
    "results": "results", "code": "program",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least seconds of a step for each resource at its peak, and derived figures.

    Attributes:
      compute: products, at the compute type's peak.
      memory: traffic to and from main memory; None without a figure of the compiler (GPUs).
      network, between: messages inside a slice or host, on one ring; between slices.
      seconds_overlapped, seconds_in_turn: of a step that uses all concurrently, and in turn.
      mfu_at_most, mfu_in_turn: the model's share of the peak in these.
    """

    compute: float
    memory: float | None
    network: float
    between: float
    seconds_overlapped: float
    seconds_in_turn: float
    tokens_per_s_at_most: float
    mfu_at_most: float
    mfu_in_turn: float


@dataclasses.dataclass(frozen=True)
class StepReport:
    """Costs of a compiled step on one device; the fields are those of the bench's JSON.

    Attributes:
      memory: bytes by MEMORY_PARTS; capacity_bytes: the device's, 0 if not known.
      flops: operations in products, recomputed ones included; model_flops: the model's share.
      traffic_bytes: to and from main memory, estimated; None where the compiler tells no figure.
      kernels, kernel_bytes: kernels that a step starts, and the bytes that they read and write.
      unknown_loops: loops of unknown length, whose messages were counted once.
      roofline: None where the device's peak is not known.
    """

    mesh: dict[str, int]
    memory: dict[str, int]
    capacity_bytes: float
    collectives: list[Collective]
    flops: float
    model_flops: float
    traffic_bytes: int | None
    kernels: int
    kernel_bytes: int
    unknown_loops: int
    roofline: Roofline | None


def inspect_step(
    program: Program,
    compiled: jax.stages.Compiled,
    *,
    topology: topologies.Topology,
    dtype: str,
    example_flops: float,
) -> StepReport:
    """Reads the costs of a program's compiled training step.

    Args:
      program: built for the devices of `topology`.
      dtype: compute type, for the device's peak.
      example_flops: of the model, forward and backward, for one example.

    Raises:
      ValueError: the step exceeds the memory of the device (which not every compiler reports).
    """
    memory = measure_memory(program, compiled)
    total = sum(memory.values())
    device = devices.find_device(program.mesh.devices.flat[0].device_kind)
    if device and total > device.memory:
        figure = f"it needs {total / 1e9:.2f} GB of {device.memory / 1e9:.0f} GB."
        raise ValueError(training_step.format_too_large(program, figure))
    module = hlo.parse_module(compiled.as_text() or "")
    slices = [getattr(d, "slice_index", None) or 0 for d in program.mesh.devices.flat]
    report = StepReport(
        mesh=dict(program.mesh.shape),
        memory=memory,
        capacity_bytes=device.memory if device else 0.0,
        collectives=find_collectives(module, np.array(slices)),
        flops=count_flops(trace_step(program)) / program.mesh.size,
        model_flops=example_flops * program.recipe.batch_size / program.mesh.size,
        traffic_bytes=None,
        kernels=hlo.count_kernels(module),
        kernel_bytes=traffic.count_kernel_bytes(module),
        unknown_loops=sum(
            hlo.find_trip_count(module, loop) is None for loop in hlo.find_loops(module)
        ),
        roofline=None,
    )
    report = dataclasses.replace(report, traffic_bytes=_estimate_traffic(compiled, report.flops))
    if device is None or dtype not in device.peak_flops:
        return report
    tokens = program.recipe.batch_size * program.task.example_codes
    return dataclasses.replace(
        report, roofline=_estimate_times(report, device, dtype, topology.ring, tokens)
    )


def _estimate_times(
    report: StepReport, device: devices.Device, dtype: str, ring: float, tokens: int
) -> Roofline:
    peak = device.peak_flops[dtype]
    sent = {between: 0 for between in (False, True)}
    for message in report.collectives:
        sent[message.between] += message.bytes
    compute, network = report.flops / peak, sent[False] / ring
    memory = report.traffic_bytes / device.bandwidth if report.traffic_bytes else None
    between = sent[True] / topologies.BETWEEN_SLICES
    seconds = [compute, memory or 0.0, network, between]
    return Roofline(
        compute=compute,
        memory=memory,
        network=network,
        between=between,
        seconds_overlapped=max(seconds),
        seconds_in_turn=sum(seconds),
        tokens_per_s_at_most=tokens / max(seconds),
        mfu_at_most=report.model_flops / peak / max(seconds),
        mfu_in_turn=report.model_flops / peak / sum(seconds),
    )


def _estimate_traffic(compiled: jax.stages.Compiled, flops: float) -> int | None:
    """Estimates the bytes to and from main memory; None without a figure of the compiler (GPUs).

    It is an upper estimate, as it includes arrays that stay on the chip (for the 5b prior on v5e,
    it is twice the actual traffic). `cost_analysis` counts the bodies of loops once. Except for the
    optimizer, traffic is in loops as often as products are: all traffic but that of the arguments,
    which are read and written once, is scaled by the ratio of the products of all iterations to
    those of the analysis.
    """
    costs = compiled.cost_analysis()
    if not costs:
        return None
    sizes: Any = compiled.memory_analysis()
    outside = min(2 * sizes.argument_size_in_bytes, costs["bytes accessed"])
    inside = costs["bytes accessed"] - outside
    return int(outside + inside * max(1.0, flops / costs["flops"]))


def measure_memory(program: Program, compiled: jax.stages.Compiled) -> dict[str, int]:
    """Returns bytes on one device by MEMORY_PARTS; the first five by the arguments' shardings."""
    sizes: Any = compiled.memory_analysis()
    target = program.target
    arguments = {
        "params": sharding.bytes_by_device(target.params),
        "optimizer": sharding.bytes_by_device(target.opt_state),
        "ema": sharding.bytes_by_device(target.ema_params),
        "extra": sharding.bytes_by_device(target.extra),
        "batch": sharding.bytes_by_device(program.batch_target()),
    }
    return arguments | {
        "padding": max(0, sizes.argument_size_in_bytes - sum(arguments.values())),
        "temporaries": sizes.temp_size_in_bytes,
        "results": max(0, sizes.output_size_in_bytes - sizes.alias_size_in_bytes),
        "code": sizes.generated_code_size_in_bytes,
    }


def trace_step(program: Program) -> core.Jaxpr:
    """Traces a program's training step."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.set_mesh(program.mesh):
        return jax.make_jaxpr(program.update)(program.target, program.batch_target(), key).jaxpr


def count_flops(jaxpr: core.Jaxpr) -> float:
    """Counts the operations of a traced program's matrix products and convolutions.

    The count is for all devices together, with scans multiplied by their length. It includes taps
    on padding and every branch of a `cond`.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        params, times = equation.params, 1
        inputs: list[Any] = [variable.aval for variable in equation.invars]
        result: Any = equation.outvars[0].aval if equation.outvars else None
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            inner = math.prod(inputs[0].shape[axis] for axis in contracted)
            total += 2.0 * result.size * inner
        elif equation.primitive.name == "conv_general_dilated":
            taps = inputs[1].size / inputs[1].shape[params["dimension_numbers"].rhs_spec[0]]
            taps /= math.prod(params["lhs_dilation"]) * params["batch_group_count"]
            total += 2.0 * result.size * taps
        elif equation.primitive.name == "scan":
            times = params["length"]
        elif equation.primitive.name == "pallas_call":
            times = math.prod(params["grid_mapping"].grid)
        elif equation.primitive.name == "shard_map":
            times = params["mesh"].size
        for value in jax.tree.leaves(list(params.values())):
            if isinstance(value, core.ClosedJaxpr):
                value = value.jaxpr
            if isinstance(value, core.Jaxpr):
                total += times * count_flops(value)
    return total


def format_report(report: StepReport) -> list[str]:
    """Formats a report as lines of text."""
    sizes = {text: report.memory[part] for part, text in MEMORY_PARTS.items()}
    capacity = f" of {format_bytes(report.capacity_bytes)}" if report.capacity_bytes else ""
    sizes[f"in all{capacity}"] = sum(report.memory.values())
    lines = ["memory of each device, by the compiler"]
    lines += [f"  {format_bytes(size):>10}  {text}" for text, size in sizes.items() if size]
    lines += ["messages of each device in a step (count, bytes sent, kind among how many devices)"]
    for row in report.collectives:
        scope = " between slices" if row.between and row.kind != "between slices" else ""
        size = format_bytes(row.bytes)
        lines += [f"  {row.count:>6}  {size:>10}  {row.kind} among {row.group}{scope}"]
    lines += [] if report.collectives else ["  none"]
    traffic_bytes = report.traffic_bytes
    lines += [
        f"work of each device in a step: {report.flops / 1e12:,.3f} TFLOP in products (the model's "
        f"own share {report.model_flops / 1e12:,.3f})"
        + (f", about {format_bytes(traffic_bytes)} to and from memory" if traffic_bytes else ""),
        f"  {format_count(report.kernels, 'kernel')}, which read and write "
        f"{format_bytes(report.kernel_bytes)} (caches of the device not considered)",
    ]
    if report.unknown_loops:
        loops = format_count(report.unknown_loops, "loop")
        lines += [f"  counted once, as the length is unknown: {loops}"]
    if (roofline := report.roofline) is not None:
        memory = "not known" if roofline.memory is None else f"{roofline.memory:.3g} s"
        fastest, slowest = roofline.seconds_overlapped, roofline.seconds_in_turn
        tokens = roofline.tokens_per_s_at_most
        lines += [
            f"roofline, not measured: compute {roofline.compute:.3g} s, "
            f"memory {memory}, network {roofline.network:.3g} s, between slices "
            f"{roofline.between:.3g} s",
            f"  all at once: {fastest:.3g} s a step, {tokens:,.0f} tokens/s, MFU "
            f"{roofline.mfu_at_most:.1%}",
            f"  one after the other: {slowest:.3g} s a step, "
            f"{tokens * fastest / slowest:,.0f} tokens/s, MFU {roofline.mfu_in_turn:.1%}",
        ]
    return lines
