"""Whether what JSON has given is of the types that a dataclass declares."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any


def check_fields(part: Any) -> None:
    """Checks every field of a dataclass, and what its containers hold.

    Raises:
        TypeError: names the first field that is of another type, negative or not finite.
    """
    for name, kind in typing.get_type_hints(type(part)).items():
        value = getattr(part, name)
        if not _is_of(value, kind):
            raise TypeError(f"{name} is {value!r}")


def _is_of(value: Any, kind: Any) -> bool:
    origin, kinds = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is types.UnionType:
        return any(_is_of(value, choice) for choice in kinds)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            _is_of(key, kinds[0]) and _is_of(item, kinds[1]) for key, item in value.items()
        )
    if origin is Sequence:
        return isinstance(value, list) and all(_is_of(item, kinds[0]) for item in value)
    if origin is tuple:
        holds = isinstance(value, tuple) and len(value) == len(kinds)
        return holds and all(map(_is_of, value, kinds))
    if dataclasses.is_dataclass(kind):
        check_fields(value)
    if kind in (int, float):  # a bool is no number here
        return type(value) in (int, kind) and math.isfinite(value) and value >= 0
    return isinstance(value, kind)
