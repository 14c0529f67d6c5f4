"""The file from which a short training continues after an interruption."""

import json
import pathlib
from typing import Any

import flax.serialization
import msgpack

from sflow_jax.errors import InputError
from sflow_jax.files import write_whole


class Progress:
    """A train state on disk, beside the settings that led to it.

    Attributes:
        step: steps done when it was saved; 0 if there is no file.
    """

    def __init__(self, path: pathlib.Path, settings: dict[str, Any], every_steps: int = 500):
        """Reads the file if there is one.

        Args:
            path: the file.
            settings: of the training, such as JSON can hold; a file of others is refused.
            every_steps: how often `save` writes.

        Raises:
            InputError: the file is damaged or of a training with other settings.
        """
        self._path, self._settings, self._every = path, json.dumps(settings), every_steps
        self.step, self._saved = 0, None
        if not path.exists():
            return
        try:
            stored = flax.serialization.msgpack_restore(path.read_bytes())
            found, self.step, self._saved = (stored[key] for key in ("settings", "step", "state"))
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise InputError(f"{path}: {error!r}; expected the state of a training") from error
        if found != self._settings:
            raise InputError(
                f"{path}: found a training with {found}, expected {self._settings}; "
                "remove it to begin anew"
            )

    def restore(self, state: Any) -> Any:
        """The saved state in the structure of `state`, or `state` itself if there is none."""
        if self._saved is None:
            return state
        return flax.serialization.from_state_dict(state, self._saved)

    def save(self, step: int, state: Any) -> None:
        """Writes the state after `step` steps, if it is time."""
        if step % self._every == 0:
            stored = {
                "settings": self._settings,
                "step": step,
                "state": flax.serialization.to_state_dict(state),
            }
            write_whole(self._path, flax.serialization.msgpack_serialize(stored))

    def remove(self) -> None:
        """Deletes the file, once the training has ended."""
        self._path.unlink(missing_ok=True)
