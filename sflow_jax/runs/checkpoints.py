"""Orbax checkpoints of a run: the train state together with the position in the data."""

import pathlib
from typing import Any, TypeVar

import grain
import jax
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy, save_decision_policy

from sflow_jax import sharding
from sflow_jax.errors import InputError, reading_from
from sflow_jax.files import not_found

CHECKPOINT_FOLDER = "checkpoints"
State = TypeVar("State")  # a tree of arrays; in training a `TrainState`

_USABLE = "a whole checkpoint of the networks that config.json describes, written by this version"


class Checkpoints:
    """Saves and restores a run; a context manager that waits for writes still under way.

    A checkpoint is written to a temporary folder and renamed when it is whole, so that a run killed
    at any time leaves its last whole checkpoint.
    """

    def __init__(self, workdir: pathlib.Path, options: ml_collections.ConfigDict):
        """Opens `workdir/checkpoints`; `options` is `config.checkpoint`."""
        self._manager = ocp.CheckpointManager(
            (workdir / CHECKPOINT_FOLDER).absolute(),
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=save_decision_policy.FixedIntervalPolicy(options.every_steps),
                preservation_policy=preservation_policy.LatestN(options.keep),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def is_due(self, step: int) -> bool:
        """Whether the policy wants a checkpoint after this many steps."""
        return self._manager.should_save(step)

    def save(self, step: int, state: Any, iterator: grain.DatasetIterator) -> None:
        """Starts to write a checkpoint; copies the state first, so that it may be donated."""
        if step == self.latest_step:
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.tree.map(_placed_for_orbax, state)),
            data=grain.checkpoint.CheckpointSave(iterator),
        )
        self._manager.save(step, args=items, force=True)

    def restore(self, state: State, iterator: grain.DatasetIterator) -> State:
        """Restores the newest checkpoint.

        Args:
            state: arrays or descriptions of them (`jax.ShapeDtypeStruct`) in the same structure,
                for shapes and placement.
            iterator: moved, in place, to where the saved run had read.

        Returns:
            The saved state.

        Raises:
            InputError: the checkpoint is damaged, or of other networks.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(target),
            data=grain.checkpoint.CheckpointRestore(iterator),
        )
        with reading_from(self._manager.directory / str(self.latest_step), _USABLE):
            return self._manager.restore(self.latest_step, args=items)["state"]


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a run has a whole checkpoint to continue from."""
    return newest_step(workdir) is not None


def newest_step(workdir: pathlib.Path) -> int | None:
    """The step of a run's newest whole checkpoint, or None, without opening it."""
    folder = (workdir / CHECKPOINT_FOLDER).absolute()
    return max(ocp.utils.checkpoint_steps(folder), default=None) if folder.is_dir() else None


def save_networks(workdir: pathlib.Path, step: int, ema_params: Any) -> None:
    """Writes a checkpoint of averaged networks alone, for sampling and evaluation.

    No training can go on from it: it has neither optimizers nor a position in the data.

    Raises:
        OSError: the folder cannot be written.
    """
    with ocp.CheckpointManager((workdir / CHECKPOINT_FOLDER).absolute()) as manager:
        state = ocp.args.StandardSave({"ema_params": ema_params})
        manager.save(step, args=ocp.args.Composite(state=state))


def restore_parts(workdir: pathlib.Path, parts: dict, step: int | None = None) -> tuple[dict, int]:
    """Restores some fields of a run's state and reads nothing else.

    Args:
        workdir: the folder of the run.
        parts: fields of `TrainState` by name, with values of the same structure, for shapes.
        step: which checkpoint; the newest by default.

    Returns:
        The saved fields by name, and their step.

    Raises:
        InputError: there is no (such) checkpoint, or it is damaged or of other networks.
    """
    folder = (workdir / CHECKPOINT_FOLDER).absolute()
    if not folder.is_dir():
        raise not_found(folder, "the checkpoints of a training run")
    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        steps = manager.all_steps()
        if not steps:
            raise InputError(f"{folder}: holds no whole checkpoint yet")
        if step is not None and step not in steps:
            raise InputError(f"{folder}: found steps {sorted(steps)}, expected step {step}")
        step = max(steps) if step is None else step
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, parts)
        restore = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=True,
        )
        with reading_from(folder / str(step), _USABLE):
            restored = manager.restore(step, args=ocp.args.Composite(state=restore))
    return dict(restored["state"]), step


def _placed_for_orbax(leaf: Any) -> Any:
    """The same array in a placement that Orbax can describe.

    Before JAX 0.8 `pmap` returned arrays in one of its own, for each of which Orbax logs a warning.
    """
    placement = getattr(leaf, "sharding", None)
    is_pmaps = type(placement).__name__ == "PmapSharding"
    return sharding.on_first_device(leaf) if is_pmaps else leaf
