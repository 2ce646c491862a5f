"""Bytes that the kernels of a compiled program read and write, estimated from its text.

The compiler for GPUs gives no figure of them. Each kernel reads its operands and writes its
results, both once, as if no cache kept an array from one kernel to the next. Of an array that a
kernel slices, gathers from or updates at a position, only that part is counted.
"""

from jukejax.benches.aot.hlo import Computation, Instruction, Module, starts_kernel, walk_executions

_PARTIAL_READS = ("dynamic-slice", "slice", "gather")


def count_kernel_bytes(module: Module) -> int:
    """Returns the bytes that all kernels of a program read and write, every iteration counted."""
    return sum(
        times * _count_moved_bytes(module, computation, instruction)
        for computation, instruction, times in walk_executions(module)
        if starts_kernel(instruction)
    )


def _count_moved_bytes(module: Module, computation: Computation, kernel: Instruction) -> int:
    if kernel.opcode == "fusion":
        fused = module.computations[kernel.called[0]]
        parameters = [one for one in fused.instructions.values() if one.opcode == "parameter"]
        root = list(fused.instructions.values())[-1]
        read = sum(_count_read_bytes(fused, one) for one in parameters)
        return read + _count_written_bytes(fused, root)
    if kernel.opcode in _PARTIAL_READS:
        return 2 * kernel.bytes
    if kernel.opcode == "dynamic-update-slice":
        return 2 * _count_written_bytes(computation, kernel)
    return computation.sum_operand_bytes(kernel) + _count_result_bytes(computation, kernel)


def _count_read_bytes(fused: Computation, array: Instruction) -> int:
    """Counts the bytes of an array that the other instructions of a fused kernel read."""
    total = 0
    for user in fused.instructions.values():
        if array.name not in user.operands:
            continue
        is_base = user.operands[0] == array.name
        if user.opcode == "bitcast":
            total += _count_read_bytes(fused, user)
        elif user.opcode in _PARTIAL_READS and is_base:
            total += user.bytes
        elif user.opcode != "dynamic-update-slice" or not is_base:
            total += array.bytes
    return min(total, array.bytes)


def _count_written_bytes(fused: Computation, root: Instruction) -> int:
    """Counts the bytes that a fused kernel writes; of an array updated in place, the update."""
    operands = [fused.instructions[name] for name in root.operands if name in fused.instructions]
    if root.opcode == "tuple":
        return sum(_count_written_bytes(fused, operand) for operand in operands)
    if root.opcode == "bitcast" and operands:
        return _count_written_bytes(fused, operands[0])
    return operands[1].bytes if root.opcode == "dynamic-update-slice" else root.bytes


def _count_result_bytes(computation: Computation, kernel: Instruction) -> int:
    """Counts the bytes of a kernel's results, without the workspace of a library call."""
    used = [
        user.bytes
        for user in computation.instructions.values()
        if user.opcode == "get-tuple-element" and kernel.name in user.operands
    ]
    return sum(used) if used else kernel.bytes
