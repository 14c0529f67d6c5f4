"""Stops a run on request: SIGTERM or Ctrl-C, after which it is saved and ends."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from sflow_jax import termination


class StopRequest:
    """False until SIGTERM or the first Ctrl-C comes; the loop then saves after its step and ends.

    At which step is said at once, be it in the middle of a compilation. While the first step is
    compiled there is nothing to save: the process then ends within `termination.GRACE_SECONDS`.
    """

    def __init__(self, first_step: int) -> None:
        """Listens to nothing yet; `first_step` is the number of steps that are done."""
        self._step = first_step
        self._has_stepped = threading.Event()
        self._received: int | None = None

    def __bool__(self) -> bool:
        return self._received is not None

    @property
    def signal_name(self) -> str:
        """Of the signal that came."""
        assert self._received is not None
        return signal.Signals(self._received).name

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Receives requests within the block."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        with termination.handled(dict.fromkeys(numbers, self._remember), self._announce):
            yield

    def follow(self, step: int) -> None:
        """Takes note that a step is over, with what was written after it."""
        self._step = step
        self._has_stepped.set()

    def _remember(self, number: int, _: Any) -> None:
        self._received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends at once

    def _announce(self, number: int) -> None:
        name = signal.Signals(number).name
        print(f"\n{name}: the run is saved after step {self._step + 1}", file=sys.stderr)
        if not self._has_stepped.wait(termination.GRACE_SECONDS):
            termination.end_process(
                f"stopped by {name} while the first step was compiled, with nothing new to save; "
                "the same command resumes"
            )
