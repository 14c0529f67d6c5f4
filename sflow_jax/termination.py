"""SIGTERM ends a command with one line and within seconds, even while XLA compiles.

Python runs its handlers of signals between two of its own instructions, and a compilation of a
minute is one of them. A thread is therefore told of a signal as soon as it comes.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

GRACE_SECONDS = 20
"""How long the main thread may take to end by itself."""

_PROMPT_SECONDS = 0.2  # within which a main thread that was told of a signal answers

STATUS = 128 + signal.SIGTERM
"""With which a command ends that SIGTERM has stopped, as a shell counts."""

_STOPPED = "stopped by SIGTERM"


class Terminated(BaseException):
    """SIGTERM came. No `Exception`, so that nothing takes it for a damaged file."""

    def __init__(self) -> None:
        super().__init__(_STOPPED)


@contextlib.contextmanager
def terminated_by_signal() -> Iterator[None]:
    """Raises `Terminated` in the main thread on SIGTERM: what is half written is then removed.

    Where the main thread does not come to it within `GRACE_SECONDS`, the process ends without.
    """

    def end() -> None:
        time.sleep(_PROMPT_SECONDS)
        if signal.getsignal(signal.SIGTERM) is raise_terminated:
            # The signal may have come to a thread of a library, while the main one waits.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        end_process(f"error: {_STOPPED}")

    def raise_terminated(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would stop the tidying up
        raise Terminated

    with handled({signal.SIGTERM: raise_terminated}, lambda number: end()):
        yield


def end_process(message: str, status: int = STATUS) -> None:
    """Prints a line, below a progress bar if there is one, and ends the process at once."""
    print(f"\n{message}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


@contextlib.contextmanager
def handled(
    handlers: dict[signal.Signals, Callable], notice: Callable[[int], None]
) -> Iterator[None]:
    """Handles signals in the main thread, and at once in another.

    Outside the main thread, where Python handles no signals, nothing is changed.

    Args:
        handlers: what the main thread runs when it can, by signal.
        notice: what a thread of its own runs at the first of these signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    watch = threading.Thread(target=_watch, args=(receiving, set(handlers), notice), daemon=True)
    watch.start()
    former_pipe = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_pipe)
        os.close(sending)  # ends the thread, unless it has work to do


def _watch(receiving: int, numbers: set[signal.Signals], notice: Callable[[int], None]) -> None:
    """Reads the numbers of signals that Python writes as they come, until the pipe is closed."""
    with os.fdopen(receiving, "rb", buffering=0) as pipe:
        while received := pipe.read(1):
            if received[0] in numbers:
                notice(received[0])
                return
