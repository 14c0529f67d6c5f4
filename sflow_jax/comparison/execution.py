"""Trains and scores the runs of a comparison, each in a process of its own."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from sflow_jax.comparison.plan import Run
from sflow_jax.errors import InputError, TrainingError
from sflow_jax.evaluation import diversity, downstream_report, edge_sources
from sflow_jax.evaluation.report import EXAMPLES_FILE, SCORES_FILE
from sflow_jax.files import read_json
from sflow_jax.runs.checkpoints import newest_step

SCORES = "scores"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a comparison can ask `evaluate` for.

    Attributes:
        record: the JSON file of what was found.
        picture: the file of what was drawn.
        options: those of `compare` that are passed on.
    """

    record: str
    picture: str
    options: tuple[str, ...] = ("split", "segmenter", "limit", "dataset")


KINDS = {
    SCORES: Kind(SCORES_FILE, EXAMPLES_FILE),
    "downstream": Kind(
        downstream_report.RESULTS_FILE, downstream_report.PICTURE_FILE, ("split", "dataset")
    ),
    "diversity": Kind(diversity.RESULTS_FILE, diversity.PICTURE_FILE),
    "edges": Kind(edge_sources.RESULTS_FILE, edge_sources.PICTURE_FILE),
}


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
        kind: a key of `KINDS`.
    """
    output = folder_of(run, folder, kind)
    path, settings_path = output / KINDS[kind].record, output / "options.json"
    if kind != SCORES:
        options = [f"--{kind}", *options]
    settings = {
        "options": list(options),
        "step": newest_step(run.workdir),
        "workdir": str(run.workdir.absolute()),
    }
    if not (path.is_file() and settings_path.is_file()) or (
        read_json(settings_path, "a comparison") != settings
    ):
        print(f"\n{title}: {kind}", flush=True)
        arguments = ["--workdir", str(run.workdir), "--output", str(output), *options]
        _run_module("sflow_jax.evaluate", arguments, title)
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
    return read_json(path, "an evaluation")


def folder_of(run: Run, folder: pathlib.Path, kind: str) -> pathlib.Path:
    """Where what `evaluate` wrote of a run is kept in the folder of a comparison."""
    return folder / kind / run.workdir.name


def _run_module(module: str, arguments: Sequence[str], title: str) -> None:
    # A process of its own: what a run holds of the memory is free for the next one.
    finished = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if finished.returncode == 2:
        raise InputError(f"{title}: see above; mended, the same command continues")
    if finished.returncode:
        raise TrainingError(
            f"{title}: ended with status {finished.returncode}; the same command continues"
        )
