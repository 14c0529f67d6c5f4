"""What a run starts from: the networks of another run, or published weights."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax import configuration
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import user_path
from sflow_jax.methods import method_class
from sflow_jax.methods.base import Params
from sflow_jax.runs.checkpoints import newest_step, restore_parts
from sflow_jax.runs.record import RunRecord, check_was_trained
from sflow_jax.training.coarse_to_fine import (
    as_coarse,
    coarse_part,
    continues_coarser,
    with_coarse_part,
)
from sflow_jax.training.new_classes import kernels_of_classes, restore_but_kernels_of_classes
from sflow_jax.training.state import TrainState

NO_RUN = "none"
_NOT_OF_NETWORKS = ("generator.fixed_trunk", "generator.remat")
_NETWORKS = ("params", "discriminator_params", "ema_params")


def starts_from_run(config: ml_collections.ConfigDict) -> bool:
    """Whether `config.init_from` names a run, whose networks and average this one goes on with."""
    return config.init_from not in ("", NO_RUN)


def check_source(config: ml_collections.ConfigDict) -> None:
    """Checks that the run `config.init_from` has the networks that `config` describes.

    Raises:
        InputError: there is no such run, or no checkpoint yet, or it is of another method or has
            other networks, or these are not ready yet for the stage that the new run begins in, or
            it was imported.
    """
    workdir = _source(config)
    if not workdir:
        return
    check_was_trained(workdir, "config.init_from", "a run that was trained here")
    method = method_class(config)
    options = {"method", *method.options_of_networks(config)}
    source = configuration.load_config(workdir)
    differences = configuration.differences(
        source,
        as_coarse(config, source) if continues_coarser(source, config) else config,
        lambda field: (
            field not in _NOT_OF_NETWORKS
            and (field in options or field.partition(".")[0] in options)
        ),
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
    if reason := method.why_not_ready(config, RunRecord.load(workdir).schedule, step):
        raise InputError(f"config.init_from: {workdir} {reason}")


def check_classes(config: ml_collections.ConfigDict, class_table: ClassTable) -> None:
    """Checks that an enhancer's global generator has learned the classes of the dataset.

    Any other run may have learned other classes; see `new_classes`.

    Raises:
        InputError: it has learned others.
    """
    workdir = _source(config)
    if not workdir or ClassTable.from_json(workdir / CLASSES_FILE).has_classes_of(class_table):
        return
    if continues_coarser(configuration.load_config(workdir), config):
        raise InputError(
            f"config.init_from: {workdir} has learned other classes than those of the dataset, "
            f"{class_table.name!r}; expected the same ones of the global generator of an enhancer"
        )


def use_published(published: Mapping[str, Params], state: TrainState) -> TrainState:
    """Puts the networks that start from published weights into a state before its first step."""
    if not published:
        return state
    like = jax.tree.map(lambda x: x.sharding, {name: state.params[name] for name in published})
    placed = jax.device_put(dict(published), like)
    return dataclasses.replace(
        state,
        params={**state.params, **placed},
        ema_params={**state.ema_params, **jax.tree.map(jnp.copy, placed)},
    )


def initialize(
    config: ml_collections.ConfigDict, state: TrainState, class_table: ClassTable
) -> TrainState:
    """Takes all networks, and the average, from the newest checkpoint of `config.init_from`.

    Steps and optimizers start afresh. A local enhancer can start from a run of its global
    generator; see `coarse_to_fine`. What reads label maps begins anew if the run has learned other
    classes; see `new_classes`.

    Args:
        config: of the new run.
        state: before its first step.
        class_table: of its dataset.

    Raises:
        InputError: the checkpoint is damaged.
    """
    workdir = _source(config)
    if not workdir:
        return state
    parts = {name: getattr(state, name) for name in _NETWORKS}
    source = configuration.load_config(workdir)
    if continues_coarser(source, config):
        coarse, step = restore_parts(workdir, coarse_part(parts, source))
        parts = with_coarse_part(parts, coarse)
        print(f"an enhancer around the global generator at step {step} of {workdir}")
    elif not (learned := ClassTable.from_json(workdir / CLASSES_FILE)).has_classes_of(class_table):
        new = kernels_of_classes(config, class_table)
        parts, step = restore_but_kernels_of_classes(config, workdir, learned, parts, new)
        print(
            f"starting from step {step} of {workdir}, which has learned other classes "
            f"({len(learned.classes)} of {learned.name!r}; here {len(class_table.classes)} of "
            f"{class_table.name!r}): {', '.join(new) or 'no kernel'} begins anew"
        )
    else:
        parts, step = restore_parts(workdir, parts)
        print(f"starting from step {step} of {workdir}")
    return dataclasses.replace(state, **parts)


def _source(config: ml_collections.ConfigDict) -> pathlib.Path | None:
    return user_path(config.init_from) if starts_from_run(config) else None
