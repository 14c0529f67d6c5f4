"""The report of an evaluation: notes, a sentence and the files."""

import math
import pathlib
from typing import Any

import numpy as np

from sflow_jax.errors import writing_to
from sflow_jax.evaluation.evaluation import Evaluation
from sflow_jax.evaluation.rows import CG, ORACLE
from sflow_jax.files import write_json, write_whole
from sflow_jax.metrics.picture_scores import Result, number
from sflow_jax.pictures import write_png
from sflow_jax.pretrained import streets_segmenter

SCORES_FILE = "metrics.json"
SCORES_TABLE_FILE = "scores.txt"
EXAMPLES_FILE = "examples.png"


def describe_evaluation(evaluation: Evaluation, num_examples: int) -> list[str]:
    """What a reader of the table has to know."""
    model = evaluation.model
    lines = [
        f"step {model.step}, {num_examples} examples of the split {evaluation.split!r}, "
        f"seed {model.config.seed}"
    ]
    if not model.method.sees_edges:
        lines.append("The generator sees labels only.")
    elif evaluation.edge_key == "cg":
        lines.append("Edges come from the CG frames, as in use.")
    else:
        lines.append(
            "Edges come from the real images themselves: except for rows without edges, not "
            "comparable with methods that see labels only."
        )
    lines += model.method.notes(model.controls)
    if len(evaluation.rows.keys() - {ORACLE, CG}) > 1:
        lines.append("All generated rows are the same generator, given other edges.")
    if evaluation.segmenter:
        lines.append(f"mIoU and accuracies are by {evaluation.segmenter.title}.")
        if evaluation.segmenter.is_shipped:
            lines += _doubts_about_streets(evaluation)
    if evaluation.distances:
        lines.append(
            "Distances are to the real images of the split. Only KID is unbiased: compare the "
            "others between equal numbers of images."
        )
    return [*lines, *evaluation.missing]


def _doubts_about_streets(evaluation: Evaluation) -> list[str]:
    """What the shipped segmenter shares with what was trained, and where it is of no use."""
    model, schema = evaluation.model, evaluation.dataset.schema
    lines = []
    if model.config.loss.perceptual_weight and model.config.loss.perceptual_network == "streets":
        lines.append(
            "Flattered: the perceptual network of the training has the same architecture and task."
        )
    if (size := (schema.width, schema.height)) != streets_segmenter.SIZE:
        expected, found = ("x".join(map(str, sides)) for sides in (streets_segmenter.SIZE, size))
        lines.append(f"It was trained at {expected} and is of little use at {found}.")
    return lines


def summarize(evaluation: Evaluation, results: dict[str, Result]) -> tuple[dict, str]:
    """Compares the model with the oracle: as numbers for the record, and as a sentence."""
    if not evaluation.predict:
        return {}, ""
    oracle = number(results[ORACLE], "mean_iou")
    if not oracle > 0:  # nor if it is not a number
        return {}, ""
    share = number(results[evaluation.model_row], "mean_iou") / oracle
    return (
        {"mean_iou_share_of_oracle": share},
        f"mIoU of fakes ({evaluation.model_row}) is {100 * share:.1f} % of the oracle",
    )


def write_evaluation(output: pathlib.Path, record: dict, report: str, examples: np.ndarray) -> None:
    """Writes the three files.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing_to(output):
        write_json(output / SCORES_FILE, without_nan(record))
        write_whole(output / SCORES_TABLE_FILE, report)
        write_png(output / EXAMPLES_FILE, examples)


def without_nan(value: Any) -> Any:
    """Replaces NaN, which JSON does not have, by None: a score that is not defined is null."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
