"""A compiled program's text as computations and instructions, and how often each of them runs."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

BITS = {"pred": 8, "token": 0, "opaque": 0}  # the others' names end with their width

_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|body|to_apply|branch_computations)=(\{[^}]*\}|%[\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result; `fast` if it lies in memory on the chip."""

    dtype: str
    dims: tuple[int, ...]
    fast: bool

    @property
    def bytes(self) -> int:
        digits = re.search(r"\d+", self.dtype)
        bits = BITS.get(self.dtype, int(digits.group()) if digits else 32)
        return math.prod(self.dims) * bits // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of the text: `name = arrays opcode(operands), attributes`."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str

    @property
    def bytes(self) -> int:
        """Of all results, wherever they lie."""
        return sum(array.bytes for array in self.arrays)

    @property
    def slow_bytes(self) -> int:
        """Of the results in the device's main memory."""
        return sum(array.bytes for array in self.arrays if not array.fast)

    @functools.cached_property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs, without a loop's condition."""
        found = _CALLS.findall(self.attributes)
        return tuple(name for part in found for name in _NAME.findall(part))

    def attribute(self, name: str) -> str:
        """The text of `name={...}` without its braces; "" if it has none."""
        found = re.search(rf"\b{name}=\{{([^}}]*)\}}", self.attributes)
        return found.group(1) if found else ""


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in order; the last is the result unless another is marked so."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    def operand(self, instruction: Instruction, number: int) -> Instruction | None:
        if number >= len(instruction.operands):
            return None
        return self.instructions.get(instruction.operands[number])

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        users: dict[str, list[Instruction]] = {}
        for instruction in self.instructions.values():
            for name in instruction.operands:
                users.setdefault(name, []).append(instruction)
        return users

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        return {
            int(found.arguments): found
            for found in self.instructions.values()
            if found.opcode == "parameter"
        }


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program: its computations, and the name of the first."""

    computations: dict[str, Computation]
    entry: str


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if not depth:
            return position
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")


def _arrays(text: str) -> tuple[Array, ...]:
    return tuple(
        Array(
            dtype,
            tuple(int(size) for size in dims.split(",") if size),
            fast=bool(re.search(r"S\([1-9]", layout)),
        )
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _instruction(line: str, head: re.Match) -> Instruction:
    rest = line[head.end() :]
    # The result's type is one word, or a tuple in parentheses.
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opened = rest.index("(")
    closed = _closing(rest, opened)
    arguments = rest[opened + 1 : closed]
    return Instruction(
        name=head.group(2),
        arrays=_arrays(shape),
        opcode=rest[:opened],
        operands=tuple(_NAME.findall(arguments)),
        arguments=arguments,
        attributes=rest[closed + 1 :],
    )


def parse(text: str) -> Module:
    """The text of `jax.stages.Compiled.as_text()`, after optimisation and scheduling."""
    computations, entry, name, found, root = {}, "", "", {}, ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            name, found, root = head.group(2), {}, ""
            entry = name if head.group(1) else entry
            continue
        if line.startswith("}"):
            computations[name] = Computation(name, found, root or next(reversed(found), ""))
            continue
        head = _INSTRUCTION.match(line)
        if head and name:
            instruction = _instruction(line, head)
            found[instruction.name] = instruction
            root = instruction.name if head.group(1) else root
    if not entry:
        raise ValueError("this is no text of a compiled program: it has no ENTRY")
    return Module(computations, entry)


# -- How often ---------------------------------------------------------------------------------


def _constant(computation: Computation, name: str) -> int | None:
    """The value of a scalar constant, through copies and casts."""
    instruction = computation.instructions.get(name)
    while instruction is not None and instruction.opcode in ("copy", "convert", "bitcast"):
        instruction = computation.operand(instruction, 0)
    if instruction is None or instruction.opcode != "constant":
        return None
    return int(instruction.arguments) if re.fullmatch(r"-?\d+", instruction.arguments) else None


def _element(computation: Computation, name: str) -> int | None:
    """Which element of its parameter a value is."""
    instruction = computation.instructions.get(name)
    while instruction is not None and instruction.opcode in ("copy", "convert", "bitcast"):
        instruction = computation.operand(instruction, 0)
    if instruction is None or instruction.opcode != "get-tuple-element":
        return None
    found = re.search(r"index=(\d+)", instruction.attributes)
    return int(found.group(1)) if found else None


def trip_count(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """How often a loop runs: from the compiler's note, or from its counter; None if unknown."""
    noted = re.search(r'known_trip_count"?:\{"n":"(\d+)"', loop.attributes)
    if noted:
        return int(noted.group(1))
    named = re.search(r"condition=%?([\w.\-]+)", loop.attributes)
    condition = module.computations.get(named.group(1)) if named else None
    if condition is None:
        return None
    test, where = condition.instructions[condition.root], condition
    inputs = list(test.operands)
    if test.opcode == "fusion" and test.called:
        where = module.computations[test.called[0]]
        test = where.instructions[where.root]
        numbers = {p.name: number for number, p in where.parameters.items()}
        inputs = [
            inputs[numbers[name]] if name in numbers and numbers[name] < len(inputs) else None
            for name in test.operands
        ]
    if test.opcode != "compare" or "direction=LT" not in test.attributes or len(inputs) != 2:
        return None

    def outer(name, inner):
        return (condition, name) if name is not None else (where, inner)

    index = _element(*outer(inputs[0], test.operands[0]))
    limit = _constant(*outer(inputs[1], test.operands[1]))
    if limit is None or index is None:
        return None
    state = computation.operand(loop, 0)
    first = None
    if state is not None and state.opcode == "tuple":
        first = _constant(computation, state.operands[index])
    body = module.computations[loop.called[0]]
    end = body.instructions[body.root]
    step = None
    if end.opcode == "tuple":
        step = _step(module, body, end.operands[index])
    return max(0, -(-(limit - (first or 0)) // (step or 1)))


def _step(module: Module, body: Computation, name: str) -> int | None:
    """What a loop's counter grows by."""
    instruction = body.instructions.get(name)
    while instruction is not None and instruction.opcode == "copy":
        instruction = body.operand(instruction, 0)
    if instruction is None:
        return None
    if instruction.opcode == "fusion" and instruction.called:
        body = module.computations[instruction.called[0]]
        instruction = body.instructions[body.root]
    if instruction.opcode != "add":
        return None
    values = [_constant(body, operand) for operand in instruction.operands]
    return next((value for value in values if value), None)


def walk(
    module: Module, *, into_fusions: bool
) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    """(computation, instruction, times it runs, whether that is certain) of all that runs.

    Every branch of a conditional is walked. A loop that does not say how often it runs counts once,
    as uncertain.
    """
    stack = [(module.entry, 1, True)]
    while stack:
        name, times, certain = stack.pop()
        computation = module.computations[name]
        for instruction in computation.instructions.values():
            inner, sure = times, certain
            if instruction.opcode == "while":
                trips = trip_count(module, computation, instruction)
                inner, sure = times * (1 if trips is None else trips), certain and trips is not None
            yield computation, instruction, inner, sure
            runs = instruction.opcode in ("while", "call", "conditional", "async-start")
            if runs or (into_fusions and instruction.opcode == "fusion"):
                stack += [(called, inner, sure) for called in instruction.called]


def unknown_loops(module: Module) -> int:
    """Loops whose number of rounds the text does not tell."""
    return sum(
        instruction.opcode == "while" and trip_count(module, computation, instruction) is None
        for computation, instruction, _, _ in walk(module, into_fusions=False)
    )
