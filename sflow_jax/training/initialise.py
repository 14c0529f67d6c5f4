"""Starts a run from the networks of another: the video stage from the image stage."""

import pathlib

import ml_collections

from sflow_jax import configuration
from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.training.checkpoints import has_checkpoint, restore_parts
from sflow_jax.training.state import TrainState

NO_RUN = "none"
_NETWORKS = ("params", "discriminator_params", "ema_params")
_SAME_SECTIONS = ("edges", "generator", "discriminator")  # what decides the networks' meaning
_SAME_FIELDS = ("dned.width", "dned.input")


def check_source(config: ml_collections.ConfigDict) -> None:
    """Checks that the run `config.init_from` has the networks that `config` describes.

    Raises:
        InputError: there is no such run, or no checkpoint yet, or it has other networks or edges.
    """
    workdir = _source(config)
    if not workdir:
        return
    differences = configuration.differences(
        configuration.load(workdir),
        config,
        lambda field: field in _SAME_FIELDS or field.partition(".")[0] in _SAME_SECTIONS,
    )
    if differences:
        raise InputError(
            f"config.init_from: {workdir} holds other networks ({'; '.join(differences)}); "
            "expected the same values here as there"
        )
    if not has_checkpoint(workdir):
        raise InputError(
            f"config.init_from: {workdir} holds no whole checkpoint yet; expected a trained run"
        )


def check_classes(config: ml_collections.ConfigDict, class_table: ClassTable) -> None:
    """Checks that the run `config.init_from` has learnt the classes of the dataset.

    Raises:
        InputError: it has learnt others.
    """
    workdir = _source(config)
    if workdir and ClassTable.from_json(workdir / configuration.CLASSES_FILE) != class_table:
        raise InputError(
            f"config.init_from: {workdir} has learnt other classes than those of the dataset, "
            f"{class_table.name!r}; expected a run on the same classes"
        )


def initialise(config: ml_collections.ConfigDict, state: TrainState) -> TrainState:
    """Takes all networks, and the average, from the newest checkpoint of `config.init_from`.

    Steps and optimisers start afresh.

    Raises:
        InputError: the checkpoint is damaged.
    """
    workdir = _source(config)
    if not workdir:
        return state
    parts, step = restore_parts(workdir, {name: getattr(state, name) for name in _NETWORKS})
    print(f"starting from step {step} of {workdir}")
    return state.replace(**parts)


def _source(config: ml_collections.ConfigDict) -> pathlib.Path | None:
    is_named = config.init_from not in ("", NO_RUN)
    return pathlib.Path(config.init_from).expanduser() if is_named else None
