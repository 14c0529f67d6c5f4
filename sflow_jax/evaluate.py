"""Scores a trained generator on a split of its dataset.

    python -m sflow_jax.evaluate --workdir RUN [--split SPLIT] [--output DIR]

Every score has a row for the real images (oracle), for the model, for the same generator given
plain Laplacian edges or none, and for the CG frames where there are any. What is scored is what
sampling would write to a PNG. It writes metrics.json, scores.txt and examples.png.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable

import grain.python as grain
import numpy as np
import tqdm
from absl import flags

from sflow_jax import cli
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.data.prepared import open_dataset
from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel, batch_size_for, restore_model
from sflow_jax.metrics.picture_scores import MeanL1, Predict, Result, Score, Segmentation
from sflow_jax.metrics.score_table import format_table
from sflow_jax.pictures import grid, to_uint8, write_png
from sflow_jax.prepare import PreparedDataset, prepare
from sflow_jax.training.scene import to_float

METRICS_FILE = "metrics.json"
TABLE_FILE = "scores.txt"
EXAMPLES_FILE = "examples.png"

ORACLE = "Oracle (real images)"
DNED_EDGES = "DNED edges"
LAPLACIAN = "Laplacian, no DNED"
NO_EDGES = "labels only, no edges"
CG = "CG frame itself"

_NUM_SHOWN = 6

Draw = Callable[[dict], np.ndarray]
"""The pictures of a row, uint8 RGB [B, H, W, 3], for a batch of examples."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model, what it is scored on, and the rows of the table.

    Attributes:
        model: the restored run.
        dataset: of the run.
        split: of the dataset.
        rows: by name, in their order in the table.
        model_row: the row of the pictures as the model is meant to make them.
        predict: the segmenter that scores, or None where there is none for the dataset.
    """

    model: TrainedModel
    dataset: PreparedDataset
    split: str
    rows: dict[str, Draw]
    model_row: str
    predict: Predict | None

    @property
    def edge_key(self) -> str:
        """Where edges come from: 'cg' where there is one, as in sampling, else 'image'."""
        return "cg" if self.dataset.schema.cg else "image"

    def create_scores(self) -> list[Score]:
        """The scores of one row, all empty."""
        segmentation = [Segmentation(self.predict, self.model.class_table)] if self.predict else []
        return [MeanL1(), *segmentation]


def set_up(workdir: pathlib.Path, split: str | None = None, step: int | None = None) -> Evaluation:
    """Restores a run, opens its dataset and its segmenter.

    Raises:
        InputError: one of them cannot be used.
    """
    model = restore_model(workdir, step)
    dataset = _open_dataset(model)
    if split is None:
        split = "test" if "test" in dataset.num_examples else "validation"
    if dataset.class_table != model.class_table:
        raise InputError(
            f"{dataset.directory}: found other classes than in {workdir}, "
            "expected the dataset that the run was trained on"
        )
    rows = make_rows(model, has_cg=dataset.schema.cg)
    model_row = next(name for name in rows if name != ORACLE)
    return Evaluation(model, dataset, split, rows, model_row, load_segmenter(model))


def _open_dataset(model: TrainedModel) -> PreparedDataset:
    """The dataset that the model was trained on; prepared again only if it is gone."""
    directory = pathlib.Path(model.dataset)
    return open_dataset(directory) if directory.is_dir() else prepare(model.config.data)


def make_rows(model: TrainedModel, has_cg: bool) -> dict[str, Draw]:
    """The rows that make sense for a model, its own one right after the oracle."""

    def generated(share: float, with_edges: bool = True) -> Draw:
        def draw(batch: dict) -> np.ndarray:
            edge_image = batch["cg" if has_cg else "image"][:, 0]
            # An image of one colour has no edges.
            edge_image = edge_image if with_edges else np.zeros_like(edge_image)
            outputs = model.translate(batch["label"][:, 0], edge_image, share=share)
            return to_uint8(outputs["image"])

        return draw

    rows = {ORACLE: lambda batch: batch["image"][:, 0]}
    if model.sees_dned:
        rows[DNED_EDGES] = generated(model.dned_share)
    if model.config.generator.edges != "none":
        rows[LAPLACIAN] = generated(0.0)
    # Not through DNED, which draws something even where there is no edge.
    rows[NO_EDGES] = generated(0.0, with_edges=False)
    if has_cg:
        rows[CG] = lambda batch: batch["cg"][:, 0]
    return rows


def load_segmenter(model: TrainedModel) -> Predict | None:
    """The segmenter for the run's dataset, if there is one."""
    if model.config.data.dataset != "streets":
        return None
    from sflow_jax.pretrained import streets_segmenter

    variables = streets_segmenter.load("evaluator")
    return lambda pictures: np.asarray(streets_segmenter.predict(variables, to_float(pictures)))


def score(evaluation: Evaluation, limit: int | None = None) -> tuple[int, dict[str, Result]]:
    """Scores every row over the split, with a progress bar.

    Args:
        evaluation: what is scored.
        limit: only the first so many examples.

    Returns:
        The number of examples and the numbers of every row.

    Raises:
        InputError: the dataset has no such split.
    """
    source = grain.MapDataset.source(evaluation.dataset.source(evaluation.split))[:limit]
    schema = evaluation.dataset.schema
    batch_size = min(len(source), batch_size_for(schema.height, schema.width))
    scores = {name: evaluation.create_scores() for name in evaluation.rows}
    with tqdm.tqdm(total=len(source), desc="evaluating", unit="image") as bar:
        for batch, valid in eval_batches(source, batch_size):
            real, label = batch["image"][:valid, 0], batch["label"][:valid, 0]
            for name, draw in evaluation.rows.items():
                pictures = draw(batch)[:valid]
                for row_score in scores[name]:
                    row_score.update(pictures, real, label)
            bar.update(valid)
    results = {}
    for name, row_scores in scores.items():
        results[name] = {}
        for row_score in row_scores:
            results[name] |= row_score.result()
    return len(source), results


def draw_examples(evaluation: Evaluation, limit: int | None = None) -> np.ndarray:
    """Draws a few scenes of the split: label, every row, and what the segmenter sees; uint8 RGB."""
    source = evaluation.dataset.source(evaluation.split)
    length = min(len(source), limit or len(source))
    count = min(length, _NUM_SHOWN)
    spread = [source[index * length // count] for index in range(count)]
    batch, _ = next(eval_batches(spread, count))
    class_table = evaluation.model.class_table
    columns = {"label": class_table.colorize(batch["label"][:, 0, ..., 0])}
    pictures = {name: draw(batch) for name, draw in evaluation.rows.items()}
    if CG in pictures:
        columns[CG] = pictures.pop(CG)
    real = pictures.pop(ORACLE)
    columns |= pictures | {"real": real}
    if evaluation.predict:
        palette = np.zeros((256, 3), np.uint8)
        palette[class_table.eval_lookup[::-1]] = class_table.palette[::-1]  # the first id wins
        columns["segmented real"] = palette[evaluation.predict(real)]
        fake = pictures[evaluation.model_row]
        columns["segmented fake"] = palette[evaluation.predict(fake)]
    rows = [[column[index] for column in columns.values()] for index in range(count)]
    return grid(rows, list(columns))


def describe(evaluation: Evaluation, num_examples: int) -> list[str]:
    """What a reader of the table has to know."""
    model = evaluation.model
    lines = [
        f"step {model.step}, {num_examples} examples of the split {evaluation.split!r}, "
        f"seed {model.config.seed}"
    ]
    if model.config.generator.edges == "none":
        lines.append("The generator sees labels only.")
    elif evaluation.edge_key == "cg":
        lines.append("Edges come from the CG frames, as in use.")
    else:
        lines.append(
            "Edges come from the real images themselves: except for the row "
            f"{NO_EDGES!r}, not comparable with methods that see labels only."
        )
    if model.config.generator.edges == "dned" and model.dned_share < 1:
        lines.append(
            "The run has not reached its last stage: the generator's edges are "
            f"{100 * model.dned_share:.0f} % DNED's and otherwise Laplacian."
        )
    if len(evaluation.rows.keys() - {ORACLE, CG}) > 1:
        lines.append("All generated rows are the same generator, given other edges.")
    return lines


def summarise(evaluation: Evaluation, results: dict[str, Result]) -> tuple[dict, str]:
    """The model beside the oracle: as numbers for the record, and as a sentence."""
    if not evaluation.predict:
        return {}, (
            f"No mIoU: there is no segmenter for {evaluation.model.config.data.dataset!r} data. "
            "No FID: it is not computed yet."
        )
    share = results[evaluation.model_row]["mean_iou"] / results[ORACLE]["mean_iou"]
    return (
        {"mean_iou_share_of_oracle": share},
        f"mIoU of fakes ({evaluation.model_row}) is {100 * share:.1f} % of the oracle",
    )


def write_results(output: pathlib.Path, record: dict, report: str, examples: np.ndarray) -> None:
    """Writes the three files.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_without_nan(record), indent=2, allow_nan=False)
        (output / METRICS_FILE).write_text(text + "\n")
        (output / TABLE_FILE).write_text(report)
        write_png(output / EXAMPLES_FILE, examples)
    except OSError as error:
        raise InputError(f"{output}: {error}; expected a folder with room to write") from error


def _without_nan(value: object) -> object:
    """JSON knows no NaN: a score that is not defined is null."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    workdir = pathlib.Path(options.workdir)
    output = pathlib.Path(options.output) if options.output else workdir / "scores"
    evaluation = set_up(workdir, options.split, options.step)
    num_examples, results = score(evaluation, options.limit)
    summary, sentence = summarise(evaluation, results)
    notes = describe(evaluation, num_examples)
    report = "\n".join([*notes, "", format_table(results), "", sentence]) + "\n"
    model = evaluation.model
    record = {
        "workdir": str(workdir.absolute()),
        "checkpoint_step": model.step,
        "split": evaluation.split,
        "num_examples": num_examples,
        "edges": evaluation.edge_key,
        "dned_share": model.dned_share,
        "seed": model.config.seed,
        "model_row": evaluation.model_row,
        **summary,
        "rows": results,
        "config": model.config.to_dict(),
    }
    write_results(output, record, report, draw_examples(evaluation, options.limit))
    print(f"\n{report}\n{output}: {METRICS_FILE}, {TABLE_FILE}, {EXAMPLES_FILE}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run.")
    flags.DEFINE_string("split", None, "Split; by default test, or validation without one.")
    flags.DEFINE_string("output", None, "Folder for the results; by default WORKDIR/scores.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer("limit", None, "Only the first so many examples.", lower_bound=1)
    flags.mark_flag_as_required("workdir")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
