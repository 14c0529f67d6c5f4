"""What runs where: training's replicas, batches spread over devices, processes on several hosts.

Training maps its step over devices and averages gradients (`parallelize`). Networks that are only
applied need no more than a batch that lies on all devices (`spread`): `jax.jit` follows it.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from sflow_jax.machine import num_cores

PyTree = TypeVar("PyTree")
Item = TypeVar("Item")

AXIS = "batch"
"""The axis over devices, in training and wherever a batch is spread."""


def parallelize(device_step: Callable, devices: list[jax.Device] | None = None) -> Callable:
    """Maps a train step over devices: the state is replicated, the batch is [devices, batch, ...].

    Args:
        device_step: the step of one device, with gradients averaged over `AXIS`.
        devices: all local devices by default.

    Returns:
        The mapped step. It takes over the memory of the state that it is given.
    """
    return jax.pmap(
        device_step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )


def replicate(tree: PyTree) -> PyTree:
    """Copies arrays to all local devices, placed as a parallel step returns its state."""
    return jax.device_put(tree, _over_devices())


def stack_for_devices(
    batch: Mapping[str, np.ndarray], keys: Iterable[str], num_devices: int
) -> dict[str, np.ndarray]:
    """Selects what a parallel step reads and reshapes [N * B, ...] to [N, B, ...]."""
    return {key: batch[key].reshape(num_devices, -1, *batch[key].shape[1:]) for key in keys}


def on_first_device(tree: PyTree) -> PyTree:
    """One copy of arrays that lie on all local devices."""
    return jax.device_put(tree, jax.local_devices()[0])


def to_all_hosts(tree: PyTree) -> PyTree:
    """Describes arrays that are equal on the devices of all processes as one array of all of them.

    What several processes save together has to be global. Nothing is copied or sent.
    """
    if jax.process_count() == 1:
        return tree
    placement = _over_all_hosts()

    def to_global(leaf: jax.Array) -> jax.Array:
        copies = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, placement, copies)

    return jax.tree.map(to_global, replicate(tree))


def from_all_hosts(tree: PyTree) -> PyTree:
    """This process's own copy of arrays as `describe_saved` places them."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def describe_saved(shapes: PyTree) -> PyTree:
    """Adds to shapes and types the placement in which a state is saved and restored.

    It is the first device of a single process; of several, all devices, each with a copy.
    """
    placement = _over_all_hosts() if jax.process_count() > 1 else _first_device()
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement), shapes
    )


def spread(batch: Any) -> Any:
    """Puts arrays [B, ...] on the local devices in equal shares, if B allows it.

    A function that `jax.jit` compiled then runs on all of them, each on its share. Its other
    arguments have to be on all of them too; see `PlacedVariables`.
    """
    if not _is_divisible(len(jax.tree.leaves(batch)[0])):
        return batch
    return jax.device_put(batch, _over_devices(AXIS))


def round_up(batch_size: int) -> int:
    """The next size that `spread` spreads."""
    count = jax.local_device_count()
    return -(-batch_size // count) * count


class PlacedVariables:
    """The variables of a network, for batches of any size."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def matching(self, batch_size: int) -> Any:
        """Where a batch of this size lies after `spread`: on all local devices or on the first."""
        return self._copies if _is_divisible(batch_size) else self._original

    @functools.cached_property
    def _original(self) -> Any:
        return jax.device_put(self._tree)

    @functools.cached_property
    def _copies(self) -> Any:
        return jax.device_put(self._tree, _over_devices())


def _is_divisible(batch_size: int) -> bool:
    count = jax.local_device_count()
    return count > 1 and batch_size % count == 0


def _first_device() -> SingleDeviceSharding:
    return SingleDeviceSharding(jax.local_devices()[0])


def _over_all_hosts() -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec())


def _over_devices(*axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec(*axes))


def num_threads() -> int:
    """Among how many threads XLA divides a sum on a CPU, which decides its last bits."""
    chosen = os.environ.get("NPROC", "")
    if chosen.isdecimal():
        return int(chosen)
    return num_cores()


def is_first_host() -> bool:
    """Whether this process is the one that writes results."""
    return jax.process_index() == 0


def share_of_host(items: Sequence[Item]) -> Sequence[Item]:
    """Every n-th item for each of n processes, so that all together have all of them."""
    return items[jax.process_index() :: jax.process_count()]


def wait_for_hosts(place: str) -> None:
    """Waits until every process has come to the same place, which has a name of its own."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def gather_from_hosts(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays of every host, on every host; as bytes, since JAX would round float64."""
    if jax.process_count() == 1:
        return [dict(arrays)]
    content = np.frombuffer(safetensors.numpy.save(dict(arrays)), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(len(content), np.int32)).ravel()
    padded = np.pad(content, (0, lengths.max() - len(content)))
    contents = multihost_utils.process_allgather(padded)
    return [
        safetensors.numpy.load(row[:length].tobytes())
        for row, length in zip(contents, lengths, strict=True)
    ]


def sum_over_hosts(sums: Mapping[str, float | np.ndarray]) -> dict[str, np.ndarray]:
    """The sums over all hosts, on every host; a host that saw nothing may lack names."""
    totals: dict[str, np.ndarray] = {}
    for part in gather_from_hosts({name: np.array(value) for name, value in sums.items()}):
        for name, value in part.items():
            totals[name] = totals.get(name, 0) + value
    return totals
