"""Whether a run goes well: losses that are finite, and images per second."""

import time
from collections.abc import Sequence

import jax

from sflow_jax.errors import TrainingError
from sflow_jax.methods.base import Scalars
from sflow_jax.training.metric_log import non_finite, to_scalars


class FiniteGuard:
    """Checks every step's losses, one step late, so that the device never waits for the host."""

    def __init__(self) -> None:
        self._pending: tuple[int, Scalars, Sequence[str]] | None = None
        self._scalars: dict[str, float] = {}

    def follow(self, step: int, metrics: Scalars, names: Sequence[str]) -> None:
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
