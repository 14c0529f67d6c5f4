"""Tables of what `evaluate` finds beyond scores: what the pictures teach, and how they vary."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sflow_jax.comparison.results import Spread
from sflow_jax.report import Table

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""By the name of a method the records of its seeds, as `evaluate` writes them."""


def downstream_table(records: Records) -> Table:
    """The mIoU on real images of segmenters, by what they were trained on."""
    first = next(iter(records.values()))[0]
    network = next(iter(first["scores"]))
    sets = list(
        dict.fromkeys(name for record in _all(records) for name in record["scores"][network])
    )
    lines = []
    for name in sets:
        cells = [
            _text([_mean_iou(record["scores"][network].get(name)) for record in own])
            for own in records.values()
        ]
        lines.append([name, *cells])
    gaps = [
        _text([_mean(record["gap_closed"][network]) for record in own]) for own in records.values()
    ]
    lines.append(["gap closed", *gaps])
    note = (
        f"mIoU, %, on real images of segmenters that were trained on the named frames for "
        f"{first['settings']['num_steps']:,} steps; mean and range over the runs of a method."
    )
    return Table("What the pictures teach", note, ["trained on", *records], lines)


def diversity_table(records: Records) -> Table:
    """How much variants of a scene differ, and their mIoU."""
    kinds = list(dict.fromkeys(kind for record in _all(records) for kind in record["rows"]))
    lines = []
    for kind in kinds:
        cells = []
        for own in records.values():
            found = [record["rows"].get(kind, {}) for record in own]
            distance = _text([values.get("distance") for values in found], 1, 3)
            cells.append(f"{distance}, {_text([values.get('mean_iou') for values in found])}")
        lines.append([kind, *cells])
    note = (
        "Distance between variants of a scene by HED's VGG16 (LPIPS without learned weights), and "
        "their mIoU, %."
    )
    return Table("Variants of a scene", note, ["what differs", *records], lines)


def _all(records: Records) -> list[Mapping[str, Any]]:
    return [record for own in records.values() for record in own]


def _mean_iou(results: Sequence[Mapping[str, Any]] | None) -> float | None:
    """The mean over the segmenters of a run; None where the set does not exist."""
    return _mean([result["mean_iou"] for result in results or ()])


def _mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def _text(values: Sequence[float | None], factor: float = 100, decimals: int = 1) -> str:
    known = [value for value in values if value is not None]
    return Spread(known).text(factor, decimals) if known else "-"
