"""The report of a comparison: report.html, one file that opens offline, and report.md."""

import base64
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jinja2

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
from sflow_jax.files import write_whole
from sflow_jax.metrics.picture_scores import Result
from sflow_jax.metrics.score_table import COLUMNS

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
PICTURES_FOLDER, CLIPS_FILE = "pictures", "clips.mp4"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: of its section.
        note: what a reader has to know, in a sentence or two.
        header: of the columns.
        rows: one text per column.
    """

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        title: of the page.
        notes: what a reader has to know, a paragraph each.
        tables: in their order.
        pictures: PNG files by name, with a caption each.
        clips: an mp4 that shows the scenes of the comparison, if they are clips.
        missing: what was not computed and why, a paragraph each.
        commands: that made the report, a line each.
    """

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    pictures: Mapping[str, tuple[bytes, str]]
    clips: bytes | None
    missing: Sequence[str]
    commands: Sequence[str]


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


def write_report(folder: pathlib.Path, report: Report) -> None:
    """Writes report.html, report.md and the pictures of the latter.

    Raises:
        OSError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sflow_jax.comparison"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    embedded = {
        name: (base64.b64encode(content).decode(), caption)
        for name, (content, caption) in report.pictures.items()
    }
    clips = base64.b64encode(report.clips).decode() if report.clips else None
    html = environment.get_template("report.html").render(
        report=report, embedded=embedded, clips=clips
    )
    markdown = environment.get_template("report.md").render(
        report=report, pictures_folder=PICTURES_FOLDER, clips_file=CLIPS_FILE
    )
    if report.clips:
        write_whole(folder / PICTURES_FOLDER / CLIPS_FILE, report.clips)
    for name, (content, _) in report.pictures.items():
        write_whole(folder / PICTURES_FOLDER / f"{name}.png", content)
    write_whole(folder / HTML_FILE, html)
    write_whole(folder / MARKDOWN_FILE, markdown)
