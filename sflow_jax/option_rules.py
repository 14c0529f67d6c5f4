"""What the values of options may be."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from sflow_jax.data.datasets import LARGEST_SIDE, SMALLEST_SIDE
from sflow_jax.files import fault_of_path

LARGEST_SEED = 2**32 - 1
"""JAX would take larger ones for others."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the values of an option may be.

    Attributes:
        test: whether a value of the option's type may be used.
        expected: which may, in words, such as 'at least 1'; empty where any value may.
    """

    test: Callable[..., bool]
    expected: str

    def holds(self, value: object) -> bool:
        """Whether a value of any type may be used."""
        try:
            return bool(self.test(value))
        except (TypeError, ValueError, OverflowError):
            return False  # such as texts among numbers


def one_of(*choices: object) -> Rule:
    """The value is one of `choices`."""
    return Rule(lambda value: value in choices, "one of " + ", ".join(map(str, choices)))


def key_of(registry: Mapping[str, object]) -> Rule:
    """The value names an entry of `registry`."""
    return Rule(lambda value: value in registry, one_of(*registry).expected)


def names_among(*choices: str) -> Rule:
    """The value is '' or some of `choices`, separated by commas."""
    return Rule(
        lambda value: not value or all(name.strip() in choices for name in value.split(",")),
        f"names among {', '.join(choices)}, separated by commas, or nothing",
    )


def between(least: float, most: float) -> Rule:
    """The value is a number within both limits."""
    return Rule(lambda value: least <= value <= most, f"{_text(least)} to {_text(most)}")


def optional(rule: Rule) -> Rule:
    """The value is None, which turns the option off, or follows `rule`."""
    return Rule(lambda value: value is None or rule.holds(value), rule.expected)


def _text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


BOOLEAN = Rule(lambda value: isinstance(value, bool), "True or False")
COUNT = Rule(lambda value: value >= 0, "0 or more")
SHARE = Rule(lambda value: 0 <= value <= 1, "between 0 and 1")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "0 or more and less than 1")
PART = Rule(lambda value: 0 < value <= 1, "more than 0 and at most 1")
FLOAT32 = between(0, 3e38)  # what is larger becomes infinite on a device
WEIGHT = between(0, 1_000_000)
EPOCHS = between(0, 1_000_000)
SOME_EPOCHS = Rule(lambda value: 0 < value <= 1_000_000, "more than 0 and at most 1,000,000")
STEPS = between(1, 2**31 - 1)  # more cannot be counted on a device
WIDTH = between(1, 2**20)
HALVINGS = between(1, 8)  # of 256 pixels one is left
SEED = between(0, LARGEST_SEED)
PATH = Rule(lambda value: not value or not fault_of_path(value), "a path")
IMAGE_SIDE = Rule(
    lambda value: value == 0 or SMALLEST_SIDE <= value <= LARGEST_SIDE,
    f"{SMALLEST_SIDE} to {LARGEST_SIDE:,} pixels, or 0 for the files' own",
)
SIX_WEIGHTS = Rule(
    lambda values: (
        len(values) == 6
        and all(0 <= value < math.inf for value in values)
        and 0 < sum(values) < math.inf
    ),
    "six numbers of 0 or more, not all 0",
)
