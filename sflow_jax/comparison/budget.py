"""Equal times for all methods: as many steps of each as fit into so many minutes."""

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from sflow_jax.comparison.plan import Run
from sflow_jax.errors import InputError
from sflow_jax.files import read_json

_EPOCHS = (
    "train.laplacian_epochs",
    "train.ramp_epochs",
    "train.constant_epochs",
    "train.epochs",
    "vid2vid.epochs_per_length",
)


def with_equal_time(runs: Sequence[Run], folder: pathlib.Path, minutes: float) -> list[Run]:
    """Stretches or shortens the schedules of all runs to the same time.

    The time is that of optimization steps alone, without compilation, checkpoints and pictures. A
    step of each config is measured once, on this machine; a later call of the same comparison has
    the same schedules.

    Args:
        runs: to be trained; those of one name have one config.
        folder: of the comparison, in which the measurements are kept.
        minutes: of each run.

    Raises:
        InputError: a config cannot be measured.
    """
    measured: dict[str, dict] = {}
    planned = []
    for run in runs:
        if run.name not in measured:
            measured[run.name] = _measure(run, folder)
        record = measured[run.name]
        num_epochs = 60 * minutes / record["seconds"] / record["steps_per_epoch"]
        planned.append(_stretched(run, num_epochs))
    return planned


def _stretched(run: Run, num_epochs: float) -> Run:
    """The run with so many epochs, all parts of its schedule in proportion."""
    factor = num_epochs / run.config.train.epochs
    config = run.config.copy_and_resolve_references()
    overrides = list(run.overrides)
    for name in _EPOCHS:
        section, _, field = name.partition(".")
        value = float(f"{config[section][field] * factor:.6g}")
        config[section][field] = value
        overrides.append(f"{name}={value}")
    return dataclasses.replace(run, config=config, overrides=tuple(overrides))


def _measure(run: Run, folder: pathlib.Path) -> dict:
    path = folder / "step_times" / f"{run.name}.json"
    if not path.is_file():
        print(f"\n{run.name}: measuring a step", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--config.{override}" for override in run.overrides]
        command = ["-m", "sflow_jax.comparison.step_time", "--config", run.config_file, *options]
        finished = subprocess.run([sys.executable, *command, "--output", str(path)], check=False)
        if finished.returncode:
            raise InputError(f"{run.name}: a step could not be measured; see above")
    return read_json(path, "a comparison")
