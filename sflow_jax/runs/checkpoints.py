"""Orbax checkpoints of a run: the train state, whose step is also the position in the data."""

import contextlib
import itertools
import os
import pathlib
import sys
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import jax
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy, save_decision_policy

from sflow_jax import manifest, sharding
from sflow_jax.errors import InputError, reading_from
from sflow_jax.files import not_found

CHECKPOINT_FOLDER = "checkpoints"
State = TypeVar("State")  # a tree of arrays; in training a `TrainState`

_MOST_ATTEMPTS = 20  # to read a checkpoint of a run that is trained meanwhile
_WAITING_SECONDS = 0.5  # in which a checkpoint that is being removed shows that it is
_STATE_FOLDER = "state"
_DAMAGED = ".damaged"
_CHANGED_LAST = ("_CHECKPOINT_METADATA",)  # by Orbax, which does without it if it is damaged
_USABLE = "a whole checkpoint of the networks that config.json describes, written by this version"


class Checkpoints:
    """Saves and restores a run; a context manager that waits for writes still under way.

    A checkpoint is written to a temporary folder and renamed when it is whole, so that a run killed
    at any time leaves its last whole checkpoint. It has a list of its files and their sums.
    """

    def __init__(self, workdir: pathlib.Path, options: ml_collections.ConfigDict):
        """Opens `workdir/checkpoints`; `options` is `config.checkpoint`."""
        self._folder = (workdir / CHECKPOINT_FOLDER).absolute()
        self._step_in_writing: int | None = None
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=save_decision_policy.FixedIntervalPolicy(options.every_steps),
                preservation_policy=preservation_policy.LatestN(options.keep),
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
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

    def save(self, step: int, state: Any) -> None:
        """Starts to write a checkpoint; copies the state first, so that it may be donated.

        Several processes write one checkpoint together: all of them have to call this.
        """
        if step == self.latest_step:
            return
        state = sharding.to_all_hosts(jax.tree.map(_placed_for_orbax, state))
        items = ocp.args.Composite(state=ocp.args.StandardSave(state))
        self._manager.wait_until_finished()
        self._step_in_writing = step
        self._manager.save(step, args=items, force=True)

    def _write_manifest(self) -> None:
        """Lists the files of a checkpoint that is written, in the thread that writes it."""
        if sharding.is_first_host():
            step = str(self._step_in_writing)
            # Its name still has a suffix of Orbax's, which other versions have taken off by now.
            names = (path for path in self._folder.iterdir() if path.name.split(".")[0] == step)
            written = (path for path in names if not path.name.endswith(_DAMAGED))
            newest = max(written, key=lambda path: path.stat().st_mtime_ns)
            manifest.write_manifest(newest, _CHANGED_LAST)

    def restore(self, state: State) -> State:
        """Restores the newest whole checkpoint, which is `latest_step` from then on.

        It may have been saved by any number of processes and devices.

        Newer ones that are damaged are named, and renamed so that the run can write them again.

        Args:
            state: arrays or descriptions of them (`jax.ShapeDtypeStruct`) in the same structure,
                for shapes and placement; of several processes as `sharding.describe_saved` places
                them.

        Returns:
            The saved state; of several processes each one's own copy.

        Raises:
            InputError: no checkpoint is whole, or the newest is of other networks.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(target))

        def read(step: int) -> State:
            return self._manager.restore(step, args=items)[_STATE_FOLDER]

        restored, step, damaged = _read_newest(self._folder, self._manager.all_steps(), read)
        for error in damaged.values():
            print(f"note: {error}; step {step} is used", file=sys.stderr)
        self._set_aside(damaged)
        return sharding.from_all_hosts(restored)

    def _set_aside(self, steps: Collection[int]) -> None:
        """Renames checkpoints, so that they are none for Orbax: training may come to them again."""
        for step in steps if sharding.is_first_host() else ():
            names = (f"{step}.{number}{_DAMAGED}" for number in itertools.count(1))
            free = next(name for name in names if not (self._folder / name).exists())
            (self._folder / str(step)).rename(self._folder / free)
            print(f"note: {self._folder / str(step)} is kept as {free}", file=sys.stderr)
        if steps:
            sharding.wait_for_hosts("set aside")
            self._manager.reload()


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a run has a checkpoint, be it damaged."""
    return bool(_steps(workdir))


def newest_step(workdir: pathlib.Path) -> int | None:
    """The step of a run's newest checkpoint that looks whole, or None; its content is not read."""
    for step in _steps(workdir):
        try:
            _require_whole(workdir / CHECKPOINT_FOLDER / str(step), manifest.check_sizes)
        except InputError:
            continue
        return step
    return None


def _steps(workdir: pathlib.Path) -> list[int]:
    """The steps of a run's checkpoints, the newest first."""
    folder = workdir / CHECKPOINT_FOLDER
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(path.name) for path in paths if path.name.isdecimal()), reverse=True)


def _require_whole(
    folder: pathlib.Path, check: Callable[[pathlib.Path], None] = manifest.check_contents
) -> None:
    """Checks that a checkpoint is what was written; of an earlier version, that it is there.

    Raises:
        InputError: names the first file that is damaged.
    """
    if not (folder / _STATE_FOLDER).is_dir():
        raise InputError(f"{folder}: found no {_STATE_FOLDER}, expected {_USABLE}")
    check(folder)


def _read_newest(
    folder: pathlib.Path, steps: Iterable[int], read: Callable[[int], State]
) -> tuple[State, int, dict[int, InputError]]:
    """Reads the newest whole checkpoint.

    Args:
        folder: of the checkpoints.
        steps: of the checkpoints in it.
        read: reads that of a step; whatever it raises is a fault of the checkpoint.

    Returns:
        What was read, its step, and why the newer ones were not, by step.

    Raises:
        InputError: no checkpoint is whole, or the newest whole one is of other networks.
    """
    damaged: dict[int, InputError] = {}
    for step in sorted(steps, reverse=True):
        place = folder / str(step)
        try:
            _require_whole(place)
        except InputError as error:
            damaged[step] = error
            continue
        try:
            with reading_from(place, _USABLE):
                return read(step), step, damaged
        except InputError as error:
            if manifest.has_manifest(place):
                raise  # it is whole, and so are the networks in it
            damaged[step] = error
    newest, *others = damaged.values()
    raise InputError(f"{newest}; no earlier checkpoint is whole") if others else newest


def save_networks(workdir: pathlib.Path, step: int, ema_params: Any) -> None:
    """Writes a checkpoint of averaged networks alone, for sampling and evaluation.

    No training can go on from it: it has neither optimizers nor a position in the data.

    Raises:
        OSError: the folder cannot be written.
    """
    with ocp.CheckpointManager((workdir / CHECKPOINT_FOLDER).absolute()) as manager:
        state = ocp.args.StandardSave({"ema_params": ema_params})
        manager.save(step, args=ocp.args.Composite(state=state))
    manifest.write_manifest(workdir / CHECKPOINT_FOLDER / str(step), _CHANGED_LAST)


def restore_parts(workdir: pathlib.Path, parts: dict, step: int | None = None) -> tuple[dict, int]:
    """Restores some fields of a run's state and reads nothing else.

    The run may be in training, which writes and removes checkpoints: where what is read disappears,
    it tries again with what is there then.

    Args:
        workdir: the folder of the run.
        parts: fields of `TrainState` by name, with values of the same structure, for shapes.
        step: which checkpoint; by default the newest that is whole. Newer ones that are damaged
            are named.

    Returns:
        The saved fields by name, and their step.

    Raises:
        InputError: there is no (such) checkpoint, or it is damaged or of other networks.
    """
    folder = (workdir / CHECKPOINT_FOLDER).absolute()
    if not folder.is_dir():
        raise not_found(folder, "the checkpoints of a training run")
    for attempt in itertools.count(1):
        before = _describe_files(folder)
        try:
            restored, found, damaged = _restore_parts_now(folder, parts, step)
        except Exception:
            if attempt == _MOST_ATTEMPTS or not _changes(folder, before):
                raise
            continue
        if not damaged or attempt == _MOST_ATTEMPTS or not _changes(folder, before):
            break
    for error in damaged.values():
        print(f"note: {error}; step {found} is used", file=sys.stderr)
    return dict(restored), found


def _describe_files(folder: pathlib.Path) -> set[tuple[str, int]]:
    """The names and sizes of all files below a folder, which may change meanwhile."""
    found = set()
    for place, _, names in os.walk(folder):
        for path in (pathlib.Path(place, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_size))
    return found


def _changes(folder: pathlib.Path, before: set[tuple[str, int]]) -> bool:
    """Whether files of a folder are others than before, or are about to be: it waits for them."""
    time.sleep(_WAITING_SECONDS)
    return _describe_files(folder) != before


def _restore_parts_now(
    folder: pathlib.Path, parts: dict, step: int | None
) -> tuple[Any, int, dict[int, InputError]]:
    """What `_read_newest` finds in the folder of the checkpoints.

    Raises:
        InputError: there is no (such) checkpoint, or it is damaged or of other networks.
    """
    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        steps = manager.all_steps()
        if not steps:
            raise InputError(f"{folder}: holds no whole checkpoint yet")
        if step is not None and step not in steps:
            raise InputError(f"{folder}: found steps {sorted(steps)}, expected step {step}")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, parts)
        restore = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=True,
        )

        def read(step: int) -> dict:
            return manager.restore(step, args=ocp.args.Composite(state=restore))[_STATE_FOLDER]

        wanted = steps if step is None else [step]
        return _read_newest(folder, wanted, read)


def _placed_for_orbax(leaf: Any) -> Any:
    """The same array in a placement that Orbax can describe.

    Before JAX 0.8 `pmap` returned arrays in one of its own, for each of which Orbax logs a warning.
    """
    placement = getattr(leaf, "sharding", None)
    is_pmaps = type(placement).__name__ == "PmapSharding"
    return sharding.on_first_device(leaf) if is_pmaps else leaf
