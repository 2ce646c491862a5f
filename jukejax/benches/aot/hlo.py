"""A reader of the text of compiled programs (HLO): instructions, their executions, kernels.

`Compiled.cost_analysis()` names no kernels and no messages, and counts the body of a loop once.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?([\w.\-]+) = (\S.*?)\s([a-z][\w\-]*)\(((?:[^()]|\([^()]*\))*)\)(.*)$"
)
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|body|to_apply|branch_computations)=(\{[^}]*\}|%[\w.\-]+)")
_BITS = {"pred": 8, "token": 0, "opaque": 0}  # the names of other types end with their width
# Instructions that start no kernel.
_NO_KERNEL = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency",
    "async-update", "iota",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of the text, `name = shape opcode(arguments), attributes`; `bytes` of its result."""

    name: str
    bytes: int
    opcode: str
    arguments: str
    attributes: str

    @property
    def operands(self) -> list[str]:
        return _NAME.findall(self.arguments)

    @functools.cached_property
    def called(self) -> list[str]:
        """The computations that it calls, without the condition of a loop."""
        return [name for text in _CALLS.findall(self.attributes) for name in _NAME.findall(text)]


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in their order."""

    name: str
    instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)

    def sum_operand_bytes(self, instruction: Instruction) -> int:
        operands = map(self.instructions.get, instruction.operands)
        return sum(operand.bytes for operand in operands if operand)


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program: its computations, and the name of the first."""

    computations: dict[str, Computation]
    entry: str


def parse_module(text: str) -> Module:
    """Parses `Compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations, entry, computation = {}, "", Computation("")
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            computation = computations[head[2]] = Computation(head[2])
            entry = head[2] if head[1] else entry
        elif match := _INSTRUCTION.match(line):
            name, shape, *operation = match.groups()
            computation.instructions[name] = Instruction(name, _count_bytes(shape), *operation)
    if not entry:
        raise ValueError("this is no text of a compiled program: it has no ENTRY")
    return Module(computations, entry)


def _count_bytes(shape: str) -> int:
    total = 0
    for dtype, dims in _SHAPE.findall(shape):
        digits = re.search(r"\d+", dtype)
        bits = _BITS.get(dtype, int(digits[0]) if digits else 32)
        total += math.prod(int(size) for size in dims.split(",") if size) * bits // 8
    return total


def find_trip_count(module: Module, loop: Instruction) -> int | None:
    """Returns the number of iterations of a `while`; None if it is not fixed.

    It is that of the compiler's annotation if there is one (CPUs, GPUs), else (TPUs) the only
    integer in the loop's condition: the counter of a `lax.scan` starts at 0 and is incremented up
    to it.
    """
    if note := re.search(r'known_trip_count"?:\{"n":"(\d+)"', loop.attributes):
        return int(note[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.attributes)
    names = [condition[1]] if condition else []
    limits, comparisons = set(), []
    for name in names:
        for instruction in module.computations[name].instructions.values():
            names += instruction.called
            if instruction.opcode == "constant" and instruction.arguments.isdecimal():
                limits.add(int(instruction.arguments))
            if instruction.opcode == "compare":
                comparisons.append("direction=LT" in instruction.attributes)
    return limits.pop() if comparisons == [True] and len(limits) == 1 else None


def walk_executions(
    module: Module, *, into_fusions: bool = False
) -> Iterator[tuple[Computation, Instruction, int]]:
    """Yields (computation, instruction, number of executions) of a program.

    Every branch of a conditional is included; a loop of unknown length counts once.
    """
    stack = [(module.entry, 1)]
    while stack:
        name, times = stack.pop()
        computation = module.computations[name]
        for instruction in computation.instructions.values():
            yield computation, instruction, times
            inner_times = times
            if instruction.opcode == "while":
                trips = find_trip_count(module, instruction)
                inner_times *= 1 if trips is None else trips
            runs = instruction.opcode in ("while", "call", "conditional", "async-start")
            if runs or (into_fusions and instruction.opcode == "fusion"):
                stack += [(called, inner_times) for called in instruction.called]


def find_loops(module: Module) -> list[Instruction]:
    """Returns all `while` instructions of a program."""
    return [loop for _, loop, _ in walk_executions(module) if loop.opcode == "while"]


def starts_kernel(instruction: Instruction) -> bool:
    """Returns whether an instruction is a kernel, a library call or a copy."""
    return instruction.opcode not in _NO_KERNEL and not instruction.opcode.endswith("-done")


def count_kernels(module: Module) -> int:
    """Returns the number of kernels, library calls and copies that a program starts."""
    return sum(
        times for _, instruction, times in walk_executions(module) if starts_kernel(instruction)
    )


def extract_loop_body(module: Module) -> Module:
    """Returns the body of the loop with most instructions as a separate module."""
    bodies = [loop.called[0] for loop in find_loops(module)]
    if not bodies:
        raise ValueError("the compiled program has no loop")
    largest = max(bodies, key=lambda body: len(module.computations[body].instructions))
    return Module(module.computations, largest)
