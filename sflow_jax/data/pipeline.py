"""The input pipeline: Grain reads, shuffles and batches prepared examples, without TensorFlow."""

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Protocol

import grain.python as grain
import numpy as np

from sflow_jax.data import workers
from sflow_jax.errors import InputError
from sflow_jax.machine import num_cores

_WORKERS_PER_CORE = 4
_PREFETCHED_BATCHES = 8
_SHARED_MEMORY = "/dev/shm"  # on Linux
_BATCHES_PER_WORKER = 3  # one that is made, one that waits, one that is read
_EPOCHS = 2**31  # endless in practice; Grain's own infinity overflows in batches of 1


class Source(Protocol):
    """Random access to examples, such as `prepared.ExampleSource`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


def train_iterator(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    shard_index: int = 0,
    num_shards: int = 1,
    worker_count: int = 0,
    first_batch: int = 0,
) -> grain.DatasetIterator:
    """Endless batches in an order that `seed` decides and that differs in every epoch.

    Epochs follow one another without a seam: every example comes once in each `len(source)`
    examples over all shards, a batch may hold the end of one epoch and the start of the next, and
    a source smaller than the batch repeats. Batch k is the same for any number of shards and of
    workers, as long as all shards together have as many examples in it.

    Args:
        source: the examples.
        batch_size: examples per batch of this shard.
        seed: of the order.
        shard_index: which share of the examples this process reads.
        num_shards: into how many shares each epoch is divided.
        worker_count: reading processes; 0 reads in threads of this process, which overlaps with
            computation too, because decoding releases Python's lock.
        first_batch: the number of the batch to begin with: how many were read before, in all.

    Returns:
        An iterator of batches, which reads ahead until it is closed: the arrays of `example.Schema`
        with a leading [batch] axis, and `name`, a list of str.

    Raises:
        InputError: the memory that reading processes share has no room for their batches.
    """
    if worker_count:
        _require_shared_memory(source, batch_size, worker_count)
    examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat(_EPOCHS)
    # Whole batches in turn: side by side they are the batch that one process would read.
    batches = examples.batch(batch_size, batch_fn=_stack)[shard_index::num_shards]
    read_options = grain.ReadOptions(
        num_threads=min(4, os.cpu_count() or 1), prefetch_buffer_size=_PREFETCHED_BATCHES
    )
    dataset = batches[first_batch:].to_iter_dataset(read_options)
    if worker_count:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=worker_count), worker_init_fn=_start_worker
        )
    iterator = iter(dataset)
    iterator.start_prefetch()
    return iterator


def _require_shared_memory(source: Source, batch_size: int, worker_count: int) -> None:
    """Checks that batches fit: a process that finds no room dies without a word."""
    if not os.path.isdir(_SHARED_MEMORY):
        return
    size = sum(x.nbytes for x in source[0].values() if isinstance(x, np.ndarray)) * batch_size
    needed, free = _BATCHES_PER_WORKER * worker_count * size, shutil.disk_usage(_SHARED_MEMORY).free
    if needed > free:
        raise InputError(
            f"config.data.worker_count: found {free / 2**20:.0f} MiB of room in {_SHARED_MEMORY}, "
            f"of which {worker_count} processes need {needed / 2**20:.0f} MiB; expected more "
            "(docker run --shm-size), fewer processes, or 0, which reads in threads"
        )


def eval_batches(source: Source, batch_size: int) -> Iterator[tuple[dict, int]]:
    """Every example once, in order, in batches of one size.

    Args:
        source: the examples.
        batch_size: examples per batch.

    Yields:
        A batch as from `train_iterator`, and how many of its examples count: the last batch is
        filled up by repeating the last example.
    """
    indices = range(len(source))
    for start in range(0, len(source), batch_size):
        valid = indices[start : start + batch_size]
        padding = [valid[-1]] * (batch_size - len(valid))
        yield _stack([source[index] for index in (*valid, *padding)]), len(valid)


def check_worker_count(count: int) -> None:
    """Checks `config.data.worker_count` against this machine.

    Raises:
        InputError: there are more than could ever be busy.
    """
    cores = num_cores()
    if count > _WORKERS_PER_CORE * cores:
        raise InputError(
            f"config.data.worker_count: found {count:,}, expected 0 to "
            f"{_WORKERS_PER_CORE * cores}, {_WORKERS_PER_CORE} for each core of this machine: more "
            "would only take memory, a third of a GiB each"
        )


def _start_worker(index: int, count: int) -> None:
    workers.start_worker()


def _stack(examples: Sequence[dict]) -> dict:
    arrays = {
        key: np.stack([example[key] for example in examples])
        for key in examples[0]
        if key != "name"
    }
    return arrays | {"name": [example["name"] for example in examples]}
