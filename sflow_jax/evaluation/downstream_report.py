"""The report of a downstream comparison: scores, the gap closed, and scenes side by side."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from sflow_jax.evaluation.downstream import (
    FILTERED,
    NETWORKS,
    ORACLE,
    SOURCE,
    TRAIN,
    WITH_SOURCE,
    Downstream,
    gap_closed,
)
from sflow_jax.files import write_json, write_whole
from sflow_jax.metrics.picture_scores import Result, class_ious, number
from sflow_jax.metrics.score_table import align
from sflow_jax.pictures import grid, write_png

FILES = RESULTS_FILE, TABLE_FILE, PICTURE_FILE = (
    "downstream.json",
    "downstream.txt",
    "downstream.png",
)
_NUM_SHOWN = 6


def format_downstream(record: dict[str, Any]) -> str:
    """For each network, a line for every set of frames, the gap closed, and the IoU by class.

    All are means over the seeds, in percent, with the range of the first columns.
    """
    return "\n\n".join(
        f"{NETWORKS[network]}\n{_format_network(scores, record['gap_closed'][network])}"
        for network, scores in record["scores"].items()
    )


def _format_network(scores: dict[str, list[Result]], gaps: Sequence[float]) -> str:
    columns = {
        "mean_iou": "mIoU %",
        "pixel_accuracy": "accuracy % (void ignored)",
        "pixel_accuracy_with_void": "accuracy % (void counted)",
    }
    lines = [["trained on", *columns.values()]]
    for name, results in scores.items():
        lines.append(
            [name, *(_spread([number(result, key) for result in results]) for key in columns)]
        )
    text = align(lines)
    if gaps:
        text += f"\n\ngap closed by translation: {_spread(gaps, 0)} %"
        for name in (FILTERED, WITH_SOURCE):
            if others := gap_closed(scores, name):
                text += f"; {name}: {_spread(others, 0)} %"
    lines = [["IoU %", *scores]]
    for name in class_ious(scores[ORACLE][0]):
        values = [[class_ious(result)[name] for result in results] for results in scores.values()]
        lines.append([name, *map(_mean, values)])
    return f"{text}\n\n{align(lines)}"


def _mean(values: Sequence[float | None]) -> str:
    """In percent; an IoU that is not defined for some seed is none."""
    defined = [value for value in values if value is not None]
    return f"{100 * statistics.mean(defined):.1f}" if len(defined) == len(values) else "-"


def _spread(values: Sequence[float], decimals: int = 1) -> str:
    numbers = statistics.mean(values), min(values), max(values)
    mean, *ends = (f"{100 * value:.{decimals}f}" for value in numbers)
    return mean if len(values) == 1 else f"{mean} ({' to '.join(ends)})"


def draw_scenes(downstream: Downstream) -> np.ndarray:
    """A few scenes: label, the simulator's frame, its translation, and real frames beside them."""
    translated, table = downstream.translated, downstream.evaluation.model.class_table
    real = downstream.evaluation.dataset.source(TRAIN)
    count = min(_NUM_SHOWN, len(translated))
    rows = []
    for shown in range(count):
        example = downstream.scenes.source[index := shown * len(translated) // count]
        row = {"label": table.colorize(example["label"][0, ..., 0])}
        row |= {"source": example["cg"][0]} if "cg" in example else {}
        row["translated"] = translated[index]["image"][0]
        row["a real frame"] = real[shown * len(real) // count]["image"][0]
        rows.append(row)
    return grid([list(row.values()) for row in rows], list(rows[0]))


def write_results(downstream: Downstream, record: dict[str, Any]) -> str:
    """Writes downstream.json, downstream.txt and downstream.png; returns the text.

    What an interruption would have needed is deleted.
    """
    settings, counts = record["settings"], record["num_examples"]
    without = "" if SOURCE in downstream.sets else "\nThis dataset has no CG frames.\n"
    text = (
        f"Segmenters of {settings['num_steps']} steps, trained on {counts[TRAIN]} real frames, on "
        f"{record['num_scenes']} scenes or on both, and scored on {counts[settings['split']]} real "
        f"frames of {settings['split']!r}; {downstream.num_seeds} seeds: mean (range)\n"
        "Filtered: without the pixels where the network that the first seed trained on real frames "
        f"finds another class\n{without}\n{format_downstream(record)}\n"
    )
    write_json(downstream.output / RESULTS_FILE, record)
    write_whole(downstream.output / TABLE_FILE, text)
    write_png(downstream.output / PICTURE_FILE, draw_scenes(downstream))
    for path in downstream.folder.glob("translations_*.npy"):  # they can be large
        path.unlink()
    return text
