"""From a run that has learned other classes: all parameters but those that read label maps.

A kernel that reads one-hot label maps has a channel for each class, and channels of other classes
mean nothing here: these kernels begin anew, and all others go on.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import ml_collections

from sflow_jax import variables
from sflow_jax.data.labels import ClassTable, LabelClass
from sflow_jax.methods import create_method
from sflow_jax.runs.checkpoints import restore_parts
from sflow_jax.runs.schedule import Schedule

Tree = dict[str, Any]

_PLAYERS = ("params", "discriminator_params")
_ANY_SCHEDULE = Schedule(1, 0, 0, 1, 1, 1)  # shapes do not depend on it


def kernels_of_classes(config: ml_collections.ConfigDict, class_table: ClassTable) -> list[str]:
    """Parameters of both players whose shapes depend on the number of classes.

    Returns:
        Paths such as 'params/generator/params/.../kernel'.
    """
    another = LabelClass(class_table.num_classes, "another", (0, 0, 0), None)
    larger = dataclasses.replace(class_table, classes=(*class_table.classes, another))
    before, after = (
        variables.shapes_of(dict(zip(_PLAYERS, _describe(config, table), strict=True)))
        for table in (class_table, larger)
    )
    return [path for path, shape in before.items() if shape != after[path]]


def restore_but_kernels_of_classes(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    source_table: ClassTable,
    parts: Tree,
    new_paths: list[str],
) -> tuple[Tree, int]:
    """Takes parameters from the newest checkpoint of a run on other classes.

    Args:
        config: of this run, whose networks are those of the other one.
        workdir: of the other run.
        source_table: what that has learned.
        parts: `params`, `discriminator_params` and `ema_params` of this run before its first step.
        new_paths: of the parameters that stay as they are in `parts`, and in the average too.

    Returns:
        The parts, and the step of the checkpoint.

    Raises:
        InputError: the checkpoint is damaged.
    """
    params, discriminator_params = _describe(config, source_table)
    described = {
        "params": params,
        "discriminator_params": discriminator_params,
        "ema_params": params,
    }
    restored, step = restore_parts(workdir, described)
    new = {*new_paths, *(f"ema_{path}" for path in new_paths)}
    return _merge(parts, restored, new), step


def _describe(config: ml_collections.ConfigDict, class_table: ClassTable) -> tuple[Tree, Tree]:
    method = create_method(config, class_table, _ANY_SCHEDULE)
    return jax.eval_shape(method.init, jax.random.key(0))


def _merge(fresh: Tree, restored: Tree, new_paths: set[str]) -> Tree:
    flat = variables.flatten(restored)

    def choose(path: tuple, leaf: jax.Array) -> jax.Array:
        name = "/".join(key.key for key in path)
        return (
            leaf
            if name in new_paths
            else jax.device_put(flat[name], getattr(leaf, "sharding", None))
        )

    return jax.tree_util.tree_map_with_path(choose, fresh)
