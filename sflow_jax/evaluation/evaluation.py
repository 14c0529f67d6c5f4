"""A model, what it is scored on and its scores."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

import grain.python as grain
import tqdm

from sflow_jax import sharding
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.data.prepared import open_dataset
from sflow_jax.errors import InputError
from sflow_jax.evaluation import distances, segmenters
from sflow_jax.evaluation.distances import Distance, DistanceScore
from sflow_jax.evaluation.rows import ORACLE, Draw, make_rows
from sflow_jax.inference import TrainedModel, batch_size_for, restore_model
from sflow_jax.metrics.feature_statistics import files_state
from sflow_jax.metrics.fid import DEFAULT_PROTOCOL
from sflow_jax.metrics.fixed_pattern import FixedPattern
from sflow_jax.metrics.picture_scores import MeanL1, Result, Score, Segmentation
from sflow_jax.metrics.temporal_scores import Temporal
from sflow_jax.prepare import PreparedDataset, prepare
from sflow_jax.pretrained import i3d, weights
from sflow_jax.segmentation.labeling import Predict
from sflow_jax.segmentation.sliding_window import MULTI_SCALE

FID, FRECHET_STREETS, SEGMENTATION = METRICS = ("fid", "frechet_streets", "segmentation")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is to be computed in addition to the scores that need no network.

    Attributes:
        metrics: names in `METRICS`, which are then required; by default all whose weights are
            there.
        protocol: of FID, KID, precision and recall, a key of `inception_input.PROTOCOLS`.
        segmenter: a key of `segmenters.PUBLISHED` or a file with one's own weights; by default the
            one for the dataset.
        multi_scale: whether a PSPNet sees images at semseg's six sizes, not at one.
    """

    metrics: Sequence[str] | None = None
    protocol: str = DEFAULT_PROTOCOL
    segmenter: str | None = None
    multi_scale: bool = False

    def includes(self, name: str) -> bool:
        """Whether a metric is to be computed if it can be."""
        return self.metrics is None or name in self.metrics

    def check(self, dataset: str, option: str = "--metrics") -> None:
        """Finds what cannot be computed.

        Args:
            dataset: the name of the run's dataset.
            option: where the user named the metrics.

        Raises:
            InputError: a metric is unknown, its weights are absent, or it is for other data.
        """
        for name in self.metrics or ():
            if name not in METRICS:
                known = ", ".join(METRICS)
                raise InputError(f"{option}: found {name!r}, expected names among {known}")
        if FRECHET_STREETS in (self.metrics or ()) and dataset != "streets":
            raise InputError(
                f"{option}: found {FRECHET_STREETS!r}, which is for streets, on {dataset!r} data"
            )
        if self.segmenter and not self.includes(SEGMENTATION):
            raise InputError(f"--segmenter: expected {SEGMENTATION!r} among --metrics too")
        if self.metrics and (missing := self.missing(dataset)):
            raise InputError(missing[0])

    def missing(self, dataset: str) -> list[str]:
        """A line for every metric that its weights are missing for, with how to get them."""
        lines = []
        if self.includes(FID) and (line := weights.what_is_missing("inception_v3")):
            lines.append(f"No FID, KID, precision and recall: {line}")
        if self.includes(SEGMENTATION) and not self.segmenter and dataset != "streets":
            line = (
                weights.what_is_missing("pspnet50_cityscapes")
                if dataset == "cityscapes"
                else f"there is no segmenter for {dataset!r} data; train one with: "
                "python -m sflow_jax.train_segmenter, and name it with --segmenter"
            )
            if line:
                lines.append(f"No mIoU: {line}")
        return lines


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model, what it is scored on, and the rows of the table.

    Attributes:
        model: the restored run.
        dataset: of the run.
        split: of the dataset.
        rows: by name, in their order in the table.
        model_row: the row of the pictures as the model is meant to make them.
        segmenter: the one that scores, or None.
        distances: to the real images.
        missing: what is not computed and why, a line each.
    """

    model: TrainedModel
    dataset: PreparedDataset
    split: str
    rows: dict[str, Draw]
    model_row: str
    segmenter: segmenters.NamedSegmenter | None
    distances: Sequence[Distance]
    missing: Sequence[str]

    @property
    def predict(self) -> Predict | None:
        """Labels pictures, if there is a segmenter."""
        return self.segmenter.predict if self.segmenter else None

    @property
    def edge_key(self) -> str:
        """Where edges come from: 'cg' where there is one, as in sampling, else 'image'."""
        return "cg" if self.dataset.schema.cg else "image"

    def of(self, model: TrainedModel) -> "Evaluation":
        """The same evaluation of another model of the same run; no network is loaded again."""
        rows, model_row = _rows(model, self.dataset)
        return dataclasses.replace(self, model=model, rows=rows, model_row=model_row)

    def create_scores(
        self, real: Sequence[DistanceScore] = (), limit: int | None = None
    ) -> list[Score]:
        """The scores of one row, all empty.

        Args:
            real: the distances of the row of real images; none where this is that row.
            limit: only the first so many examples will be shown to them.
        """
        scores: list[Score] = [MeanL1(), FixedPattern()]
        if self.predict:
            scores.append(Segmentation(self.predict, self.model.class_table))
        if self.dataset.schema.frames > 1:
            scores.append(Temporal())
        if real:
            scores += [DistanceScore(*pair) for pair in zip(self.distances, real, strict=True)]
        elif self.distances:
            pictures = self._describe_pictures(limit)
            scores += [distances.create_real_score(one, pictures) for one in self.distances]
        return scores

    def _describe_pictures(self, limit: int | None) -> dict[str, str]:
        """Which real images are scored, for the key of a cache."""
        files = sorted(path for path in self.dataset.directory.iterdir() if path.is_file())
        return {
            "files": files_state(self.dataset.directory, files),
            "split": self.split,
            "limit": str(limit),
        }


def set_up_evaluation(
    workdir: pathlib.Path,
    split: str | None = None,
    step: int | None = None,
    dataset_directory: pathlib.Path | None = None,
    choice: Choice | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Restores a run, opens its dataset and its segmenter.

    Args:
        workdir: the folder of the run.
        split: by default test, or validation without one.
        step: which checkpoint; the newest by default.
        dataset_directory: another prepared dataset than the run's own, such as pairs of frames for
            a run on images.
        choice: what is computed; by default everything whose weights are there.
        limit: only the first so many examples.

    Raises:
        InputError: one of them cannot be used.
    """
    choice = choice or Choice()
    model = restore_model(workdir, step)
    choice.check(model.config.data.dataset)
    dataset = open_dataset(dataset_directory) if dataset_directory else _open_dataset(model)
    if split is None:
        split = "test" if "test" in dataset.num_examples else "validation"
    if not dataset.class_table.has_classes_of(model.class_table):
        raise InputError(
            f"{dataset.directory}: found other classes than in {workdir}, "
            "expected the dataset that the run was trained on"
        )
    dataset.require_keys(model.method.input_keys, f"what the run in {workdir} needs")
    return assemble(model, dataset, split, choice, limit)


def assemble(
    model: TrainedModel,
    dataset: PreparedDataset,
    split: str,
    choice: Choice,
    limit: int | None = None,
) -> Evaluation:
    """Loads the networks that score; see `set_up_evaluation`.

    Raises:
        InputError: one of them cannot be used, or there is no such split.
    """
    rows, model_row = _rows(model, dataset)
    segmenter = load_segmenter(model, choice)
    num_examples = min(len(dataset.source(split)), limit or sys.maxsize)
    used, missing = load_distances(model, choice, dataset, num_examples)
    missing = [*choice.missing(model.config.data.dataset), *missing]
    return Evaluation(model, dataset, split, rows, model_row, segmenter, used, missing)


def _rows(model: TrainedModel, dataset: PreparedDataset) -> tuple[dict[str, Draw], str]:
    """The rows, and which is the model's own."""
    rows = make_rows(model, has_cg=dataset.schema.cg)
    return rows, next(name for name in rows if name != ORACLE)


def _open_dataset(model: TrainedModel) -> PreparedDataset:
    """The dataset that the model was trained on; prepared again only if it is gone.

    Raises:
        InputError: it is unknown, as imported networks came without one, or cannot be prepared.
    """
    if not model.dataset:
        raise InputError(
            "--dataset: missing; expected the folder of a prepared dataset, as these networks were "
            "imported without one"
        )
    directory = pathlib.Path(model.dataset)
    return open_dataset(directory) if directory.is_dir() else prepare(model.config.data)


def load_segmenter(model: TrainedModel, choice: Choice) -> segmenters.NamedSegmenter | None:
    """The segmenter that was asked for, or the one for the run's dataset if it is there.

    Raises:
        InputError: one that was asked for cannot be used.
    """
    if not choice.includes(SEGMENTATION):
        return None
    table, scales = model.class_table, MULTI_SCALE if choice.multi_scale else (1.0,)
    if choice.segmenter in segmenters.PUBLISHED:
        return segmenters.load_published(choice.segmenter, table, scales)
    if choice.segmenter:
        return segmenters.load_own(pathlib.Path(choice.segmenter), table, scales)
    dataset = model.config.data.dataset
    if dataset == "streets":
        if choice.multi_scale:
            raise segmenters.one_scale_only(segmenters.STREETS_TITLE)
        return segmenters.load_streets()
    if dataset != "cityscapes" or weights.what_is_missing("pspnet50_cityscapes"):
        return None
    return segmenters.load_published("pspnet50", table, scales)


def load_distances(
    model: TrainedModel, choice: Choice, dataset: PreparedDataset, num_examples: int
) -> tuple[list[Distance], list[str]]:
    """The distances whose weights are there, and a line for each one that the data cannot give."""
    schema, found = dataset.schema, []
    is_short = schema.frames < i3d.MIN_FRAMES
    reason = (
        f"it needs sequences of at least {i3d.MIN_FRAMES} frames, those of this dataset have "
        f"{schema.frames}. Translate longer ones"
        if is_short
        else "it is of videos. Translate them"
    )
    lines = [
        f"No FVD: {reason} with sample --video and compare their folder "
        "with that of the real ones: evaluate --real FOLDER --fake FOLDER --videos"
    ]
    num_images = num_examples * schema.frames
    if num_images < distances.FEWEST:
        return [], [*lines, f"No Fréchet distances: they need {distances.FEWEST} images."]
    batch_size = batch_size_for(schema.height, schema.width) * schema.frames
    if choice.includes(FID) and not weights.what_is_missing("inception_v3"):
        found.append(distances.load_inception(choice.protocol, batch_size, num_images))
    if choice.includes(FRECHET_STREETS) and model.config.data.dataset == "streets":
        found.append(distances.load_frechet_streets(batch_size))
    return found, lines


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
    scores = {ORACLE: evaluation.create_scores(limit=limit)}
    real = distances_among(scores[ORACLE])
    scores |= {name: evaluation.create_scores(real) for name in evaluation.rows if name != ORACLE}
    num_examples = update(evaluation, scores, limit)
    return num_examples, {name: results(row_scores) for name, row_scores in scores.items()}


def distances_among(scores: Sequence[Score]) -> list[DistanceScore]:
    """Those that the scores of other rows refer to, if these are of the real images."""
    return [score for score in scores if isinstance(score, DistanceScore)]


def update(
    evaluation: Evaluation, scores: Mapping[str, Sequence[Score]], limit: int | None = None
) -> int:
    """Shows the pictures of some rows to their scores, with a progress bar.

    Local devices share each batch, and hosts the split.

    Args:
        evaluation: draws the pictures.
        scores: by the names of rows.
        limit: only the first so many examples.

    Returns:
        The number of examples, over all hosts.

    Raises:
        InputError: the dataset has no such split.
    """
    source = grain.MapDataset.source(evaluation.dataset.source(evaluation.split))[:limit]
    own = sharding.share_of_host(source)
    schema = evaluation.dataset.schema
    most = batch_size_for(schema.height, schema.width)
    batch_size = min(sharding.round_up(max(len(own), 1)), most)
    # Within another bar, that of a training, it goes when it is done.
    with tqdm.tqdm(total=len(own), desc="evaluating", unit="image", leave=None) as bar:
        for batch, valid in eval_batches(own, batch_size):
            examples = {key: values[:valid] for key, values in batch.items()}
            for name, row_scores in scores.items():
                pictures = evaluation.rows[name](batch)[:valid]
                for row_score in row_scores:
                    row_score.update(pictures, examples)
            bar.update(valid)
    return len(source)


def results(scores: Iterable[Score]) -> Result:
    """The numbers of all scores of a row."""
    return {name: number for score in scores for name, number in score.result().items()}
