"""Stops a run on request: SIGTERM or Ctrl-C, after which it is saved and ends."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from sflow_jax import distributed, termination


def stop_request(first_step: int) -> "StopRequest":
    """A request to this process alone, or to any of several."""
    return (SharedStopRequest if jax.process_count() > 1 else StopRequest)(first_step)


class StopRequest:
    """False until SIGTERM or the first Ctrl-C comes; the loop then saves after its step and ends.

    At which step is said at once, be it in the middle of a compilation. While the first step is
    compiled there is nothing to save: the process then ends within `termination.GRACE_SECONDS`.
    """

    _when = "after step"

    def __init__(self, first_step: int) -> None:
        """Listens to nothing yet; `first_step` is the number of steps that are done."""
        self._step = first_step
        self._has_stepped = threading.Event()
        self._received: int | None = None

    def __bool__(self) -> bool:
        return self._received is not None

    @property
    def cause(self) -> str:
        """What stops the run, for messages."""
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
        grace = termination.GRACE_SECONDS
        otherwise = "" if self._has_stepped.is_set() else f", or ends without in {grace:g} s"
        step = f"{self._when} {self._step + 1}"
        print(f"\n{name}: the run is saved {step}{otherwise}", file=sys.stderr)
        if not self._has_stepped.wait(grace):
            termination.end_process(
                f"error: stopped by {name} while the first step was compiled, with nothing new to "
                "save; the same command resumes"
            )


class SharedStopRequest(StopRequest):
    """True after the same step in all processes, soon after a signal has come to any of them.

    JAX tells all of it, and finds a step that none of them has passed.
    """

    cause = "a signal to one of the processes"
    _when = "soon after step"

    def __bool__(self) -> bool:
        return multihost_utils.reached_preemption_sync_point(self._step + 1)

    def _announce(self, number: int) -> None:
        distributed.announce_preemption()
        super()._announce(number)
