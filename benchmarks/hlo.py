"""The text that XLA prints of a program that it compiled (optimized HLO)."""

import dataclasses
import re

_STATEMENT = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")


@dataclasses.dataclass(frozen=True)
class Statement:
    """One instruction.

    Attributes:
        name: unique in the program.
        result: types, shapes and memory layouts, such as 'f32[4,2]{1,0}'.
        operation: such as 'fusion'.
        operands: the names of the instructions that it reads.
        rest: the operands and what follows them, as printed.
    """

    name: str
    result: str
    operation: str
    operands: tuple[str, ...]
    rest: str


def read_statement(line: str) -> Statement | None:
    """Reads one line; None where it is no instruction."""
    if not (match := _STATEMENT.match(line)):
        return None
    name, result, operation, rest = match.groups()
    operands = re.findall(r"%([\w.-]+)", rest.partition(")")[0])
    return Statement(name, result, operation, tuple(operands), rest)
