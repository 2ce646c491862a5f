"""Messages between devices in a compiled program, with the bytes that a device sends on a ring."""

import dataclasses
import math
import re
from collections import defaultdict

import numpy as np

from jukejax.benches.aot.hlo import Computation, Instruction, Module, walk_executions

KINDS = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collective:
    """Messages of one kind among groups of one size, of one device in a step.

    Attributes:
      kind: their opcode.
      group: number of devices in a group.
      between: True if some of these devices are on different slices.
      count: messages.
      bytes: sent by a device in all of them, on a ring.
    """

    kind: str
    group: int
    between: bool
    count: int
    bytes: int


def find_collectives(module: Module, slices: np.ndarray) -> list[Collective]:
    """Returns the messages of a program, added up by kind and group size; most bytes first.

    Args:
      slices: int [devices], the slice of each device, in the order of the program's mesh.
    """
    totals: dict[tuple[str, int, bool], list[int]] = defaultdict(lambda: [0, 0])
    for computation, instruction, times in walk_executions(module, into_fusions=True):
        if instruction.opcode == "send" and "megascale" in instruction.attributes:
            key, size = ("between slices", 2, True), computation.sum_operand_bytes(instruction)
        elif instruction.opcode.removesuffix("-start") in KINDS:
            groups = read_groups(instruction.attributes, len(slices))
            between = any(len(set(slices[group].tolist())) > 1 for group in groups)
            group = max(map(len, groups))
            kind, size = _measure_message(computation, instruction, group)
            key = kind, group, between
        else:
            continue
        if key[1] > 1 and times:
            totals[key][0] += times
            totals[key][1] += times * size
    collectives = [Collective(*key, *total) for key, total in totals.items()]
    return sorted(collectives, key=lambda collective: -collective.bytes)


def _measure_message(
    computation: Computation, instruction: Instruction, group: int
) -> tuple[str, int]:
    """Returns the kind of a message, and the bytes that a device sends on a ring of `group`."""
    kind = instruction.opcode.removesuffix("-start")
    operands, result = computation.sum_operand_bytes(instruction), instruction.bytes
    if instruction.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
        result -= operands  # the result repeats the operands
    if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # a TPU's fusion of an all-reduce and a slice
    others = (group - 1) / group
    sent = {
        "all-gather": result * others,
        "all-reduce": 2 * operands * others,
        "reduce-scatter": operands * others,
        "all-to-all": operands * others,
        "ragged-all-to-all": operands * others,
    }
    return kind, int(sent.get(kind, operands))


def read_groups(attributes: str, devices: int) -> list[list[int]]:
    """Returns the devices of each group of a message, from each notation that XLA prints."""
    listed = re.search(r"(?:source_target_pairs|replica_groups)=\{(\{.*?\})\}", attributes)
    if listed:
        return [_read_numbers(text) for text in re.findall(r"\{([\d,]+)\}", listed[1])]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes)
    if iota:
        shape, dims = _read_numbers(iota[1]), _read_numbers(iota[2])
        order = _read_numbers(iota[3]) if iota[3] else None
        return np.arange(math.prod(dims)).reshape(dims).transpose(order).reshape(shape).tolist()
    mesh = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, *device_ids=\(?\[([\d,]+)\](?:T\(([\d,]+)\))?\)?)?"
        r"\s*\{([^}]*)\}",
        attributes,
    )
    if mesh is None:
        return [list(range(devices))]
    axes = re.findall(r"'(\w+)'=(\d+)", mesh[1])
    names, sizes = [name for name, _ in axes], [int(size) for _, size in axes]
    ids = np.arange(math.prod(sizes))
    if mesh[2]:
        order = _read_numbers(mesh[3]) if mesh[3] else None
        ids = ids.reshape(_read_numbers(mesh[2])).transpose(order)
    inside = [names.index(name) for name in re.findall(r"'(\w+)'", mesh[4])]
    outside = [axis for axis in range(len(names)) if axis not in inside]
    size = math.prod(sizes[axis] for axis in inside)
    return ids.reshape(sizes).transpose(outside + inside).reshape(-1, size).tolist()


def _read_numbers(text: str) -> list[int]:
    return [int(value) for value in text.split(",") if value]
