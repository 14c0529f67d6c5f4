"""Several processes that run the same command, on one host or on many.

Each has devices of its own. What they share out and who writes is decided where it is done, with
`sharding`; here they find each other, and notice when one of them is lost.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import flags

from sflow_jax import sharding, termination
from sflow_jax.errors import InputError, TrainingError, one_line

_CONNECT_SECONDS = 300  # a cluster starts its processes minutes apart
_SILENT_SECONDS = 30  # after which a process counts as lost; JAX itself waits for minutes

_SignalHandler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_jaxs_handler: Callable[[int], None] | None = None

_EXPLICIT = ("coordinator_address", "num_processes", "process_id")


@contextlib.contextmanager
def joined(options: flags.FlagValues) -> Iterator[None]:
    """Runs a command together with the other processes, before anything else of JAX.

    All but the first are silent on standard output. SIGTERM ends each as it ends a command alone,
    but for training, which hands it on by `announce_preemption`.

    Args:
        options: the parsed flags of `cli.define_distributed_flags`, with `--distributed`.

    Raises:
        InputError: some of the flags are missing, there is no cluster that JAX detects, or the
            other processes cannot be reached.
        TrainingError: JAX failed; another process may be lost. (One that falls silent without
            closing its connections is noticed by JAX alone, which ends this process.)
    """
    _join({name: getattr(options, name) for name in _EXPLICIT})
    _remember_jaxs_handler()
    try:
        # JAX has put its own handler in the place of the one before, and waits for a training loop.
        with termination.terminated_by_signal(), _silent_unless_first():
            yield
        # The first may write for minutes what all have computed.
        sharding.wait_for_hosts("end of the command")
    except jax.errors.JaxRuntimeError as error:
        raise TrainingError(
            f"process {jax.process_index()} of {jax.process_count()}: "
            f"{one_line(error)}; if another process was lost, start all of them "
            "again: training continues from its last checkpoint"
        ) from error


def announce_preemption() -> None:
    """Tells JAX in all processes that this one is to end: they reach a sync point together.

    See `jax.experimental.multihost_utils.reached_preemption_sync_point`. May be called in any
    thread.
    """
    assert _jaxs_handler is not None, "only within `joined`"
    _jaxs_handler(signal.SIGTERM)


def _remember_jaxs_handler() -> None:
    """Keeps the handler of SIGTERM that JAX installs when it joins, which is none of Python's."""
    global _jaxs_handler
    get_handler = ctypes.pythonapi.PyOS_getsig
    get_handler.argtypes, get_handler.restype = [ctypes.c_int], _SignalHandler
    _jaxs_handler = get_handler(signal.SIGTERM)


@contextlib.contextmanager
def _silent_unless_first() -> Iterator[None]:
    if sharding.is_first_host():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def _join(explicit: dict[str, Any]) -> None:
    missing = [name for name, value in explicit.items() if value is None]
    if 0 < len(missing) < len(explicit):
        raise InputError(f"--distributed: found no --{missing[0]}, expected it beside the others")
    try:
        jax.distributed.initialize(
            **explicit,
            cluster_detection_method=None if missing else "deactivate",
            initialization_timeout=_CONNECT_SECONDS,
            heartbeat_timeout_seconds=_SILENT_SECONDS,
            shutdown_timeout_seconds=_SILENT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed: found {one_line(error)!r}, expected SLURM, Open "
            "MPI, Kubernetes or a Cloud TPU, or --coordinator_address, --num_processes and "
            "--process_id of processes that can reach each other"
        ) from error
