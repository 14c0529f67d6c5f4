"""Reading on behind files with faults; worker processes import only this."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sflow_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Tolerant:
    """Makes examples, and returns the fault of one that cannot be made in place of raising it.

    A class, so that it can be pickled to other processes.

    Attributes:
        make_example: as `ExampleBuilder.recipe` gives it.
    """

    make_example: Callable[[Any], dict]

    def __call__(self, item: Any) -> dict | InputError:
        """The arrays of an example, or its fault."""
        try:
            return self.make_example(item)
        except InputError as error:
            return error
