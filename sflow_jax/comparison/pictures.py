"""The pictures of a comparison: scenes by all methods, and what each run did on its way."""

import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sflow_jax import video
from sflow_jax.comparison.plan import Run, first_runs
from sflow_jax.comparison.results import MethodResults, class_spreads
from sflow_jax.data.flow import farneback_flow
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.evaluation.evaluation import Choice, set_up_evaluation
from sflow_jax.pictures import flow_to_rgb, grid, largest_motion
from sflow_jax.report import draw_plot

_NUM_SCENES = 6
_REAL = "real"
_CURVES = {
    "eval/mean_iou": "mIoU of the validation split",
    "eval/frechet_streets": "frechet_streets of the validation split",
    "l1": "L1 distance to the real image, in training",
    "discriminator/accuracy": "accuracy of the discriminators, in training",
}
_SMOOTHED_OVER = 0.05  # of a run, for what is logged of single batches


def collect_scenes(
    runs: Sequence[Run], split: str | None, dataset: pathlib.Path | None
) -> dict[str, np.ndarray]:
    """The same scenes by the first run of every method.

    Returns:
        uint8 RGB [N, T, H, W, 3] by caption: label, CG frame, the methods, real image.
    """
    columns: dict[str, np.ndarray] = {}
    real: np.ndarray | None = None
    for name, run in first_runs(runs).items():
        choice = Choice(metrics=())
        evaluation = set_up_evaluation(run.workdir, split, choice=choice, dataset_directory=dataset)
        source = evaluation.dataset.source(evaluation.split)
        count = min(_NUM_SCENES, len(source))
        examples = [source[index * len(source) // count] for index in range(count)]
        batch, _ = next(eval_batches(examples, count))
        if not columns:
            columns["label"] = evaluation.model.class_table.colorize(batch["label"][..., 0])
            if "cg" in batch:
                columns["CG frame"] = batch["cg"]
            real = batch["image"]
        columns[name] = evaluation.rows[evaluation.model_row](batch)
    assert real is not None
    return columns | {_REAL: real}


def draw_sheet(columns: Mapping[str, np.ndarray], time: int) -> np.ndarray:
    """One frame of every scene, a row for each, as `collect_scenes` gives them."""
    rows = zip(*(frames[:, time] for frames in columns.values()), strict=True)
    return grid([list(row) for row in rows], list(columns))


def draw_flows(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The flow from the first frame of every scene to the second, by all methods, in one scale."""
    shown = {name: frames[:, :2] for name, frames in columns.items() if name != "label"}
    rows = []
    for index in range(len(shown[_REAL])):
        flows = {name: farneback_flow(*frames[index]) for name, frames in shown.items()}
        largest = largest_motion(flows[_REAL])
        rows.append([flow_to_rgb(flow, largest) for flow in flows.values()])
    return grid(rows, list(shown))


def encode_clips(columns: Mapping[str, np.ndarray], fps: float) -> bytes:
    """All scenes side by side as one mp4, so that they play in step."""
    length = columns[_REAL].shape[1]
    sheets = [draw_sheet(columns, time) for time in range(length)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "clips.mp4")
        video.encode(path, sheets, length, fps)
        return path.read_bytes()


def draw_curves(methods: Sequence[MethodResults]) -> bytes | None:
    """How scores and losses went over the steps, a line per seed, as a PNG; None of no curves."""
    found = {
        key: title
        for key, title in _CURVES.items()
        if any(key in line for method in methods for curve in method.curves for line in curve)
    }
    if not found:
        return None
    return draw_plot(
        lambda figure: _plot_curves(figure, methods, found),
        width=5 * min(2, len(found)),
        height=3.4 * -(-len(found) // 2),
    )


def _plot_curves(
    figure: Figure, methods: Sequence[MethodResults], titles: Mapping[str, str]
) -> None:
    axes = figure.subplots(-(-len(titles) // 2), min(2, len(titles)), squeeze=False).flat
    for axis, (key, title) in zip(axes, titles.items(), strict=False):
        for index, method in enumerate(methods):
            for seed, curve in enumerate(method.curves):
                points = [(line["step"], line[key]) for line in curve if key in line]
                if not points:
                    continue
                steps, values = np.array(points).T
                if not key.startswith("eval/"):
                    values = _smoothed(values)
                label = method.name if seed == 0 else None
                axis.plot(steps / steps[-1], values, color=f"C{index}", label=label, linewidth=1)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("share of the run", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    # A method may not have what is drawn first.
    lines = {
        label: line
        for axis in figure.axes
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.axes[0].legend(lines.values(), lines.keys(), fontsize=8)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value and its neighbors."""
    half = max(1, round(_SMOOTHED_OVER * len(values) / 2))
    sums = np.concatenate([[0.0], values.cumsum()])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def draw_classes(rows: Mapping[str, Sequence[Mapping]]) -> bytes | None:
    """The IoU of every class as bars, by the names of rows, as a PNG; None where it is unknown."""
    by_row = {name: class_spreads(results) for name, results in rows.items()}
    classes = [
        name
        for name in next(iter(by_row.values()))
        if all(spreads[name] is not None for spreads in by_row.values())
    ]
    if not classes:
        return None

    def plot(figure: Figure) -> None:
        axis = figure.subplots()
        places = np.arange(len(classes))
        width = 0.8 / len(by_row)
        for index, (name, spreads) in enumerate(by_row.items()):
            known = [spread for spread in map(spreads.get, classes) if spread is not None]
            heights = np.array([100 * spread.mean for spread in known])
            ends = 100 * np.array([[min(s.values), max(s.values)] for s in known]).T
            errors = np.abs(ends - heights)
            axis.bar(
                places + index * width,
                heights,
                width,
                yerr=errors,
                label=name,
                error_kw={"linewidth": 0.8},
            )
        axis.set_xticks(places + 0.4 - width / 2, classes, rotation=40, ha="right", fontsize=8)
        axis.set_ylabel("IoU, %", fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.legend(fontsize=8)

    return draw_plot(plot, width=10, height=3.6)


def save(folder: pathlib.Path, pictures: Mapping[str, bytes]) -> None:
    """Writes PNG files by their names without ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (folder / f"{name}.png").write_bytes(content)
