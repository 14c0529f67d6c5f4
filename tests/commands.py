"""Runs commands in this process: the same as from a shell, without seconds of imports."""

import contextlib
import importlib
import io
import typing
from unittest import mock

from absl import app, flags

from sflow_jax import cli, compilation_cache


class Result(typing.NamedTuple):
    status: int
    output: str
    errors: str


def run_command(module: str, *arguments: object) -> Result:
    """Runs `python -m sflow_jax.MODULE ARGUMENTS`, with its own flags and no others."""
    command = importlib.import_module(f"sflow_jax.{module}")
    app.define_help_flags()
    output, errors = io.StringIO(), io.StringIO()
    argv = [command.__name__, *map(str, arguments)]
    own: set[str] = set()
    try:
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            mock.patch("sys.argv", argv),
            mock.patch.dict("sys.modules", {"__main__": command}),
            mock.patch.object(compilation_cache, "use"),
            mock.patch("gc.set_threshold"),
        ):
            before = set(flags.FLAGS)
            command._define_flags()
            own = set(flags.FLAGS) - before
            status = _status_of(command.main)
    finally:
        for name in set(flags.FLAGS):
            if name in own or name.startswith("config."):  # --config defines those of its options
                delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
    return Result(status, output.getvalue(), errors.getvalue())


def _status_of(main) -> int:
    try:
        cli.run(main)
    except SystemExit as end:
        return end.code or 0
    return 0
