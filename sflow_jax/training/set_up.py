"""A run before its first step: its data, method, schedule and steps, checked and put together."""

import dataclasses
from collections.abc import Callable, Mapping

import grain
import jax
import ml_collections
import numpy as np

from sflow_jax import configuration, sharding
from sflow_jax.data.pipeline import check_worker_count, train_iterator
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method, method_class
from sflow_jax.methods.base import Method, Params, Scalars
from sflow_jax.methods.clip_method import ClipMethod
from sflow_jax.methods.image_method import ImageMethod
from sflow_jax.prepare import PreparedDataset, prepare
from sflow_jax.pretrained.perceptual import load_perceptual_network
from sflow_jax.runs.palettes import collect_palettes
from sflow_jax.runs.record import RunRecord
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.clip_step import ClipStep, make_frame_step
from sflow_jax.training.initialize import (
    check_classes,
    check_source,
    starts_from_run,
)
from sflow_jax.training.memory import check_run_memory
from sflow_jax.training.state import TrainState, create_state, describe_state
from sflow_jax.training.step import TrainStep, make_train_step
from sflow_jax.training.validation import Validation, check_choice


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run is made of before its first step.

    Attributes:
        config: the whole config.
        dataset: the prepared dataset.
        method: networks, conditions and loss terms.
        schedule: the run in steps.
        validation: scores the run at times, if `eval.every_steps` is not 0.
        palettes: what the generator will be told in use, if it is told colors.
        published: weights that networks start from, by name.
    """

    config: ml_collections.ConfigDict
    dataset: PreparedDataset
    method: Method
    schedule: Schedule
    validation: Validation | None
    palettes: np.ndarray | None
    published: Mapping[str, Params]

    def device_step(self, axis_name: str | None = sharding.AXIS) -> TrainStep:
        """The train step of one device; of a method that remembers, on one frame of each clip."""
        if isinstance(self.method, ClipMethod):
            return make_frame_step(self.method, self.schedule, self.config, axis_name)
        assert isinstance(self.method, ImageMethod)
        return make_train_step(self.method, self.schedule, self.config, axis_name)

    def parallel_step(self) -> Callable[..., tuple[TrainState, Scalars]]:
        """The train step of all local devices; its batch is [devices, batch, ...]."""
        if isinstance(self.method, ClipMethod):
            return ClipStep(self.method, self.schedule, self.config)
        return sharding.parallelize(self.device_step())

    def images_made(self, step: int) -> int:
        """How many images the step after `step` others makes, on all devices."""
        num_images = self.config.data.frames
        if isinstance(self.method, ClipMethod):
            first, end = self.method.frames_to_make(step)
            num_images = end - first
        return num_images * self.config.train.batch_size * jax.device_count()

    def batches(self, first_step: int) -> grain.DatasetIterator:
        """This process's share of the batches from a step on."""
        return train_iterator(
            self.dataset.source("train"),
            batch_size=self.config.train.batch_size * jax.local_device_count(),
            seed=self.config.seed,
            shard_index=jax.process_index(),
            num_shards=jax.process_count(),
            worker_count=self.config.data.worker_count,
            first_batch=first_step,
        )

    def record(self) -> RunRecord:
        """What of it is kept beside its config."""
        return RunRecord(
            dataset=str(self.dataset.directory.absolute()),
            num_examples=self.dataset.num_examples["train"],
            global_batch_size=self.config.train.batch_size * jax.device_count(),
            schedule=self.schedule,
            data=self.dataset.fingerprint,
            config=configuration.fingerprint(self.config.to_dict()),
            num_threads=sharding.num_threads(),
        )

    def create_state(self) -> TrainState:
        """The state before the first step."""
        return create_state(self.method, self.config, self.schedule)

    def describe_state(self) -> TrainState:
        """Shapes, types and placement of its arrays."""
        return describe_state(self.method, self.config, self.schedule)


def set_up_run(config: ml_collections.ConfigDict, is_resumed: bool = False) -> Run:
    """Checks the config, loads frozen weights, then prepares the data: the cheap failures first.

    Args:
        config: the whole config.
        is_resumed: whether the run has a checkpoint, and needs no other run to start from.

    Raises:
        InputError: the config, the weights or the dataset are not usable.
    """
    configuration.check(config)
    if not is_resumed:
        check_source(config)
    check_choice(config)
    check_worker_count(config.data.worker_count)
    perceptual_network = load_perceptual_network(config)
    starts_afresh = not (is_resumed or starts_from_run(config))
    published = method_class(config).published_params(config) if starts_afresh else {}
    dataset = prepare(config.data)
    if not dataset.num_examples.get("train"):
        raise InputError(f"{dataset.directory}: holds no training examples")
    if not is_resumed:
        check_classes(config, dataset.class_table)
    schedule = Schedule.from_config(
        config.train,
        dataset.num_examples["train"],
        config.train.batch_size * jax.device_count(),
    )
    palettes, class_table = None, dataset.class_table
    if method_class(config).wants_palettes(config):
        palettes = collect_palettes(dataset.source("train"), class_table.num_classes, config.seed)
    method = create_method(config, class_table, schedule, perceptual_network, palettes)
    dataset.require_keys(
        method.batch_keys,
        "what this config trains on (without instances: pix2pixhd.boundaries=False, "
        "vid2vid.boundaries=False)",
    )
    check_run_memory(config, method, schedule, dataset.schema)
    validation = Validation(dataset, method, schedule, config) if config.eval.every_steps else None
    return Run(config, dataset, method, schedule, validation, palettes, published)
