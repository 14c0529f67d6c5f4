"""A model, what it is scored on and its scores."""

import dataclasses
import pathlib

import grain.python as grain
import numpy as np
import tqdm

from sflow_jax.data.pipeline import eval_batches
from sflow_jax.data.prepared import open_dataset
from sflow_jax.errors import InputError
from sflow_jax.evaluation.rows import ORACLE, Draw, make_rows
from sflow_jax.inference import TrainedModel, batch_size_for, restore_model
from sflow_jax.metrics.picture_scores import MeanL1, Predict, Result, Score, Segmentation
from sflow_jax.metrics.temporal_scores import Temporal
from sflow_jax.prepare import PreparedDataset, prepare
from sflow_jax.training.scene import to_float


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
        scores = [MeanL1()]
        if self.predict:
            scores.append(Segmentation(self.predict, self.model.class_table))
        if self.dataset.schema.frames == 2:
            scores.append(Temporal())
        return scores


def set_up(
    workdir: pathlib.Path,
    split: str | None = None,
    step: int | None = None,
    dataset_directory: pathlib.Path | None = None,
) -> Evaluation:
    """Restores a run, opens its dataset and its segmenter.

    Args:
        workdir: the folder of the run.
        split: by default test, or validation without one.
        step: which checkpoint; the newest by default.
        dataset_directory: another prepared dataset than the run's own, such as pairs of frames for
            a run on images.

    Raises:
        InputError: one of them cannot be used.
    """
    model = restore_model(workdir, step)
    dataset = open_dataset(dataset_directory) if dataset_directory else _open_dataset(model)
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
            examples = {key: values[:valid] for key, values in batch.items()}
            for name, draw in evaluation.rows.items():
                pictures = draw(batch)[:valid]
                for row_score in scores[name]:
                    row_score.update(pictures, examples)
            bar.update(valid)
    results = {}
    for name, row_scores in scores.items():
        results[name] = {}
        for row_score in row_scores:
            results[name] |= row_score.result()
    return len(source), results
