"""What a compiled program costs, read from its text: products, memory traffic, messages.

XLA's own cost analysis counts the body of a loop once; here a body counts as often as it runs. All
figures are those of one device.
"""

import dataclasses
import math
import re

import numpy as np

from jukejax.benches.aot.hlo import Computation, Instruction, Module, walk

# -- Products ----------------------------------------------------------------------------------


def _positions(size: int, window: dict[str, list], axis: int, length: int, outputs: int) -> int:
    """Pairs of an output position and a tap that meet an element of the input, not its padding."""
    stride, low = window["stride"][axis], window["pad"][axis][0]
    dilation, taps = window["lhs_dilate"][axis], window["rhs_dilate"][axis]
    last = (length - 1) * dilation
    met = 0
    for tap in range(size):
        # position(o) = o * stride - low + tap * taps, in 0 .. last, a multiple of dilation
        offset = tap * taps - low
        first = max(0, -(offset // stride))
        final = min(outputs - 1, (last - offset) // stride) if last >= offset else -1
        if final < first:
            continue
        period = dilation // math.gcd(stride, dilation)
        start = next(
            (
                o
                for o in range(first, min(final, first + period) + 1)
                if (o * stride + offset) % dilation == 0
            ),
            None,
        )
        met += 0 if start is None else (final - start) // period + 1
    return met


def _window(instruction: Instruction, axes: int) -> dict[str, list]:
    text = instruction.attribute("window")

    def numbers(name, default):
        found = re.search(rf"\b{name}=([\dx_\-]+)", text)
        return found.group(1).split("x") if found else [default] * axes

    return {
        name: [int(value) for value in numbers(name, "1")]
        for name in ("size", "stride", "lhs_dilate", "rhs_dilate")
    } | {"pad": [[int(v) for v in pair.split("_")] for pair in numbers("pad", "0_0")]}


def _convolution_flops(computation: Computation, instruction: Instruction) -> int:
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    left, right = computation.operand(instruction, 0), computation.operand(instruction, 1)
    if labels is None or left is None or right is None:
        return 0
    lhs, rhs, out = labels.groups()
    left, right = left.arrays[0].dims, right.arrays[0].dims
    result = instruction.arrays[0].dims
    spatial = [label for label in out if label.isdigit()]
    window = _window(instruction, len(spatial))
    products = result[out.index("b")] * result[out.index("f")] * right[rhs.index("i")]
    for label in spatial:
        axis = int(label)
        size = window["size"][axis] if axis < len(window["size"]) else 1
        products *= _positions(size, window, axis, left[lhs.index(label)], result[out.index(label)])
    return 2 * products


def _dot_flops(computation: Computation, instruction: Instruction) -> int:
    contracted = [int(x) for x in instruction.attribute("lhs_contracting_dims").split(",") if x]
    left = computation.operand(instruction, 0)
    inner = math.prod(left.arrays[0].dims[axis] for axis in contracted)
    return 2 * math.prod(instruction.arrays[0].dims) * inner


def _library_flops(computation: Computation, instruction: Instruction) -> int:
    """Of cuBLAS and cuDNN calls, whose first result is the product."""
    if "gemm" in instruction.attributes or "cublas" in instruction.attributes:
        found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes)
        left = computation.operand(instruction, 0)
        if found is None or left is None:
            return 0
        axes = [int(x) for x in re.findall(r"\d+", found.group(1))]
        inner = math.prod(left.arrays[0].dims[axis] for axis in axes)
        return 2 * math.prod(instruction.arrays[0].dims) * inner
    if "__cudnn$convForward" in instruction.attributes:
        return _convolution_flops(computation, instruction)
    if "__cudnn$conv" in instruction.attributes:  # a gradient: as many products as the forward's
        labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
        kernel, other = computation.operand(instruction, 1), computation.operand(instruction, 0)
        if labels is None or kernel is None or other is None:
            return 0
        if "BackwardFilter" in instruction.attributes:
            kernel_dims, positions = instruction.arrays[0].dims, kernel.arrays[0].dims
        else:
            kernel_dims, positions = kernel.arrays[0].dims, other.arrays[0].dims
        out = labels.group(3)
        outside = math.prod(positions) // positions[out.index("f")]
        return 2 * outside * math.prod(kernel_dims)
    return 0


_FLOPS = {"dot": _dot_flops, "convolution": _convolution_flops, "custom-call": _library_flops}


def flops(module: Module) -> int:
    """Floating-point operations of all matrix products and convolutions."""
    return sum(
        times * _FLOPS[instruction.opcode](computation, instruction)
        for computation, instruction, times, _ in walk(module, into_fusions=True)
        if instruction.opcode in _FLOPS
    )


# -- Memory traffic ----------------------------------------------------------------------------

# What moves nothing by itself; loops and calls are walked.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency",
    "async-start", "async-update",
}  # fmt: skip
_SLICING = ("dynamic-slice", "slice", "gather")


def traffic(module: Module) -> int:
    """Bytes read from and written to the device's main memory.

    Inside a fusion nothing is; of an array that it only takes slices of, the slices count, and so
    does the update of an array that it changes in place.
    """
    return sum(
        times * _moved(module, computation, instruction)
        for computation, instruction, times, _ in walk(module, into_fusions=False)
        if instruction.opcode not in _FREE and not instruction.opcode.endswith("-done")
    )


def _moved(module: Module, computation: Computation, instruction: Instruction) -> int:
    operands = [computation.instructions.get(name) for name in instruction.operands]
    read = [operand.slow_bytes if operand else 0 for operand in operands]
    written = instruction.slow_bytes
    if instruction.opcode == "custom-call" and "__cu" in instruction.attributes:
        written = instruction.arrays[0].bytes  # without the library's workspace
    if instruction.opcode in _SLICING:
        return min(read[0], instruction.bytes) + written
    if instruction.opcode == "dynamic-update-slice":
        return 2 * min(written, operands[1].bytes if operands[1] else written)
    if instruction.opcode.endswith("-start"):  # its result names its operands again
        return sum(read) + max(0, written - sum(read))
    if instruction.opcode == "fusion" and instruction.called:
        inner = module.computations[instruction.called[0]]
        read = [min(found, _read_inside(inner, number)) for number, found in enumerate(read)]
        written = min(written, _written_inside(inner))
    return sum(read) + written


def _read_inside(fusion: Computation, number: int) -> int:
    """Bytes of a fusion's parameter that it looks at."""
    parameter = fusion.parameters.get(number)
    if parameter is None:
        return 0
    total, names = 0, [parameter.name]
    while names:
        name = names.pop()
        for user in fusion.users.get(name, []):
            if user.opcode == "bitcast":
                names.append(user.name)
            elif user.opcode in _SLICING and user.operands[0] == name:
                total += user.bytes
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue  # changed in place
            else:
                return parameter.bytes
    return total


def _written_inside(fusion: Computation) -> int:
    """Bytes of a fusion's results that it changes."""
    root = fusion.instructions[fusion.root]
    parts = [root]
    if root.opcode == "tuple":
        parts = [fusion.instructions[name] for name in root.operands]
    total = 0
    for part in parts:
        while part.opcode == "bitcast" and fusion.operand(part, 0) is not None:
            part = fusion.operand(part, 0)
        update = fusion.operand(part, 1) if part.opcode == "dynamic-update-slice" else None
        total += part.bytes if update is None else update.bytes
    return total


# -- Messages ----------------------------------------------------------------------------------

COLLECTIVES = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collective:
    """One message between devices.

    Attributes:
      kind: its opcode.
      times: how often a step runs it.
      bytes: what a device sends each time, on a ring.
      group: devices that take part together.
      between: whether some of them are on different slices.
    """

    kind: str
    times: int
    bytes: int
    group: int
    between: bool = False


def collectives(module: Module, slices: np.ndarray) -> list[Collective]:
    """All messages of a step.

    Args:
      slices: int [devices], the slice of each device, in the order of the program's mesh.
    """
    found = []
    for computation, instruction, times, _ in walk(module, into_fusions=True):
        kind = instruction.opcode.removesuffix("-start")
        if kind == "send" and "megascale" in instruction.attributes:
            sent = computation.operand(instruction, 0)
            found.append(Collective("between slices", times, sent.bytes if sent else 0, 2, True))
        if kind not in COLLECTIVES:
            continue
        group, between = _group(instruction, slices)
        operands = [computation.instructions.get(name) for name in instruction.operands]
        given = sum(operand.bytes for operand in operands if operand)
        result = instruction.bytes
        if instruction.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
            result -= given  # the result names the operands again
        others = (group - 1) / group
        if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"  # a TPU's fusion of an all-reduce and a slice
        sent = {
            "all-gather": result * others,
            "all-reduce": 2 * given * others,
            "reduce-scatter": given * others,
            "all-to-all": given * others,
            "ragged-all-to-all": given * others,
        }.get(kind, given)
        found.append(Collective(kind, times, int(sent), group, between))
    return [one for one in found if one.group > 1 and one.times]


def _group(instruction: Instruction, slices: np.ndarray) -> tuple[int, bool]:
    """Devices of the first group of a message, and whether any group reaches over slices."""
    groups = _groups(instruction, len(slices))
    if not groups:
        return len(slices), len(set(slices.tolist())) > 1
    between = any(len({int(slices[device]) for device in group}) > 1 for group in groups)
    return max(len(group) for group in groups), between


def _groups(instruction: Instruction, devices: int) -> list[list[int]]:
    """Who talks to whom, in each of the three ways in which the text writes it."""
    text = instruction.attributes
    pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", text)
    if pairs:
        return _lists(pairs.group(1))
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", text)
    if listed:
        return _lists(listed.group(1))
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota:
        shape, dims = (_numbers(part) for part in iota.group(1, 2))
        order = _numbers(iota.group(3)) if iota.group(3) else list(range(len(dims)))
        return np.arange(math.prod(dims)).reshape(dims).transpose(order).reshape(shape).tolist()
    mesh = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, *device_ids=\(?\[([\d,]+)\](?:T\(([\d,]+)\))?\)?)?"
        r"\s*\{([^}]*)\}",
        text,
    )
    if mesh:
        axes = re.findall(r"'(\w+)'=(\d+)", mesh.group(1))
        names, sizes = [name for name, _ in axes], [int(size) for _, size in axes]
        ids = np.arange(math.prod(sizes))
        if mesh.group(2):
            order = _numbers(mesh.group(3)) if mesh.group(3) else None
            ids = np.arange(len(ids)).reshape(_numbers(mesh.group(2)))
            ids = ids.transpose(order) if order else ids
        ids = ids.reshape(sizes)
        kept = [names.index(name) for name in re.findall(r"'(\w+)'", mesh.group(4))]
        others = [axis for axis in range(len(names)) if axis not in kept]
        size = math.prod(sizes[axis] for axis in kept)
        return ids.transpose(others + kept).reshape(-1, size).tolist()
    return [list(range(devices))] if "replica_groups={}" in text else []


def _numbers(text: str) -> list[int]:
    return [int(value) for value in text.split(",") if value]


def _lists(text: str) -> list[list[int]]:
    return [_numbers(part) for part in re.findall(r"\{([\d,]+)\}", text)]
