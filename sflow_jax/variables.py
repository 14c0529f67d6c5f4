"""Files of network variables: safetensors, each variable named by its path ('params/conv/kernel').

A file is accepted only if it holds exactly the expected variables in the expected shapes.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from sflow_jax.errors import InputError
from sflow_jax.files import write_whole

Shapes = Mapping[str, tuple[int, ...]]

_MAX_LISTED = 10


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Names the leaves of nested variables by their path."""
    return flax.traverse_util.flatten_dict(variables, sep="/")


def shapes_of(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every leaf of nested variables, by path."""
    return {path: tuple(leaf.shape) for path, leaf in flatten(variables).items()}


def read_variables(path: pathlib.Path, shapes: Shapes) -> dict[str, Any]:
    """Reads variables and checks that they are the expected ones.

    Args:
        path: a safetensors file.
        shapes: the expected shape of every variable, by path.

    Returns:
        The variables, nested as Flax has them, as float32 NumPy arrays.

    Raises:
        InputError: the file is absent or damaged, or its variables are other ones.
    """
    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: {error}; expected a safetensors file") from error
    check_shapes({name: array.shape for name, array in arrays.items()}, shapes, path)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def write_variables(
    path: pathlib.Path, variables: Mapping[str, Any], metadata: Mapping[str, str], dtype: Any
) -> None:
    """Writes nested variables as `dtype`; the file appears whole or not at all."""
    arrays = {name: np.ascontiguousarray(x, dtype) for name, x in flatten(variables).items()}
    # Not `save_file`, whose files only their owner may read.
    write_whole(path, safetensors.numpy.save(arrays, metadata=dict(metadata)))


def check_shapes(found: Shapes, expected: Shapes, source: str | os.PathLike) -> None:
    """Compares names and shapes.

    Raises:
        InputError: lists what is missing in `source`, left over, or of another shape.
    """
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "left over": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {list(found[name])}, expected {list(expected[name])}"
            for name in sorted(found.keys() & expected.keys())
            if tuple(found[name]) != tuple(expected[name])
        ],
    }
    texts = [f"{len(names)} {kind}: {_join(names)}" for kind, names in problems.items() if names]
    if texts:
        raise InputError(f"{source}: not the expected weights; {'; '.join(texts)}")


def _join(names: list[str]) -> str:
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
