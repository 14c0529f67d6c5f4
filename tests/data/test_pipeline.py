import itertools
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from absl import flags

from sflow_jax.data import pipeline
from sflow_jax.errors import InputError


class Numbers:
    """Examples that are only their own number."""

    def __init__(self, size: int):
        self._size = size

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        return {"label": np.full((1, 2, 2, 1), index, np.uint8), "name": str(index)}


def _names(iterator, num_batches: int) -> list[str]:
    batches = itertools.islice(iterator, num_batches)
    return [name for batch in batches for name in batch["name"]]


def test_batches_stack_arrays_and_list_names():
    batch = next(pipeline.train_iterator(Numbers(5), batch_size=3, seed=0))
    assert batch["label"].shape == (3, 1, 2, 2, 1)
    assert batch["label"][:, 0, 0, 0, 0].tolist() == [int(name) for name in batch["name"]]


def test_shared_memory_that_is_too_small_is_the_reason_given(monkeypatch):
    usage = types.SimpleNamespace(free=3 * 2**20 - 1)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(pipeline, "_SHARED_MEMORY", "/")

    class Large(Numbers):
        def __getitem__(self, index):
            return {"image": np.zeros((1, 256, 256, 4), np.uint8), "name": str(index)}

    message = r"worker_count: found 3 MiB of room in /, of which 2 processes need 6 MiB; expected"
    with pytest.raises(InputError, match=message):
        pipeline.train_iterator(Large(5), batch_size=4, seed=0, worker_count=2)
    pipeline.train_iterator(Large(5), batch_size=4, seed=0)
    usage.free *= 3
    pipeline.train_iterator(Large(5), batch_size=4, seed=0, worker_count=2)


def test_every_example_comes_once_an_epoch_in_changing_order():
    names = _names(pipeline.train_iterator(Numbers(10), batch_size=4, seed=0), 10)
    epochs = [names[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch, key=int) == [str(i) for i in range(10)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_depends_on_the_seed_alone():
    first, again, other = (
        _names(pipeline.train_iterator(Numbers(20), batch_size=5, seed=seed), 8)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_source_smaller_than_the_batch_repeats():
    batch = next(pipeline.train_iterator(Numbers(3), batch_size=8, seed=0))
    counts = [batch["name"].count(str(index)) for index in range(3)]
    assert sum(counts) == 8
    assert min(counts) >= 2


def test_shards_are_disjoint_and_together_one_epoch():
    # 10 examples do not divide by 3 shards: two epochs need 20 of the 21 that are read.
    shards = [
        _names(
            pipeline.train_iterator(
                Numbers(10), batch_size=1, seed=3, shard_index=index, num_shards=3
            ),
            7,
        )
        for index in range(3)
    ]
    stream = [name for step in zip(*shards, strict=True) for name in step]
    assert stream == _names(pipeline.train_iterator(Numbers(10), batch_size=1, seed=3), 21)
    assert sorted(stream[:10], key=int) == [str(i) for i in range(10)]


@pytest.mark.parametrize("num_read", [0, 3, 4])
def test_a_later_start_reads_what_was_left(num_read):
    """In the middle of an epoch of 10 examples too."""
    iterator = pipeline.train_iterator(Numbers(10), batch_size=3, seed=0)
    _names(iterator, num_read)
    later = pipeline.train_iterator(Numbers(10), batch_size=3, seed=0, first_batch=num_read)
    assert _names(later, 6) == _names(iterator, 6)


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_batches_go_on_with_another_number_of_shards(num_shards):
    """At the same number of examples over all of them."""
    expected = _names(pipeline.train_iterator(Numbers(10), batch_size=4, seed=0), 5)[3 * 4 :]
    shards = [
        pipeline.train_iterator(
            Numbers(10),
            batch_size=4 // num_shards,
            seed=0,
            shard_index=index,
            num_shards=num_shards,
            first_batch=3,
        )
        for index in range(num_shards)
    ]
    found = [name for _ in range(2) for shard in shards for name in next(shard)["name"]]
    assert found == expected


def test_processes_read_the_same_batches_as_threads():
    flags.FLAGS.mark_as_parsed()  # as in every command; Grain's processes ask for flags
    threads = pipeline.train_iterator(Numbers(10), batch_size=3, seed=0, first_batch=2)
    processes = pipeline.train_iterator(
        Numbers(10), batch_size=3, seed=0, first_batch=2, worker_count=2
    )
    assert _names(processes, 4) == _names(threads, 4)
    processes.close()


def test_a_closed_iterator_gives_nothing():
    iterator = pipeline.train_iterator(Numbers(4), batch_size=2, seed=0)
    next(iterator)
    iterator.close()
    with pytest.raises(ValueError, match="closed"):
        next(iterator)


def test_reading_goes_on_while_the_consumer_computes():
    read = []

    class Recording(Numbers):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    iterator = pipeline.train_iterator(Recording(100), batch_size=1, seed=0)
    next(iterator)
    deadline = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    iterator.close()
    assert len(read) >= 3


@pytest.mark.parametrize(("size", "sizes"), [(5, [2, 2, 1]), (4, [2, 2]), (1, [1]), (0, [])])
def test_evaluation_sees_every_example_once(size, sizes):
    batches = list(pipeline.eval_batches(Numbers(size), 2))
    assert [valid for _, valid in batches] == sizes
    names = [name for batch, valid in batches for name in batch["name"][:valid]]
    assert names == [str(index) for index in range(size)]
    for batch, _ in batches:
        assert batch["label"][:, 0, 0, 0, 0].tolist() == [int(name) for name in batch["name"]]
    if size == 5:
        assert batches[-1][0]["name"] == ["4", "4"]


def test_the_pipeline_does_not_load_tensorflow():
    program = """
import sys
import numpy as np
from sflow_jax.data import pipeline
from sflow_jax.errors import InputError
source = [{"label": np.zeros((1, 2, 2, 1), np.uint8), "name": "a"}] * 3
next(pipeline.train_iterator(source, batch_size=2, seed=0))
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
