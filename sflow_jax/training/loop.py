"""The training loop: it only orchestrates data, step, log and checkpoints."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import grain
import jax
import ml_collections
import numpy as np
import tqdm

from sflow_jax import configuration, sharding
from sflow_jax.data.pipeline import check_worker_count, train_iterator
from sflow_jax.errors import InputError, TrainingError, writing_to
from sflow_jax.files import require_no_file, user_path
from sflow_jax.methods import create_method, method_class
from sflow_jax.methods.base import Method, Params, Scalars
from sflow_jax.methods.clip_method import ClipMethod
from sflow_jax.methods.image_method import ImageMethod
from sflow_jax.prepare import PreparedDataset, prepare
from sflow_jax.pretrained.perceptual import load_perceptual_network
from sflow_jax.runs import lock
from sflow_jax.runs.changes import note_changes
from sflow_jax.runs.checkpoints import Checkpoints, has_checkpoint
from sflow_jax.runs.palettes import collect_palettes, save_palettes
from sflow_jax.runs.record import RUN_FILE, RunRecord
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.clip_step import ClipStep, make_frame_step
from sflow_jax.training.initialize import (
    check_classes,
    check_source,
    initialize,
    starts_from_run,
    use_published,
)
from sflow_jax.training.memory import check_run_memory
from sflow_jax.training.metric_log import MetricLog, non_finite, to_scalars
from sflow_jax.training.preview import Preview
from sflow_jax.training.state import TrainState, create_state, describe_state
from sflow_jax.training.step import TrainStep, make_train_step
from sflow_jax.training.stopping import StopRequest, stop_request
from sflow_jax.training.storage import run_failures
from sflow_jax.training.validation import Validation, check_choice
from sflow_jax.training.workdir import check_workdir


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


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> TrainState:
    """Trains a run to its end, or from its newest checkpoint to its end.

    Args:
        config: the whole config.
        workdir: folder of the run; created, or continued where it holds a run of this config.

    Returns:
        The final state.

    Raises:
        InputError: config, weights, dataset or workdir are not usable, or another process is
            training this run.
        TrainingError: a loss became non-finite, in which case the last checkpoint is from before
            that, or the disk is full, or the run's folder or its data are gone.
    """
    configuration.check(config)
    workdir = user_path(workdir)
    require_no_file(workdir)
    if sharding.is_first_host():  # which holds it, perhaps before the others come here
        lock.refuse_if_held(workdir)  # found before the work of setting up
    check_workdir(config, workdir)
    run = set_up_run(config, is_resumed=has_checkpoint(workdir))
    with writing_to(workdir), contextlib.ExitStack() as stack:
        # Of several processes that train one run, the first writes.
        own = stack.enter_context(lock.hold(workdir)) if sharding.is_first_host() else None
        return _train(run, workdir, own)


def _train(run: Run, workdir: pathlib.Path, own: lock.Lock | None) -> TrainState:
    """Trains in a folder that is locked by this process, or by the first of several."""
    config, record = run.config, _record(run)
    if (workdir / RUN_FILE).exists():
        record.check_continues(workdir, run.dataset.class_table)
    sharding.wait_for_hosts("started")  # not of a job whose first process found the folder in use
    with (
        run_failures(workdir, run.dataset.directory),
        Checkpoints(workdir, config.checkpoint) as checkpoints,
    ):
        if checkpoints.latest_step is not None:
            state = checkpoints.restore(run.describe_state())
            print(f"resumed from step {checkpoints.latest_step} in {workdir}")
            if checkpoints.latest_step >= run.schedule.num_steps:
                print("this was the last step; a larger config.train.epochs continues the run")
        else:
            fresh = use_published(run.published, run.create_state())
            state = initialize(config, fresh, run.dataset.class_table)
        first_step = int(state.step)
        if sharding.is_first_host():
            _write_start(workdir, run, record, first_step)
        stop = stop_request(first_step)
        with (
            MetricLog(workdir, first_step) as log,
            contextlib.closing(run.batches(first_step)) as iterator,
            stop.listening(),
        ):
            preview = Preview(run.dataset, run.method, config)
            require = own.require if own else lambda: None
            return _optimize(run, state, iterator, checkpoints, log, preview, stop, require)


def _optimize(
    run: Run,
    state: TrainState,
    iterator: Iterator,
    checkpoints: Checkpoints,
    log: MetricLog,
    preview: Preview,
    stop: StopRequest,
    require_folder: Callable[[], None],
) -> TrainState:
    options, num_steps = run.config.log, run.schedule.num_steps
    num_devices = jax.local_device_count()
    train_step = run.parallel_step()
    # Once and for all: host arrays would cross to the devices at every step, and a state that lies
    # elsewhere than the step leaves it would be compiled for twice.
    state, frozen_params = sharding.replicate((state, run.method.frozen_params))
    guard = FiniteGuard()
    first = int(state.step)
    rate = ImageRate()
    is_silent = not sharding.is_first_host()
    with tqdm.tqdm(
        total=num_steps, initial=first, unit="step", desc="training", disable=is_silent
    ) as bar:
        for step in range(first + 1, num_steps + 1):
            batch = next(iterator)
            inputs = sharding.stack_for_devices(batch, run.method.batch_keys, num_devices)
            state, metrics = train_step(state, frozen_params, inputs)
            guard.follow(step, metrics, batch["name"])
            rate.count(run.images_made(step - 1))
            bar.update()
            if step % options.every_steps == 0 or step == num_steps:
                scalars = guard.check()
                require_folder()
                log.write_scalars(step, scalars | rate.measure())
                bar.set_postfix(l1=f"{scalars['l1']:.3f}", g=f"{scalars['generator/total']:.2f}")
            if (step % options.images_every_steps == 0 or step == num_steps) and not is_silent:
                guard.check()
                for name, picture in preview.draw(state).items():
                    log.write_picture(step, name, picture)
            # Before the checkpoint: a run that is killed in between evaluates this step again.
            if run.validation and run.validation.is_due(step):
                guard.check()
                log.write_scalars(step, run.validation.score(state))
                rate.restart()
            if checkpoints.is_due(step) or step == num_steps or stop:
                guard.check()
                require_folder()
                checkpoints.save(step, state)
            if stop:
                bar.close()
                print(f"stopped by {stop.cause} after step {step}; the same command resumes")
                break
            stop.follow(step)
    return state


class FiniteGuard:
    """Checks every step's losses, one step late, so that the device never waits for the host."""

    def __init__(self) -> None:
        self._pending: tuple[int, dict, list[str]] | None = None
        self._scalars: dict[str, float] = {}

    def follow(self, step: int, metrics: dict, names: list[str]) -> None:
        """Checks the step before and keeps this one for the next call.

        Raises:
            TrainingError: names the step, the losses and the examples.
        """
        self.check()
        self._pending = (step, metrics, names)

    def check(self) -> dict[str, float]:
        """Waits for the last step, checks it and returns its scalars.

        Raises:
            TrainingError: names the step, the losses and the examples.
        """
        if self._pending is None:
            return self._scalars
        step, metrics, names = self._pending
        self._pending = None
        self._scalars = to_scalars(jax.device_get(metrics))
        if bad := non_finite(self._scalars):
            values = ", ".join(f"{name} = {self._scalars[name]}" for name in bad)
            raise TrainingError(
                f"step {step}: non-finite {values}; batch: {', '.join(map(str, names))}. "
                "The last checkpoint is intact; a lower learning rate, in a new --workdir, may help"
            )
        return self._scalars


class ImageRate:
    """Images per second between two measurements; the first leaves compilation out."""

    def __init__(self) -> None:
        self._num_images = 0
        self._since: float | None = None

    def count(self, num_images: int) -> None:
        """Counts the images of a step."""
        self._num_images += num_images

    def measure(self) -> dict[str, float]:
        """`images_per_second` since the last call; nothing at the first."""
        num_images, since = self._num_images, self._since
        now = self.restart()
        if since is None:
            return {}
        return {"images_per_second": num_images / max(now - since, 1e-9)}

    def restart(self) -> float:
        """Leaves out what happened since the last call; returns the time in seconds."""
        self._num_images = 0
        self._since = time.perf_counter()
        return self._since


def _record(run: Run) -> RunRecord:
    return RunRecord(
        dataset=str(run.dataset.directory.absolute()),
        num_examples=run.dataset.num_examples["train"],
        global_batch_size=run.config.train.batch_size * jax.device_count(),
        schedule=run.schedule,
        data=run.dataset.fingerprint,
        config=configuration.fingerprint(run.config.to_dict()),
        num_threads=sharding.num_threads(),
    )


def _write_start(workdir: pathlib.Path, run: Run, record: RunRecord, step: int) -> None:
    """Writes what the run goes on with from a step on."""
    if (workdir / configuration.CONFIG_FILE).exists():
        note_changes(workdir, run.config, step)
    record.save(workdir, run.dataset.class_table)
    configuration.save(run.config, workdir)
    if run.palettes is not None:
        save_palettes(workdir, run.palettes)
