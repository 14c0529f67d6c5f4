"""Starts a run from the networks of another: the video stage from the image stage."""

import dataclasses
import pathlib

import ml_collections

from sflow_jax import configuration
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import user_path
from sflow_jax.runs.checkpoints import newest_step, restore_parts
from sflow_jax.runs.record import RunRecord
from sflow_jax.training.state import TrainState

NO_RUN = "none"
_NETWORKS = ("params", "discriminator_params", "ema_params")
_SAME_SECTIONS = ("edges", "generator", "discriminator")  # what decides the networks' meaning
_SAME_FIELDS = ("dned.width", "dned.input")
_DNED_EDGES = "loss.side_weights"  # what the edge map is, where the generator sees DNED's


def starts_from_run(config: ml_collections.ConfigDict) -> bool:
    """Whether `config.init_from` names a run, whose networks and average this one goes on with."""
    return config.init_from not in ("", NO_RUN)


def check_source(config: ml_collections.ConfigDict) -> None:
    """Checks that the run `config.init_from` has the networks that `config` describes.

    Raises:
        InputError: there is no such run, or no checkpoint yet, or it has other networks or edges,
            or its generator does not yet know the edges that it would be given from the first step.
    """
    workdir = _source(config)
    if not workdir:
        return
    sees_dned = config.generator.edges == "dned"
    same_fields = (*_SAME_FIELDS, _DNED_EDGES) if sees_dned else _SAME_FIELDS
    differences = configuration.differences(
        configuration.load_config(workdir),
        config,
        lambda field: field in same_fields or field.partition(".")[0] in _SAME_SECTIONS,
    )
    if differences:
        raise InputError(
            f"config.init_from: {workdir} holds other networks ({'; '.join(differences)}); "
            "expected the same values here as there"
        )
    step = newest_step(workdir)
    if step is None:
        raise InputError(
            f"config.init_from: {workdir} holds no whole checkpoint yet; expected a trained run"
        )
    if sees_dned and not (config.train.laplacian_epochs or config.train.ramp_epochs):
        _check_stage(workdir, step)


def _check_stage(workdir: pathlib.Path, step: int) -> None:
    """Checks that the generator of a run has come to see DNED's edges alone."""
    schedule = RunRecord.load(workdir).schedule
    share = float(schedule.dned_share(step))
    if share < 1:
        raise InputError(
            f"config.init_from: {workdir} is at step {step}, where the generator's edges are "
            f"DNED's by {share:.0%}; expected step {schedule.laplacian_steps + schedule.ramp_steps}"
            " or later, or config.train.laplacian_epochs and ramp_epochs that lead there"
        )


def check_classes(config: ml_collections.ConfigDict, class_table: ClassTable) -> None:
    """Checks that the run `config.init_from` has learned the classes of the dataset.

    Raises:
        InputError: it has learned others.
    """
    workdir = _source(config)
    if workdir and ClassTable.from_json(workdir / CLASSES_FILE) != class_table:
        raise InputError(
            f"config.init_from: {workdir} has learned other classes than those of the dataset, "
            f"{class_table.name!r}; expected a run on the same classes"
        )


def initialize(config: ml_collections.ConfigDict, state: TrainState) -> TrainState:
    """Takes all networks, and the average, from the newest checkpoint of `config.init_from`.

    Steps and optimizers start afresh.

    Raises:
        InputError: the checkpoint is damaged.
    """
    workdir = _source(config)
    if not workdir:
        return state
    parts, step = restore_parts(workdir, {name: getattr(state, name) for name in _NETWORKS})
    print(f"starting from step {step} of {workdir}")
    return dataclasses.replace(state, **parts)


def _source(config: ml_collections.ConfigDict) -> pathlib.Path | None:
    return user_path(config.init_from) if starts_from_run(config) else None
