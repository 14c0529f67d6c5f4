"""The scores of all runs of a comparison, and what they say about the methods."""

import dataclasses
import itertools
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sflow_jax.evaluation.rows import CG, ORACLE
from sflow_jax.metrics.picture_scores import Result, class_ious, number
from sflow_jax.metrics.score_table import COLUMNS
from sflow_jax.training.metric_log import METRICS_FILE, parse_line

REFERENCE_ROWS = {ORACLE: "real images (oracle)", CG: "CG frames as they are"}
"""Rows that are of the data, not of a method, and what a report calls them."""

_LARGER_IS_BETTER = (
    "mean_iou",
    "pixel_accuracy",
    "pixel_accuracy_with_void",
    "precision",
    "recall",
)
_IS_NO_SCORE = ("edge_density", "edge_correlation")


@dataclasses.dataclass(frozen=True)
class MethodResults:
    """What the runs of one method scored.

    Attributes:
        name: of the method.
        rows: for each row of its score tables, its own first, the results of every seed.
        records: the whole records, one per seed.
        curves: what each run logged, a list of steps with their numbers per seed.
    """

    name: str
    rows: Mapping[str, Sequence[Result]]
    records: Sequence[Mapping[str, Any]]
    curves: Sequence[Sequence[Mapping[str, float]]]

    @property
    def others(self) -> dict[str, Sequence[Result]]:
        """The results of the same generator used in other ways, by row."""
        ignored = {*REFERENCE_ROWS, self.records[0]["model_row"]}
        return {row: results for row, results in self.rows.items() if row not in ignored}

    @property
    def own(self) -> Sequence[Result]:
        """The results of the pictures as the method is meant to make them."""
        return self.rows[self.records[0]["model_row"]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A score over the seeds: its mean and range."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.values)

    def text(self, factor: float, decimals: int) -> str:
        """Such as '41.2 (40.1 to 42.0)'; only the number where there is one seed."""
        mean, low, high = (
            f"{factor * x:.{decimals}f}" for x in (self.mean, min(self.values), max(self.values))
        )
        return mean if len(self.values) == 1 else f"{mean} ({low} to {high})"


def collect(name: str, records: Sequence[Mapping[str, Any]]) -> MethodResults:
    """Joins the records of a method's seeds."""
    first = records[0]
    order = sorted(first["rows"], key=lambda row: row != first["model_row"])
    rows = {row: [record["rows"][row] for record in records] for row in order}
    curves = [read_curve(pathlib.Path(record["workdir"])) for record in records]
    return MethodResults(name, rows, records, curves)


def read_curve(workdir: pathlib.Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl, without those that are torn or damaged."""
    lines = (workdir / METRICS_FILE).read_bytes().splitlines()
    return [metrics for metrics in map(parse_line, lines) if metrics]


def reference_rows(methods: Sequence[MethodResults]) -> dict[str, Sequence[Result]]:
    """The rows that are the same for all methods, by their names in a report."""
    rows = methods[0].rows
    # Of one seed: the same pictures were scored by every run.
    return {title: rows[row][:1] for row, title in REFERENCE_ROWS.items() if row in rows}


def score_names(methods: Sequence[MethodResults]) -> list[str]:
    """The scores that all methods have, in the order of score tables."""
    results = [method.own[0] for method in methods]
    return [
        name
        for name in COLUMNS
        if name not in _IS_NO_SCORE and all(name in result for result in results)
    ]


def spread(results: Sequence[Result], name: str) -> Spread:
    """A score over the seeds of a row."""
    return Spread([number(result, name) for result in results])


def class_spreads(results: Sequence[Result]) -> dict[str, Spread | None]:
    """The IoU of every class over the seeds; None where it is not defined for all."""
    found: dict[str, Spread | None] = {}
    for name in class_ious(results[0]):
        values = [class_ious(result)[name] for result in results]
        defined = [value for value in values if value is not None]
        found[name] = Spread(defined) if len(defined) == len(values) else None
    return found


def orderings(methods: Sequence[MethodResults], oracle: Result) -> dict[str, str]:
    """For each score the methods from best to worst.

    '>' stands where every seed of the one is better than every seed of the other, and '~' where
    they overlap or there is one seed only, which says nothing about chance.
    """
    found = {}
    for name in score_names(methods):
        is_pattern = name.startswith("pattern")
        target = number(oracle, name) if is_pattern else None  # too smooth is no better
        larger = name in _LARGER_IS_BETTER

        def badness(value: float, target: float | None = target, larger: bool = larger) -> float:
            if target is not None:
                return abs(value - target)
            return -value if larger else value

        values = {
            method.name: [badness(x) for x in spread(method.own, name).values] for method in methods
        }
        names = sorted(values, key=lambda method: statistics.mean(values[method]))
        text = names[0]
        for better, worse in itertools.pairwise(names):
            several = min(len(values[better]), len(values[worse])) > 1
            apart = several and max(values[better]) < min(values[worse])
            text += f" {'>' if apart else '~'} {worse}"
        found[name] = text
    return found
