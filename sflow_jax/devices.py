"""Batches spread over the devices of this host, for networks that are only applied.

Training averages gradients and has its own way, `training.loop.parallelize`.
"""

import functools
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

PyTree = TypeVar("PyTree")


def split(batch: PyTree) -> PyTree:
    """Puts arrays [B, ...] on the local devices in equal shares, if B allows it.

    A function that `jax.jit` compiled then runs on all of them, each on its share. Its other
    arguments have to be on all of them too; see `Variables`.
    """
    if not _is_divisible(len(jax.tree.leaves(batch)[0])):
        return batch
    return jax.device_put(batch, _over_devices("batch"))


def round_up(batch_size: int) -> int:
    """The next size that `split` splits."""
    count = jax.local_device_count()
    return -(-batch_size // count) * count


class Variables:
    """The variables of a network, beside batches of any size."""

    def __init__(self, tree: PyTree) -> None:
        self._tree = tree

    def beside(self, batch_size: int) -> PyTree:
        """Where a batch of this size lies after `split`: on all local devices or on the first."""
        return self._copies if _is_divisible(batch_size) else self._original

    @functools.cached_property
    def _original(self) -> PyTree:
        return jax.device_put(self._tree)

    @functools.cached_property
    def _copies(self) -> PyTree:
        return jax.device_put(self._tree, _over_devices())


def _is_divisible(batch_size: int) -> bool:
    count = jax.local_device_count()
    return count > 1 and batch_size % count == 0


def _over_devices(*axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), ("batch",)), PartitionSpec(*axes))
