"""What runs where: training's replicas, batches spread over devices, processes on several hosts.

Training maps its step over devices and averages gradients (`parallelize`). Networks that are only
applied need no more than a batch that lies on all devices (`spread`): `jax.jit` follows it.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from sflow_jax.errors import InputError, one_line

PyTree = TypeVar("PyTree")

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


def describe_on_first_device(shapes: PyTree) -> PyTree:
    """Adds the placement of a single process's first device to shapes and types."""
    placement = SingleDeviceSharding(jax.local_devices()[0])
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


def _over_devices(*axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec(*axes))


def join_hosts() -> None:
    """Joins the processes that run the same command; call it before anything else of JAX.

    SLURM, Open MPI, Kubernetes and Cloud TPU are detected by JAX.

    Raises:
        InputError: there is no such environment, or the others cannot be reached.
    """
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed: found {one_line(error)!r}, "
            "expected SLURM, Open MPI, Kubernetes or a Cloud TPU"
        ) from error


def is_first_host() -> bool:
    """Whether this process is the one that writes results."""
    return jax.process_index() == 0


def wait_for_hosts(name: str) -> None:
    """Waits until every process has come to the point of this name."""
    multihost_utils.sync_global_devices(name)


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
