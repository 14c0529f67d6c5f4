"""The kernels of a program that XLA compiled for a GPU, read from its text (optimized HLO)."""

import dataclasses
import math
import re

from benchmarks.hlo import Statement, read_statement

_BYTES = {"pred": 1, "bf16": 2}  # others carry their bits in their names
_ARRAY = re.compile(r"\b(pred|[bsuf]f?\d+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED = re.compile(r"(?:body|to_apply|calls|branch_computations=\{)=?%?([\w.-]+)")
_TRIPS = re.compile(r"known_trip_count\D+(\d+)")
_FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all"}
_CONTROL = {"while", "call", "conditional"}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel, or a call of a library.

    Attributes:
        name: of the instruction.
        kind: its operation, such as 'fusion' or 'copy', or the library's function.
        num_bytes: of its operands and results, each read or written once. An operand of which it
            reads only a part counts in full.
        num_calls: how often a run of the program starts it.
    """

    name: str
    kind: str
    num_bytes: int
    num_calls: int

    @property
    def is_convolution(self) -> bool:
        """Whether it is one of cuDNN's."""
        return self.kind.startswith("__cudnn$conv")


def parse(text: str) -> list[Kernel]:
    """Reads `compiled.as_text()`; a loop of unknown length counts once."""
    computations, entry, statements = {}, "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            statements = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif statement := read_statement(line):
            statements.append(statement)
    return _kernels(computations, entry, 1)


def _kernels(computations: dict[str, list[Statement]], name: str, num_calls: int) -> list[Kernel]:
    kernels, num_bytes = [], {}
    for statement in computations[name]:
        num_bytes[statement.name] = _num_bytes(statement.result)
        if statement.operation in _CONTROL:
            trips = _TRIPS.search(statement.rest)
            calls = num_calls * int(trips[1]) if trips else num_calls
            kernels += _kernels(computations, _CALLED.search(statement.rest)[1], calls)
        elif statement.operation not in _FREE:
            read = sum(num_bytes.get(operand, 0) for operand in statement.operands)
            target = re.search(r'custom_call_target="([^"]+)"', statement.rest)
            kind = target[1] if target else statement.operation
            moved = num_bytes[statement.name] + read
            kernels.append(Kernel(statement.name, kind, moved, num_calls))
    return kernels


def _num_bytes(shape: str) -> int:
    return sum(
        _item_bytes(item) * math.prod(int(side) for side in sides.split(",") if side)
        for item, sides in _ARRAY.findall(shape)
    )


def _item_bytes(item: str) -> int:
    return _BYTES.get(item) or int(item.strip("bsuf")) // 8
