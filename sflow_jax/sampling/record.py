"""sampling.json, a record of how results were made: other settings are not mixed in."""

import json
import pathlib

from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.files import holds_something, read_json_object, write_json

RECORD_FILE = "sampling.json"

_MAY_CHANGE = {"fps"}  # videos of another speed are made of the same frames


def check_output(
    output: pathlib.Path, record: dict, file: str = RECORD_FILE, writer: str = "sampling"
) -> None:
    """Checks that the output folder is empty or holds results of the same settings.

    Args:
        output: the folder.
        record: of the settings.
        file: the name of the record in it.
        writer: what wrote it, for messages.

    Raises:
        InputError: it does not, or is no folder.
    """
    path = output / file
    if not path.exists():
        if holds_something(output):
            raise InputError(f"{output}: found no {file}, expected a new or empty folder")
        return
    before = _upgrade(read_json_object(path, writer), path)
    before, now = (json.loads(json.dumps(values)) for values in (before, record))
    changes = [
        f"other {key}"
        if isinstance(now.get(key, before.get(key)), list | dict)
        else f"{key} {before.get(key)}, not {now.get(key)}"
        for key in {**now, **before}
        if before.get(key) != now.get(key) and key not in _MAY_CHANGE
    ]
    if changes:
        raise InputError(
            f"{path}: found results of {'; '.join(changes)}; "
            "expected the same settings, or another --output"
        )


def _upgrade(record: dict, path: pathlib.Path) -> dict:
    """The record as this version would have written it."""
    if "config" in record:
        record |= {"config": configuration.upgrade(record["config"], path).to_dict()}
    if "ensemble_weights" in record:
        weights = record.pop("ensemble_weights")
        if not isinstance(weights, list):
            raise InputError(f"{path}: found ensemble_weights {weights!r}, expected a list of them")
        record["variants"] = [{"weights": numbers} for numbers in weights]
        record["controls"] = {"share": record.pop("dned_share", 1.0)}
    return record


def save_record(output: pathlib.Path, record: dict) -> None:
    """Writes the record, making the folder if it is missing.

    Raises:
        OSError: the file cannot be written.
    """
    write_json(output / RECORD_FILE, record)
