"""Products of banded matrices with images along one axis, at a cost proportional to the band.

A local linear operation, with whatever border it has, is a banded matrix along each axis. Its rows
are taken in tiles, and each tile is a small dense matrix times the slab of the image that it reads.
So both a product and its gradient (the product with the transposed matrix, as banded as the first)
are a few batched matrix products, which every accelerator does well and XLA compiles in no time.
Sums of shifted images, the obvious alternative, took XLA minutes to compile with their gradient on
a CPU, and dense matrices cost a whole row or column per pixel.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from sflow_jax.ops import forms

_TILE = 64  # rows of a matrix that are multiplied at once, about

Operators = Sequence[Sequence[scipy.sparse.csr_array]]
"""One matrix [to, from], all of one shape, for each output (outer) and each input (inner)."""


def down_columns(operators: Operators, images: jax.Array) -> jax.Array:
    """Multiplies the columns of images by matrices, in full precision.

    Args:
        operators: m x n matrices [to, from].
        images: [n, B, from, W].

    Returns:
        [m, B, to, W]: for each output the sum over the inputs.
    """
    return _product(operators, images, axis=-2)


def along_rows(operators: Operators, images: jax.Array) -> jax.Array:
    """Multiplies the rows of images [n, B, H, from] likewise: [m, B, H, to]."""
    return _product(operators, images, axis=-1)


def _product(operators: Operators, images: jax.Array, axis: int) -> jax.Array:
    return (_plain_product if forms.is_plain() else _fast_product)(operators, images, axis)


def _fast_product(operators: Operators, images: jax.Array, axis: int) -> jax.Array:
    """The product with a gradient that is the product with the transposed matrices."""
    transposed = [
        [operator.T.tocsr() for operator in column] for column in zip(*operators, strict=True)
    ]

    @jax.custom_vjp
    def product(images: jax.Array) -> jax.Array:
        return _plain_product(operators, images, axis)

    # Left to itself, JAX would turn the overlapping reads of the slabs into slow scattered sums.
    product.defvjp(
        lambda images: (product(images), None),
        lambda _, gradient: (_plain_product(transposed, gradient, axis),),
    )
    return product(images)


def _plain_product(operators: Operators, images: jax.Array, axis: int) -> jax.Array:
    to = operators[0][0].shape[0]
    weights, read = _tiles(operators)
    slabs = jnp.take(images, read, axis=axis, unique_indices=False, mode="clip")
    subscripts = {-2: "tmnij,nbtjw->mbtiw", -1: "tmnij,nbhtj->mbhti"}[axis]
    tiles = jnp.einsum(subscripts, weights.astype(images.dtype), slabs, precision="highest")
    if axis == -2:
        joined = tiles.reshape(*tiles.shape[:2], -1, tiles.shape[-1])
        return joined[:, :, :to]
    return tiles.reshape(*tiles.shape[:3], -1)[..., :to]


def _tiles(operators: Operators) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the rows into tiles.

    Returns:
        The part of each matrix that each tile needs, [tiles, m, n, rows, slab], and the positions
        it reads, [tiles, slab].
    """
    to, length = operators[0][0].shape
    num_tiles = -(-to // _TILE)
    rows = -(-to // num_tiles)
    pattern = sum(abs(operator) for column in operators for operator in column)
    spans = []
    for first in range(0, to, rows):
        columns = pattern[first : first + rows].indices
        spans.append((columns.min(), columns.max() + 1) if columns.size else (0, 0))
    slab = max(stop - start for start, stop in spans)
    starts = [min(start, length - slab) for start, _ in spans]
    weights = np.zeros((len(spans), len(operators), len(operators[0]), rows, slab))
    for tile, start in enumerate(starts):
        for output, column in enumerate(operators):
            for index, operator in enumerate(column):
                part = operator[tile * rows : (tile + 1) * rows, start : start + slab].toarray()
                weights[tile, output, index, : len(part)] = part
    return weights, np.add.outer(starts, np.arange(slab))
