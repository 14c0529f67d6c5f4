"""The report of a survey: tables, plots and a few scenes."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sflow_jax.data.images import encode_png
from sflow_jax.pictures import edges_to_rgb, flow_to_rgb, grid, largest_motion
from sflow_jax.report import Report, Table, draw_plot
from sflow_jax.survey.findings import findings
from sflow_jax.survey.measures import Measures, Survey

_MOST_FAULTS = 100  # that a report lists
_NUM_BINS = 40


def make_report(survey: Survey, title: str, command: str) -> Report:
    """All of it.

    Args:
        survey: of a dataset.
        title: of the report.
        command: that made it.
    """
    nothing = "Nothing stands out." if survey.examples else "Nothing could be read."
    notes = findings(survey) or [nothing]
    if survey.faults:
        count = len(survey.faults)
        notes.insert(0, f"Files with faults: {count}. They have to be mended before training.")
    tables = [_faults(survey)] if survey.faults else []
    pictures = {}
    if survey.scenes:
        tables += [_splits(survey), _classes(survey)]
        pictures["scenes"] = (_draw_scenes(survey), "The first examples, as training sees them.")
        pictures |= {
            name: (draw_plot(functools.partial(plot, survey), 9, 3.4), caption)
            for name, (plot, caption) in _PLOTS.items()
            if name != "motion" or survey.schema.flow
        }
    return Report(title, notes, tables, pictures, [command], plots=tuple(_PLOTS))


def _faults(survey: Survey) -> Table:
    left = len(survey.faults) - _MOST_FAULTS
    note = f"{left} more are not listed." if left > 0 else ""
    return Table("Faults", note, ["file"], [[fault] for fault in survey.faults[:_MOST_FAULTS]])


def _splits(survey: Survey) -> Table:
    """Examples, edges and motion of every split: means, with the 5th and 95th percentile."""
    columns: dict[str, Callable[[Measures], float | None]] = {
        "edges of real frames, %": lambda one: 100 * one.edges,
        "edges of CG frames, %": lambda one: None if one.cg_edges is None else 100 * one.cg_edges,
        "median motion, px": lambda one: one.motion and one.motion[0],
        "fastest percent, px": lambda one: one.motion and one.motion[1],
    }
    rows = []
    for split, examples in survey.splits.items():
        row = [split, f"{len(examples):,}"]
        for value in columns.values():
            row.append(_spread([found for one in examples if (found := value(one)) is not None]))
        rows.append(row)
    size = f"{survey.schema.width}x{survey.schema.height}"
    edges = survey.edges
    note = f"At {size}. Means over examples, with the 5th and the 95th percentile. "
    note += f"Edges are those of a fixed threshold, {edges.threshold:g}"
    if edges.quantile is not None:
        note += f"; in training edges.quantile gives all pictures {1 - edges.quantile:.0%}"
    return Table("Splits", f"{note}.", ["", "examples", *columns], rows)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"


def _classes(survey: Survey) -> Table:
    shares = _shares(survey)
    rows = []
    for row, label_class in enumerate(survey.class_table.classes):
        cells = [f"{100 * of_classes[row]:.2f}" for of_classes in shares.values()]
        for examples in survey.splits.values():
            has_it = [one.pixels[label_class.id] > 0 for one in examples]
            cells.append(f"{100 * np.mean(has_it) if examples else 0:.0f}")
        scored = "-" if label_class.eval_id is None else str(label_class.eval_id)
        rows.append([label_class.name, str(label_class.id), scored, *cells])
    header = ["", "id", "eval_id"]
    header += [f"pixels of {split}, %" for split in shares]
    header += [f"examples of {split} with it, %" for split in shares]
    return Table("Classes", "", header, rows)


def _shares(survey: Survey) -> dict[str, np.ndarray]:
    """The share of each class of the table in the pixels of every split."""
    ids = [label_class.id for label_class in survey.class_table.classes]
    counts = {split: survey.pixels(split) for split in survey.splits}
    return {split: pixels[ids] / max(pixels.sum(), 1) for split, pixels in counts.items()}


def _draw_scenes(survey: Survey) -> bytes:
    rows = []
    for scene in survey.scenes:
        row = {"label": survey.class_table.colorize(scene["label"][0, ..., 0])}
        row["real"], row["edges of real"] = scene["image"][0], edges_to_rgb(scene["edges"])
        if "cg" in scene:
            row["CG"], row["edges of CG"] = scene["cg"][0], edges_to_rgb(scene["cg_edges"])
        if "flow" in scene:
            row["flow"] = flow_to_rgb(scene["flow"], largest_motion(scene["flow"]))
        rows.append(row)
    return encode_png(grid([list(row.values()) for row in rows], list(rows[0])))


def _plot_classes(survey: Survey, figure: Figure) -> None:
    axis = figure.subplots()
    shares = _shares(survey)
    places, width = np.arange(len(survey.class_table.classes)), 0.8 / len(shares)
    for index, (split, values) in enumerate(shares.items()):
        axis.bar(places + index * width, 100 * values, width, label=split)
    axis.set_yscale("symlog", linthresh=0.01)
    names = [label_class.name for label_class in survey.class_table.classes]
    axis.set_xticks(places + 0.4 - width / 2, names, rotation=40, ha="right", fontsize=8)
    axis.set_ylabel("pixels, %", fontsize=8)
    axis.legend(fontsize=8)


def _plot_edges(survey: Survey, figure: Figure) -> None:
    densities = {"real frames": [100 * one.edges for one in survey.examples]}
    if survey.schema.cg:
        found = (one.cg_edges for one in survey.examples)
        densities["CG frames"] = [100 * density for density in found if density is not None]
    _plot_histograms(
        figure, densities, f"pixels above edges.threshold={survey.edges.threshold:g}, %"
    )


def _plot_motion(survey: Survey, figure: Figure) -> None:
    motions = [one.motion for one in survey.examples if one.motion]
    median, high = np.array(motions).T
    lengths = {"median of a pair": median, "fastest percent of a pair": high}
    _plot_histograms(figure, lengths, "motion from frame to frame, pixels")


def _plot_histograms(figure: Figure, values: Mapping[str, Sequence[float]], unit: str) -> None:
    axis = figure.subplots()
    bins = np.linspace(0, 1.05 * max(map(max, values.values())) or 1, _NUM_BINS)
    for label, numbers in values.items():
        axis.hist(numbers, bins.tolist(), label=label, alpha=0.6)
    axis.set_xlabel(unit, fontsize=8)
    axis.set_ylabel("examples", fontsize=8)
    axis.legend(fontsize=8)


_PLOTS: dict[str, tuple[Callable[[Survey, Figure], None], str]] = {
    "classes": (_plot_classes, "How much of the pictures each class is."),
    "edges": (_plot_edges, "How many pixels are edges, example by example."),
    "motion": (_plot_motion, "How far pixels move from a frame to the next."),
}
