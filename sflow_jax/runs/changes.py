"""Options that a run was continued with other values of: said, and kept beside its config."""

import json
import pathlib

import ml_collections

from sflow_jax import configuration

CHANGES_FILE = "changes.jsonl"


def note_changes(workdir: pathlib.Path, config: ml_collections.ConfigDict, step: int) -> None:
    """Prints which options of a run change from a step on, and adds them to `changes.jsonl`.

    A line of the file has the step from which on the values hold, and of each option the former
    value and the present one: {"step": 20, "changes": {"train.epochs": [2.0, 4.0]}}. The former
    ones are those in `config.json`: an option that may change and was edited there by hand was
    never trained with, which nothing shows.

    Args:
        workdir: the folder of the run, with its former config.
        config: the present one, which may continue it; see `configuration.check_resumable`.
        step: that of the state which the run goes on from.

    Raises:
        OSError: the folder cannot be written.
    """
    changes = configuration.changes(configuration.load_config(workdir), config)
    if not changes:
        return
    for name, (before, now) in changes.items():
        print(f"from step {step} on: config.{name} is {now!r} and was {before!r}")
    with (workdir / CHANGES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "changes": changes}) + "\n")
