"""The training loop, and how a run begins: anew, or from its newest checkpoint."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax
import ml_collections

from sflow_jax import configuration, sharding
from sflow_jax.errors import writing_to
from sflow_jax.files import require_no_file, user_path
from sflow_jax.runs import lock
from sflow_jax.runs.changes import note_changes
from sflow_jax.runs.checkpoints import Checkpoints, has_checkpoint
from sflow_jax.runs.palettes import save_palettes
from sflow_jax.runs.record import RUN_FILE, RunRecord
from sflow_jax.training.initialize import initialize, use_published
from sflow_jax.training.outputs import Outputs
from sflow_jax.training.set_up import Run, set_up_run
from sflow_jax.training.state import TrainState
from sflow_jax.training.stopping import StopRequest, stop_request
from sflow_jax.training.storage import run_failures
from sflow_jax.training.workdir import check_workdir


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
    record = run.record()
    if (workdir / RUN_FILE).exists():
        record.check_continues(workdir, run.dataset.class_table)
    sharding.wait_for_hosts("started")  # not of a job whose first process found the folder in use
    with (
        run_failures(workdir, run.dataset.directory),
        Checkpoints(workdir, run.config.checkpoint) as checkpoints,
    ):
        state = _first_state(run, workdir, checkpoints)
        step = int(state.step)
        if sharding.is_first_host():
            _write_start(workdir, run, record, step)
        stop = stop_request(step)
        with (
            Outputs(run, workdir, checkpoints, step, own.require if own else lambda: None) as out,
            contextlib.closing(run.batches(step)) as batches,
            stop.listening(),
        ):
            return _optimize(run, state, batches, out, stop)


def _first_state(run: Run, workdir: pathlib.Path, checkpoints: Checkpoints) -> TrainState:
    """The newest whole checkpoint, or what the run starts from."""
    if checkpoints.latest_step is None:
        fresh = use_published(run.published, run.create_state())
        return initialize(run.config, fresh, run.dataset.class_table)
    state = checkpoints.restore(run.describe_state())
    print(f"resumed from step {checkpoints.latest_step} in {workdir}")
    if checkpoints.latest_step >= run.schedule.num_steps:
        print("this was the last step; a larger config.train.epochs continues the run")
    return state


def _write_start(workdir: pathlib.Path, run: Run, record: RunRecord, step: int) -> None:
    """Writes what the run goes on with from a step on."""
    if (workdir / configuration.CONFIG_FILE).exists():
        note_changes(workdir, run.config, step)
    record.save(workdir, run.dataset.class_table)
    configuration.save(run.config, workdir)
    if run.palettes is not None:
        save_palettes(workdir, run.palettes)


def _optimize(
    run: Run, state: TrainState, batches: Iterator, outputs: Outputs, stop: StopRequest
) -> TrainState:
    train_step = run.parallel_step()
    # Once and for all: host arrays would cross to the devices at every step, and a state that lies
    # elsewhere than the step leaves it would be compiled for twice.
    state, frozen_params = sharding.replicate((state, run.method.frozen_params))
    for step in range(int(state.step) + 1, run.schedule.num_steps + 1):
        batch = next(batches)
        inputs = sharding.stack_for_devices(batch, run.method.batch_keys, jax.local_device_count())
        state, metrics = train_step(state, frozen_params, inputs)
        outputs.follow(step, metrics, batch["name"])
        is_stopped = bool(stop)  # asked once: what comes later is for the next step
        outputs.write(step, state, is_stopped)
        if is_stopped:
            outputs.close()
            print(f"stopped by {stop.cause} after step {step}; the same command resumes")
            break
        stop.follow(step)
    return state
