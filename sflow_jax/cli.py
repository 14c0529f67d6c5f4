"""How every command starts: flags, config, and errors without tracebacks."""

import contextlib
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging
from ml_collections import config_flags

from sflow_jax import configuration, termination
from sflow_jax.errors import InputError, TrainingError, one_line

_PROCESS_FLAGS = ("coordinator_address", "num_processes", "process_id")
_OBJECTS_PER_SEARCH = 500_000  # Python's own is 700
_HELP = ("help", "h", "?", "helpshort", "helpfull", "helpxml")

flags.disclaim_key_flags()  # --config is a flag of the command, whose --help then names it


def define_config_flag() -> flags.FlagHolder:
    """Defines `--config FILE` with `--config.field=value` overrides; returns the flag's holder."""
    return config_flags.DEFINE_config_file(
        "config",
        help_string="Config file, such as configs/streets.py; --config.NAME=VALUE sets an option.",
        lock_config=True,
    )


def define_distributed_flags() -> None:
    """Defines `--distributed`, and what names the processes where no cluster does."""
    flags.DEFINE_boolean(
        "distributed",
        False,
        "Share the work among the processes that SLURM, Open MPI, Kubernetes or a TPU pod started.",
    )
    flags.DEFINE_string(
        "coordinator_address", None, "HOST:PORT of process 0, where no cluster tells it."
    )
    flags.DEFINE_integer("num_processes", None, "How many processes there are.", lower_bound=1)
    flags.DEFINE_integer(
        "process_id", None, "Which of them this is, counted from 0.", lower_bound=0
    )


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs a command, which `ends_in_one_line`.

    Args:
        main: the command, a function without arguments that reads absl flags.
    """
    # Tracing makes millions of objects that stay: searching them for garbage again and again
    # would be a sixth of the time to the first step.
    gc.set_threshold(_OBJECTS_PER_SEARCH)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    with ends_in_one_line():
        app.run(lambda _: _run(main), flags_parser=_parse_flags)


@contextlib.contextmanager
def ends_in_one_line() -> Iterator[None]:
    """Ends the process with one line, and without a traceback, where a command cannot go on.

    An `InputError` gives status 2, a `TrainingError`, a disk or memory that is full 1, an interrupt
    from the keyboard 130, SIGTERM 143.
    """
    try:
        with termination.terminated_by_signal():
            yield
    except InputError as error:
        _exit(error, 2)
    except TrainingError as error:
        _exit(error, 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except termination.Terminated as error:
        _exit(error, termination.STATUS)
    except OSError as error:
        _exit(f"{one_line(error)}; expected files to read and a disk with room to write", 1)
    except Exception as error:
        if _is_out_of_memory(error):
            reason = one_line(error) or "no memory is left"
            _exit(f"{reason}; expected smaller networks, images or batches, or more memory", 1)
        if reason := _why_no_device(error):
            platforms = os.environ.get("JAX_PLATFORMS", "")
            _exit(
                f"JAX_PLATFORMS={platforms}: found {reason}; expected such a device and JAX's "
                'package for it (pip install -e ".[gpu]" or ".[tpu]"), or cpu',
                2,
            )
        raise


def _why_no_device(error: Exception) -> str:
    """Why JAX cannot start, if that may have caused the error; empty where it can."""
    if not isinstance(error, (AssertionError, RuntimeError)):  # what JAX raises then
        return ""
    import jax  # only where something has failed

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        return one_line(error) or "no such device"
    return ""


def _run(main: Callable[[], None]) -> None:
    if not _is_distributed():
        for name in _PROCESS_FLAGS:
            if name in flags.FLAGS and flags.FLAGS[name].present:
                raise InputError(f"command line: found --{name}, expected --distributed beside it")
        main()
        return
    from sflow_jax import distributed  # and with it JAX, which takes a second

    with distributed.joined(flags.FLAGS):
        main()


def _is_distributed() -> bool:
    options = flags.FLAGS
    return options.is_parsed() and "distributed" in options and options.distributed


def _parse_flags(arguments: list[str]) -> list[str]:
    try:
        remaining = flags.FLAGS(arguments)
        if "config" in flags.FLAGS and flags.FLAGS.config is not None:
            flags.FLAGS.config.to_dict()  # a file that failed to load says so at its first use
    except SystemExit:
        if any(argument.lstrip("-") in _HELP for argument in arguments[1:]):
            sys.exit(0)  # absl ends with 1
        raise InputError("--config: the file ends Python, expected a function get_config") from None
    except OSError as error:
        raise InputError(f"--config: {one_line(error)}") from error
    except (NameError, SyntaxError, ImportError) as error:
        raise InputError(f"--config: {error}; expected Python as in configs/") from error
    except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
        # An unknown field comes as 'Key "x" does not exist ...' from the locked config.
        message = _shortened(str(error.args[0] if error.args else error))
        if missing := re.findall(r"Flag (--\w+) must have a value other than None", message):
            raise InputError(f"{', '.join(missing)}: missing; expected as --help says") from error
        message = configuration.explain(message, arguments)
        raise InputError(f"command line or config: {message}") from error
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # the libraries' notices would hide the progress
    if remaining[1:]:
        raise InputError(f"command line: found {remaining[1]!r}, expected only --flags")
    return remaining


def _shortened(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        lines = [lines[0], lines[-1]]  # of a config file that fails: which file, and why
    return " ".join(lines)


def _is_out_of_memory(error: Exception) -> bool:
    """Of this process or of a device; JAX, which tells of it, may not be imported yet."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _exit(message: object, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    if _is_distributed():
        # JAX would wait for the others at exit, which wait for this one or are lost.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
