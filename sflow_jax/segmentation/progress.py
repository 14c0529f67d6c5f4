"""The Orbax checkpoint from which a training of a segmenter continues after an interruption."""

import json
import pathlib
import shutil
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy, save_decision_policy

from sflow_jax.errors import InputError, reading_from

State = TypeVar("State")


class Progress:
    """The newest state of a training, in a folder, with the settings that led to it.

    A context manager that waits for writes still under way.

    Attributes:
        step: steps done when the state was saved; 0 if there is none.
    """

    def __init__(self, folder: pathlib.Path, settings: dict[str, Any], every_steps: int = 500):
        """Opens the folder and makes it if it is not there.

        Args:
            folder: of this training alone.
            settings: of the training, such as JSON can hold; a state of others is refused.
            every_steps: how often `save` writes.

        Raises:
            InputError: the state is damaged or of a training with other settings.
        """
        self._folder, self._settings = folder.absolute(), settings
        if folder.is_file():
            raise InputError(f"{folder}: found a file, expected the folder of a training's state")
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                save_decision_policy=save_decision_policy.FixedIntervalPolicy(every_steps),
                preservation_policy=preservation_policy.LatestN(1),
            ),
        )
        self.step = self._manager.latest_step() or 0
        if self.step:
            self._check_settings()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def _check_settings(self) -> None:
        found = json.dumps(self._read("settings", ocp.args.JsonRestore()))
        expected = json.dumps(self._settings)
        if found != expected:
            raise InputError(
                f"{self._folder}: found a training with {found}, expected {expected}; "
                "remove it to begin anew"
            )

    def restore(self, state: State) -> State:
        """The saved state in the structure of `state`, or `state` itself if there is none.

        Raises:
            InputError: the saved state is damaged.
        """
        if not self.step:
            return state
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        return self._read("state", ocp.args.StandardRestore(target))

    def _read(self, item: str, restore: ocp.args.CheckpointArgs) -> Any:
        items = ocp.args.Composite(**{item: restore})
        # No advice to remove it: what cannot be read may be something else.
        expected = "the state of a training of a segmenter, or another --output"
        with reading_from(self._folder / str(self.step), expected):
            return self._manager.restore(self.step, args=items)[item]

    def save(self, step: int, state: Any) -> None:
        """Starts to write the state after `step` steps, if it is time; copies it first."""
        items = ocp.args.Composite(
            settings=ocp.args.JsonSave(self._settings), state=ocp.args.StandardSave(state)
        )
        self._manager.save(step, args=items)

    def remove(self) -> None:
        """Deletes the folder, once the training has ended."""
        self._manager.close()
        # Renamed first: a folder half of which is gone would be taken for a damaged one.
        removed = self._folder.with_name(self._folder.name + ".removed")
        shutil.rmtree(removed, ignore_errors=True)
        shutil.rmtree(self._folder.rename(removed))
