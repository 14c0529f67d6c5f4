"""What the generator makes of other edges: DNED's ensemble and its members, Laplacian, Canny, none.

Two things pull at each other: edges that say much keep the scene (mIoU), and those of a CG frame
look drawn (the distances to real images). The table has both for each kind of edges, and how dense
these are and how much they resemble those of the real frame.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import grain.python as grain
import numpy as np

from sflow_jax import sharding
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import Evaluation, score
from sflow_jax.evaluation.report import describe_evaluation, without_nan
from sflow_jax.evaluation.rows import CG, ORACLE, generated, guidance
from sflow_jax.files import write_json, write_whole
from sflow_jax.inference import TrainedModel, batch_size_for
from sflow_jax.methods.base import LAPLACIAN, Usage
from sflow_jax.metrics.picture_scores import Result
from sflow_jax.metrics.score_table import format_table
from sflow_jax.pictures import edges_to_rgb, grid, write_png

RESULTS_FILE, TABLE_FILE, PICTURE_FILE = "edge_sources.json", "edge_sources.txt", "edge_sources.png"
_NUM_SHOWN = 3
_UNDEFINED = {"edge_density": float("nan"), "edge_correlation": float("nan")}


def compare_edges(
    evaluation: Evaluation, limit: int | None = None
) -> tuple[int, dict[str, Result]]:
    """Scores the pictures and the edges of every source, with a progress bar.

    Args:
        evaluation: the run, its dataset, split and segmenter.
        limit: only the first so many examples.

    Returns:
        The number of examples, and for every row the scores of its pictures, `edge_density` (the
        mean of the edge map) and `edge_correlation` (with the Laplacian edges of the real frame,
        over the pixels of a picture). Both are means over the first frames of all examples; the
        correlation of those where neither map is of one value, NaN without any.

    Raises:
        InputError: the generator sees no edges.
    """
    usages = _usages(evaluation)
    rows = {ORACLE: evaluation.rows[ORACLE]}
    for name, usage in usages.items():
        rows[name] = generated(evaluation.model, usage, evaluation.edge_key)
    if CG in evaluation.rows:
        rows[CG] = evaluation.rows[CG]
    num_examples, results = score(dataclasses.replace(evaluation, rows=rows), limit)
    edges = _describe_edges(evaluation, usages, num_examples)
    return num_examples, {
        name: {**edges.get(name, _UNDEFINED), **result} for name, result in results.items()
    }


def _usages(evaluation: Evaluation) -> dict[str, Usage]:
    model = evaluation.model
    if usages := model.method.edge_usages(model.controls):
        return usages
    raise InputError(
        "--edges: found a generator that sees labels only, expected one that sees edges"
    )


def _describe_edges(
    evaluation: Evaluation, usages: Mapping[str, Usage], num_examples: int
) -> dict[str, dict[str, float]]:
    """Density of the first frames' edges and their correlation with the real frame's."""
    source = grain.MapDataset.source(evaluation.dataset.source(evaluation.split))[:num_examples]
    densities: dict[str, list[np.ndarray]] = {name: [] for name in (ORACLE, *usages)}
    correlations: dict[str, list[np.ndarray]] = {name: [] for name in (ORACLE, *usages)}
    schema = evaluation.dataset.schema
    batch_size = min(sharding.round_up(num_examples), batch_size_for(schema.height, schema.width))
    for batch, valid in eval_batches(source, batch_size):
        maps = _edge_maps(evaluation, usages, batch)
        for name, edge_maps in maps.items():
            densities[name].append(edge_maps[:valid].mean((1, 2, 3)))
            correlations[name].append(correlate(edge_maps, maps[ORACLE])[:valid])
    return {
        name: {
            "edge_density": float(np.concatenate(densities[name]).mean()),
            "edge_correlation": mean_of_defined(np.concatenate(correlations[name])),
        }
        for name in densities
    }


def _edge_maps(
    evaluation: Evaluation, usages: Mapping[str, Usage], batch: dict
) -> dict[str, np.ndarray]:
    """The edges that the generator sees, [B, H, W, 1], and as `ORACLE` those of the real frames."""
    model, label = evaluation.model, batch["label"][:, 0]
    maps = {ORACLE: _edge_map(model, usages[LAPLACIAN], label, batch["image"][:, 0])}
    for name, usage in usages.items():
        maps[name] = _edge_map(model, usage, label, batch[evaluation.edge_key][:, 0])
    return maps


def _edge_map(
    model: TrainedModel, usage: Usage, label: np.ndarray, frames: np.ndarray
) -> np.ndarray:
    edge_image, controls = guidance(usage, frames)
    return np.asarray(model.edge_map(label, edge_image, **controls))


def correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each pair of maps [B, H, W, 1]: [B], NaN where one is flat."""
    first, second = (x.reshape(len(x), -1).astype(np.float64) for x in (first, second))
    first, second = (x - x.mean(1, keepdims=True) for x in (first, second))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norms > 1e-9, (first * second).sum(1) / norms, np.nan)


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN where all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def draw_edges(evaluation: Evaluation, num_examples: int) -> np.ndarray:
    """A few scenes in two rows each: every source's edges, and what the generator makes of them.

    Args:
        evaluation: see `compare_edges`.
        num_examples: only scenes among the first so many, those that were scored.

    Returns:
        uint8 RGB; in the first column the frame that the edges come from, and the label map.
    """
    usages = _usages(evaluation)
    source = evaluation.dataset.source(evaluation.split)
    count = min(_NUM_SHOWN, num_examples)
    examples = [source[index * num_examples // count] for index in range(count)]
    batch, _ = next(eval_batches(examples, count))
    maps = _edge_maps(evaluation, usages, batch)
    label = evaluation.model.class_table.colorize(batch["label"][:, 0, ..., 0])
    guide = {"cg": "CG", "image": "real"}[evaluation.edge_key]
    columns = {f"{guide}, labels": (batch[evaluation.edge_key][:, 0], label)}
    for name, usage in usages.items():
        draw = generated(evaluation.model, usage, evaluation.edge_key)
        columns[name] = ([edges_to_rgb(edge_map) for edge_map in maps[name]], draw(batch)[:, 0])
    columns["real"] = ([edges_to_rgb(edge_map) for edge_map in maps[ORACLE]], batch["image"][:, 0])
    rows = [
        [pair[part][index] for pair in columns.values()]
        for index in range(count)
        for part in (0, 1)
    ]
    return grid(rows, list(columns))


def write_edges(
    output: pathlib.Path, evaluation: Evaluation, num_examples: int, results: dict[str, Result]
) -> str:
    """Writes edge_sources.json, edge_sources.txt and edge_sources.png; returns the text.

    Raises:
        OSError: the folder cannot be written.
    """
    model = evaluation.model
    notes = describe_evaluation(evaluation, num_examples)
    text = "\n".join([*notes, "", format_table(results)]) + "\n"
    record = {
        "checkpoint_step": model.step,
        "split": evaluation.split,
        "num_examples": num_examples,
        "dataset": str(evaluation.dataset.directory.absolute()),
        "edges": evaluation.edge_key,
        "controls": dict(model.controls),
        "segmenter": evaluation.segmenter.title if evaluation.segmenter else None,
        "missing": list(evaluation.missing),
        "rows": results,
        "config": model.config.to_dict(),
    }
    write_json(output / RESULTS_FILE, without_nan(record))
    write_whole(output / TABLE_FILE, text)
    write_png(output / PICTURE_FILE, draw_edges(evaluation, num_examples))
    return text
