"""Checks of the arrays that public operators are given: rank, sizes and type, when traced."""

import jax
import jax.numpy as jnp
import numpy as np

_KINDS = {
    "float": (jnp.floating,),
    "uint8": (np.uint8,),
    "integer": (jnp.integer,),
    "real": (jnp.floating, jnp.integer),
    "bool": (np.bool_,),
    "key": (jax.dtypes.prng_key,),
}


def check_array(name: str, array: jax.Array, shape: str | None, kind: str) -> None:
    """Checks one argument.

    Args:
        name: of the argument, for the error.
        array: what was given for it.
        shape: its axes, such as 'B H W 3': a number is the size that the axis must have, anything
            else an axis of any size. None accepts every shape.
        kind: 'float', 'uint8', 'integer', 'real' (a float or an integer), 'bool' or 'key' (a random
            key of `jax.random.key`).

    Raises:
        TypeError: it is no array, or of another type.
        ValueError: its rank or a size is another.
    """
    expected = kind if shape is None else f"{kind} [{', '.join(shape.split())}]"
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise TypeError(f"{name}: found a {type(array).__name__}, expected an array {expected}")
    found = f"{array.dtype} [{', '.join(map(str, array.shape))}]"
    if not any(jnp.issubdtype(array.dtype, scalar) for scalar in _KINDS[kind]):
        raise TypeError(f"{name}: found {found}, expected {expected}")
    if shape is not None and not _fits(array.shape, shape.split()):
        raise ValueError(f"{name}: found {found}, expected {expected}")


def check_equal_shapes(**arrays: jax.Array) -> None:
    """Checks that arrays, each given by the name of its argument, have one shape.

    Raises:
        ValueError: they differ.
    """
    if len({array.shape for array in arrays.values()}) > 1:
        found = " and ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ValueError(f"found {found}, expected one shape")


def _fits(shape: tuple[int, ...], axes: list[str]) -> bool:
    return len(shape) == len(axes) and all(
        not axis.isdigit() or size == int(axis) for size, axis in zip(shape, axes, strict=True)
    )
