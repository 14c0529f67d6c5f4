"""The input pipeline alone, beside what training consumes.

    python -m benchmarks.input_pipeline [--sizes 128x64:32,512x256:64] [--dtype bfloat16]
        [--workers 0,2,8] [--frames 1] [--output DIR]

Each size is WIDTHxHEIGHT:NGF. A few scenes of `streets` are stored at that size and read over and
over, so that they lie in memory and what is measured is Grain and decoding. With 0 workers they are
read in threads of this process, as training does by default. `by one core alone` leaves Grain out:
from it follow the cores that decode half as much again as training consumes.

Training runs as `training.loop` does, without a perceptual network: once with a batch that lies on
the devices already, once fed by the pipeline. If both take the same time, reading and the way to
the device hide behind the step: the next batch is sent while a step runs.
"""

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import ml_collections
import numpy as np
from absl import flags

from benchmarks import measure
from benchmarks import options as options_lib
from configs import streets
from sflow_jax import sharding
from sflow_jax.data.pipeline import train_iterator
from sflow_jax.data.prepared import ExampleSource
from sflow_jax.training import set_up
from sflow_jax.training.monitoring import FiniteGuard

_NUM_EXAMPLES = 16
_HEADROOM = 1.5  # how much faster than training the pipeline should be
_SECONDS = 2.0  # of a measurement of the pipeline


def main() -> None:
    """Measures every size with every number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default_sizes = options_lib.parse_sizes("128x64:32,512x256:64")
    parser.add_argument("--sizes", type=options_lib.parse_sizes, default=default_sizes)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch_size", type=int, default=1, help="per device")
    parser.add_argument("--frames", type=int, choices=(1, 2), default=1)
    parser.add_argument("--workers", default="0", help="numbers of reading processes")
    parser.add_argument("--num_steps", type=int, default=5, help="per measurement of training")
    parser.add_argument("--num_measurements", type=options_lib.at_least(2), default=5)
    options_lib.add_output(parser)
    options = parser.parse_args()
    flags.FLAGS(["input_pipeline"])  # Grain's processes ask for its flags, which are absl's
    rows = []
    with tempfile.TemporaryDirectory() as data_dir:
        for size in options.sizes:
            rows += _measure_size(_config(options, size, data_dir), options)
    measure.report("input_pipeline", rows, options.output)


def _config(
    options: argparse.Namespace, size: options_lib.Size, data_dir: str
) -> ml_collections.ConfigDict:
    height, width, channels = size
    config = streets.get_config()
    config.data.data_dir, config.data.frames = data_dir, options.frames
    config.data.height, config.data.width = height, width
    config.data.num_train = _NUM_EXAMPLES
    config.data.num_validation = config.data.num_test = 1
    config.generator.width = config.discriminator.width = config.dned.width = channels
    config.generator.num_downsamplings, config.generator.num_blocks = 3, 9
    config.init_from = "none"
    config.loss.perceptual_weight = 0.0
    config.eval.every_steps = 0
    config.train.batch_size = options.batch_size
    config.train.compute_dtype = options.dtype
    return config


def _measure_size(
    config: ml_collections.ConfigDict, options: argparse.Namespace
) -> list[dict[str, object]]:
    run = set_up.set_up_run(config)
    source = run.dataset.source("train")
    batch_size = options.batch_size * jax.local_device_count()
    on_device, fed = _time_training(run, source, batch_size, options)
    consumed = batch_size / on_device.median
    per_core = _rate_of_one_core(source, options.num_measurements)
    rows = []
    for workers in map(int, options.workers.split(",")):
        seconds = _time_reading(source, batch_size, workers, options.num_measurements)
        rate = batch_size / seconds.median
        rows.append(
            {
                "size": f"{config.data.width}x{config.data.height}",
                "ngf": config.generator.width,
                "type": options.dtype,
                "frames": options.frames,
                "batch": batch_size,
                "workers": workers,
                "read, examples/s": round(rate, 1),
                "trained, examples/s": round(consumed, 2),
                "read / trained": round(rate / consumed, 1),
                "by one core alone": round(per_core, 1),
                f"cores for {_HEADROOM} x": math.ceil(_HEADROOM * consumed / per_core),
                "step, batch on the device": on_device,
                "step, fed": fed,
            }
        )
    return rows


def _rate_of_one_core(source: ExampleSource, num_measurements: int) -> float:
    """Examples per second, read one after the other without Grain."""
    timings = measure.time_in_turn(
        {"read": lambda: list(map(source.__getitem__, range(len(source))))}, num_measurements
    )
    return len(source) / timings["read"].median


def _time_reading(
    source: ExampleSource, batch_size: int, workers: int, num_measurements: int
) -> measure.Timing:
    """Seconds per batch, in a steady state: what was read ahead before is used up first."""
    iterator = train_iterator(source, batch_size=batch_size, seed=0, worker_count=workers)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        next(iterator)
        count += 1
    timing = measure.time_in_turn({"read": _take(iterator, count)}, num_measurements)["read"]
    iterator.close()
    return timing.divided_by(count)


def _take(iterator: Iterator, count: int) -> Callable[[], None]:
    def take() -> None:
        for _ in itertools.islice(iterator, count):
            pass

    return take


def _time_training(
    run: set_up.Run, source: ExampleSource, batch_size: int, options: argparse.Namespace
) -> tuple[measure.Timing, measure.Timing]:
    """Seconds per step with a batch on the devices, and with batches from the pipeline."""
    num_devices, num_steps = jax.local_device_count(), options.num_steps
    train_step = run.parallel_step()
    iterator = train_iterator(source, batch_size=batch_size, seed=0)
    state = sharding.replicate(run.create_state())

    def next_inputs() -> dict[str, np.ndarray]:
        return sharding.stack_for_devices(next(iterator), run.method.batch_keys, num_devices)

    resident = jax.pmap(lambda x: x)(next_inputs())

    def train(next_batch: Callable[[], dict]) -> None:
        nonlocal state
        guard = FiniteGuard()
        for step in range(num_steps):
            state, metrics = train_step(state, run.method.frozen_params, next_batch())
            guard.follow(step, metrics, [])
        guard.check()

    timings = measure.time_in_turn(
        {
            "on device": lambda: train(lambda: resident),
            "fed": lambda: train(next_inputs),
        },
        options.num_measurements,
    )
    iterator.close()
    on_device, fed = (timing.divided_by(num_steps) for timing in timings.values())
    return on_device, fed


if __name__ == "__main__":
    main()
