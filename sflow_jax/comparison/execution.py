"""Trains and scores the runs of a comparison, each in a process of its own."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from sflow_jax.comparison.plan import Run
from sflow_jax.errors import InputError, TrainingError
from sflow_jax.evaluation import diversity, downstream
from sflow_jax.evaluation.report import SCORES_FILE
from sflow_jax.files import read_json
from sflow_jax.runs.checkpoints import newest_step

SCORES = "scores"
RECORDS = {
    SCORES: SCORES_FILE,
    "downstream": downstream.RESULTS_FILE,
    "diversity": diversity.RESULTS_FILE,
}
"""What a comparison can ask `evaluate` for: the file of each kind of record."""


def train(run: Run, title: str) -> None:
    """Trains a run to its end, or continues it; does nothing where it is finished.

    Raises:
        TrainingError: it did not come to its end; the message says how to go on.
    """
    if run.is_finished:
        return
    print(f"\n{title}: training", flush=True)
    _run_module("sflow_jax.main", run.arguments, title)
    if not run.is_finished:
        raise TrainingError(f"{title}: stopped before its end; the same command continues")


def evaluate(
    run: Run, folder: pathlib.Path, options: Sequence[str], title: str, kind: str = SCORES
) -> dict:
    """What `sflow_jax.evaluate` writes of a finished run, once for its checkpoint.

    Args:
        run: the run.
        folder: of the comparison, in which the record is kept.
        options: of `sflow_jax.evaluate`.
        title: of the run, for messages.
        kind: a key of `RECORDS`.
    """
    output = folder / kind / run.workdir.name
    path, settings_path = output / RECORDS[kind], output / "options.json"
    if kind != SCORES:
        options = [f"--{kind}", *options]
    settings = {"options": list(options), "step": newest_step(run.workdir)}
    if not (path.is_file() and settings_path.is_file()) or (
        read_json(settings_path, "a comparison") != settings
    ):
        print(f"\n{title}: {kind}", flush=True)
        arguments = ["--workdir", str(run.workdir), "--output", str(output), *options]
        _run_module("sflow_jax.evaluate", arguments, title)
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
    return read_json(path, "an evaluation")


def _run_module(module: str, arguments: Sequence[str], title: str) -> None:
    # A process of its own: what a run holds of the memory is free for the next one.
    finished = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if finished.returncode == 2:
        raise InputError(f"{title}: see above; mended, the same command continues")
    if finished.returncode:
        raise TrainingError(
            f"{title}: ended with status {finished.returncode}; the same command continues"
        )
