"""The tables of a comparison."""

from collections.abc import Mapping, Sequence

from sflow_jax.comparison.costs import Cost
from sflow_jax.comparison.results import (
    MethodResults,
    class_spreads,
    orderings,
    reference_rows,
    score_names,
    spread,
)
from sflow_jax.evaluation.rows import ORACLE
from sflow_jax.metrics.picture_scores import Result
from sflow_jax.metrics.score_table import COLUMNS
from sflow_jax.report import Table


def score_table(methods: Sequence[MethodResults]) -> Table:
    """Scores of the real images and of every row of every method, mean and range over seeds."""
    names = score_names(methods)
    rows = reference_rows(methods)
    for method in methods:
        rows[method.name] = method.own
        rows |= {f"{method.name}: {row}": results for row, results in method.others.items()}
    lines = [[row, *_cells(results, names)] for row, results in rows.items()]
    seeds = {len(method.records) for method in methods}
    note = "Mean and range over the seeds." if max(seeds) > 1 else "One seed."
    return Table("Scores", note, ["", *(COLUMNS[name][0] for name in names)], lines)


def _cells(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    return [spread(results, name).text(*COLUMNS[name][1:]) for name in names]


def class_table(methods: Sequence[MethodResults]) -> Table | None:
    """The IoU of every class in percent; None where nothing was segmented."""
    rows = reference_rows(methods) | {method.name: method.own for method in methods}
    by_row = {name: class_spreads(results) for name, results in rows.items()}
    classes = list(next(iter(by_row.values())))
    if not classes:
        return None
    lines = []
    for label in classes:
        found = [spreads.get(label) for spreads in by_row.values()]
        lines.append([label, *("-" if s is None else s.text(100, 1) for s in found)])
    return Table("IoU by class, %", "", ["", *by_row], lines)


def ordering_table(methods: Sequence[MethodResults]) -> Table:
    """Which method is better than which, by each score."""
    found = orderings(methods, methods[0].rows[ORACLE][0])
    note = (
        "From best to worst. '>': every seed of the one is better than every seed of the other; "
        "'~': they overlap, or there is one seed. For fixed patterns, closer to real images is "
        "better."
    )
    lines = [[COLUMNS[name][0], text] for name, text in found.items()]
    return Table("Which method is better", note, ["score", "order"], lines)


def cost_table(costs: Mapping[str, Cost], machine: str) -> Table:
    """Parameters, operations and times."""
    lines = []
    for name, cost in costs.items():
        networks = ", ".join(f"{part} {count:,}" for part, count in cost.parameters.items())
        lines.append(
            [
                name,
                networks,
                f"{cost.gflop:,.2f}",
                f"{cost.steps:,}",
                f"{1e3 / cost.images_per_second:,.0f}",
                f"{cost.frame_ms:,.1f}",
            ]
        )
    header = [
        "",
        "parameters",
        "GFLOP per picture",
        "steps",
        "ms per training image",
        "ms per picture",
    ]
    note = f"Medians on {machine}; the training was alone or beside others, as it came."
    return Table("Costs", note, header, lines)
