"""A training step compiled for devices that are not here: what each of them holds, sends and does.

The step is the real one (`build_program`), with its shardings, donated buffers and optimizer.
Memory is the compiler's own figure; messages, products and memory traffic are counted in the
compiled text (`hlo_costs`); times are a roofline, not a measurement.
"""

import dataclasses
import re
import time
from collections import defaultdict
from collections.abc import Iterable

import jax
import numpy as np

from jukejax.benches.aot import hlo, hlo_costs, topologies
from jukejax.benches.aot.hlo_costs import Collective
from jukejax.runtime import devices as kinds
from jukejax.runtime import sharding
from jukejax.training.program import Program


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
      params, optimizer, ema, extra, batch: the step's arguments, by their shardings.
      padding: what the compiler's figure for the arguments has beyond these.
      temporaries: gradients, activations and buffers of messages.
      results: what the step returns in memory of its own (metrics; the state reuses its own).
      code: the program itself.
    """

    params: int
    optimizer: int
    ema: int
    extra: int
    batch: int
    padding: int
    temporaries: int
    results: int
    code: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds that a step needs at least for each of its resources, each at its peak.

    Attributes:
      compute: products, at the compute type's peak.
      memory: traffic to and from main memory.
      network: messages inside a slice or host, on one ring.
      between: messages between slices.
    """

    compute: float
    memory: float
    network: float
    between: float

    @property
    def overlapped(self) -> float:
        """All at once: no step can be faster."""
        return max(dataclasses.astuple(self))

    @property
    def in_turn(self) -> float:
        """One after the other."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class Report:
    """What a compiled step is.

    Attributes:
      memory: of one device; `capacity` is what it has, 0 if that is not known.
      collectives: messages of one device in a step.
      flops: operations of one device in products, recomputed ones included.
      model_flops: the model's share of them (see `flops`), of one device.
      traffic: bytes of one device to and from its memory.
      unknown_loops: loops that were counted once because the text does not tell their rounds.
      roofline: None where the device's peak is not known.
      compile_seconds: here.
    """

    memory: Memory
    capacity: float
    collectives: tuple[Collective, ...]
    flops: int
    model_flops: float
    traffic: int
    unknown_loops: int
    roofline: Roofline | None
    compile_seconds: float

    def mfu(self, seconds: float) -> float:
        """Model FLOPs utilisation of a step of so many seconds; needs a roofline."""
        ideal = self.roofline.compute * self.model_flops / self.flops if self.flops else 0.0
        return ideal / seconds if seconds else 0.0


def slices_of(program: Program) -> np.ndarray:
    """The slice of each device, in the order of the program's mesh."""
    flat = program.mesh.devices.flat
    return np.array([getattr(device, "slice_index", None) or 0 for device in flat])


def compile_step(program: Program) -> tuple[jax.stages.Compiled, float]:
    """The training step for the program's devices, and the seconds that it took.

    Raises:
      ValueError: it does not fit; with the compiler's figure.
    """
    start = time.perf_counter()
    try:
        compiled = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        raise ValueError(too_large(program, _figure(text))) from error
    return compiled, time.perf_counter() - start


def bytes_needed(compiled: jax.stages.Compiled) -> int:
    """Memory that a program needs by the compiler: arguments, results and temporaries."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )


def _figure(text: str) -> str:
    """Of a compiler's long complaint the sentences up to the first with a number of bytes."""
    said = text[max(0, text.find("Ran out of memory")) :]
    kept = []
    for sentence in re.split(r"(?<=\.) ", said):
        kept.append(sentence)
        if re.search(r"\d[KMGT]\b", sentence):
            break
    return " ".join(kept)


def too_large(program: Program, said: str) -> str:
    """One line for a step that does not fit its devices."""
    shape = " x ".join(f"{axis} {size}" for axis, size in program.mesh.shape.items())
    return (
        f"the step does not fit {program.mesh.size} devices ({shape}): {said} Take more devices, a "
        "smaller batch, more accumulate or mesh.fsdp, or remat 'full'"
    )


def inspect(
    program: Program,
    compiled: jax.stages.Compiled,
    *,
    topology: topologies.Topology,
    dtype: str,
    example_flops: float,
    compile_seconds: float,
) -> Report:
    """What a compiled step holds, sends and does.

    Args:
      dtype: compute type, for the device's peak.
      example_flops: of the model, forward and backward, for one example.

    Raises:
      ValueError: it needs more memory than the device has (not every compiler says so itself).
    """
    used = _memory(program, compiled)
    device = kinds.find(program.mesh.devices.flat[0].device_kind)
    capacity = device.memory if device else 0.0
    if device and used.total > capacity:
        said = f"it needs {used.total / 1e9:.2f} GB of {capacity / 1e9:.0f} GB."
        raise ValueError(too_large(program, said))
    module = hlo.parse(compiled.as_text())
    messages = hlo_costs.collectives(module, slices_of(program))
    work = hlo_costs.flops(module)
    traffic = hlo_costs.traffic(module)
    peak = device.peak_flops.get(dtype) if device else None
    roofline = None
    if peak:
        sent = {between: 0 for between in (False, True)}
        for message in messages:
            sent[message.between] += message.times * message.bytes
        roofline = Roofline(
            compute=work / peak,
            memory=traffic / device.bandwidth,
            network=sent[False] / topology.ring,
            between=sent[True] / topologies.BETWEEN_SLICES,
        )
    return Report(
        memory=used,
        capacity=capacity,
        collectives=tuple(messages),
        flops=work,
        model_flops=example_flops * program.recipe.batch_size / program.mesh.size,
        traffic=traffic,
        unknown_loops=hlo.unknown_loops(module),
        roofline=roofline,
        compile_seconds=compile_seconds,
    )


def _memory(program: Program, compiled: jax.stages.Compiled) -> Memory:
    found = compiled.memory_analysis()
    target = program.target
    parts = {
        "params": sharding.bytes_by_device(target.params),
        "optimizer": sharding.bytes_by_device(target.opt_state),
        "ema": sharding.bytes_by_device(target.ema_params),
        "extra": sharding.bytes_by_device(target.extra),
        "batch": sharding.bytes_by_device(program.batch_target()),
    }
    return Memory(
        **parts,
        padding=max(0, found.argument_size_in_bytes - sum(parts.values())),
        temporaries=found.temp_size_in_bytes,
        results=max(0, found.output_size_in_bytes - found.alias_size_in_bytes),
        code=found.generated_code_size_in_bytes,
    )


@dataclasses.dataclass(frozen=True)
class Messages:
    """Collectives of one kind among groups of one size, of one device in a step."""

    kind: str
    group: int
    between: bool
    count: int
    bytes: int


def by_kind(collectives: Iterable[Collective]) -> list[Messages]:
    """The same messages added up, most bytes first."""
    sums: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for one in collectives:
        found = sums[one.kind, one.group, one.between]
        found[0] += one.times
        found[1] += one.times * one.bytes
    rows = [Messages(*key, *value) for key, value in sums.items()]
    return sorted(rows, key=lambda row: -row.bytes)


def _size(value: float) -> str:
    """Bytes in words: 1.26 GB, 385 MB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:,.2f} {name}" if unit == 1e9 else f"{value / unit:,.0f} {name}"
    return f"{value:.0f} B"


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def lines(report: Report, *, tokens: int, devices: int) -> list[str]:
    """A report for people.

    Args:
      tokens: codes (or samples) of all devices in a step.
    """
    memory = report.memory
    names = {
        "params": "parameters", "optimizer": "optimizer", "ema": "averaged parameters",
        "extra": "codebooks", "batch": "batch", "padding": "padding and counters",
        "temporaries": "temporaries (gradients, activations, messages)",
        "results": "results", "code": "program",
    }  # fmt: skip
    out = ["memory of each device, by the compiler"]
    out += [
        f"  {_size(getattr(memory, field)):>10}  {name}"
        for field, name in names.items()
        if getattr(memory, field)
    ]
    share = f" of {_size(report.capacity)}" if report.capacity else ""
    out += [f"  {_size(memory.total):>10}  in all{share}"]
    out += ["messages of each device in a step (count, bytes sent, kind among how many devices)"]
    for row in by_kind(report.collectives):
        where = " between slices" if row.between and row.kind != "between slices" else ""
        out += [f"  {row.count:>6}  {_size(row.bytes):>10}  {row.kind} among {row.group}{where}"]
    if not report.collectives:
        out += ["  none"]
    out += [
        f"work of each device in a step: {report.flops / 1e12:,.3f} TFLOP in products (the model's "
        f"own share {report.model_flops / 1e12:,.3f}), {_size(report.traffic)} to and from memory"
    ]
    if report.unknown_loops:
        out += [f"  {report.unknown_loops} loop(s) of unknown length were counted once"]
    line = report.roofline
    if line is not None:
        best, worst = line.overlapped, line.in_turn
        out += [
            f"roofline, not measured: compute {_time(line.compute)}, memory {_time(line.memory)}, "
            f"network {_time(line.network)}, between slices {_time(line.between)}",
            f"  all at once: {_time(best)} a step, {tokens / best:,.0f} tokens/s, MFU "
            f"{report.mfu(best):.1%}",
            f"  one after the other: {_time(worst)} a step, {tokens / worst:,.0f} tokens/s, MFU "
            f"{report.mfu(worst):.1%}",
        ]
    return [*out, f"compiled here in {report.compile_seconds:.0f} s for {devices} devices"]
