"""What generated frames are for: a segmenter trained on them has to work on real frames.

The same networks are trained with the same steps and seeds on the simulator's own frames, on the
generator's translations of them, on those together with the simulator's or with real frames, and on
real frames; each is scored on real frames of a split that no training has seen. The last state of
each training is scored, not the best.

The scenes are those that the generator learned from, as in the paper, or those of another dataset:
a simulator whose streets no camera has ever seen. Their classes are then translated by a table.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import grain.python as grain
import numpy as np

from sflow_jax.data.pipeline import Source, eval_batches
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import Evaluation
from sflow_jax.evaluation.report import without_nan
from sflow_jax.evaluation.rows import ORACLE as REAL_ROW
from sflow_jax.evaluation.rows import make_rows
from sflow_jax.evaluation.scenes import Frames, Scenes, find_disagreement, translate_scenes
from sflow_jax.files import read_json, write_json
from sflow_jax.inference import batch_size_for
from sflow_jax.metrics.picture_scores import Result, Segmentation, number
from sflow_jax.segmentation.batches import LabeledImages, training_batches
from sflow_jax.segmentation.experiment import fit_network, pspnet_settings
from sflow_jax.segmentation.labeling import Predict
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.unet_training import class_weights

SOURCE, TRANSLATED, ORACLE = "source-only", "translated", "oracle (real frames)"
FILTERED = "translated, filtered"
WITH_SOURCE, WITH_REAL = "translated + source", "translated + real"
NETWORKS = {"unet": "the small network", "pspnet": "a narrow PSPNet-50"}
TRAIN = "train"
_PIXELS_PER_BATCH = 2**16
_PSPNET_LAYERS, _PSPNET_WIDTH = 50, 16

_FOLDER = "downstream"  # what an interrupted command continues from


@dataclasses.dataclass(frozen=True)
class Downstream:
    """The trainings of one command.

    Attributes:
        evaluation: the run whose generator is judged, its dataset of real frames and the split that
            scores.
        scenes: what the generator translates.
        output: the folder of the results.
        num_steps: of each training.
        num_seeds: trainings of each network on each set of frames.
        networks: keys of `NETWORKS`.
    """

    evaluation: Evaluation
    scenes: Scenes
    output: pathlib.Path
    num_steps: int
    num_seeds: int
    networks: Sequence[str] = ("unet",)

    def check(self) -> None:
        """Finds what makes the comparison impossible.

        Raises:
            InputError: a split is absent, the scoring split is the one of training, or images are
                too small for a network.
        """
        dataset, split = self.evaluation.dataset, self.evaluation.split
        if split == TRAIN:
            raise InputError("--downstream: found --split train, expected frames no training sees")
        for name in (TRAIN, split):
            dataset.require_examples(name)
        for network in self.networks:
            if network not in NETWORKS:
                raise InputError(
                    f"--networks: found {network!r}, expected names among {', '.join(NETWORKS)}"
                )
            self.network_settings(network)

    @property
    def sets(self) -> list[str]:
        """The sets of frames that can be trained on, in the order of the table."""
        has_cg = self.scenes.dataset.schema.cg
        names = [SOURCE, TRANSLATED, FILTERED, WITH_SOURCE, WITH_REAL, ORACLE]
        return [name for name in names if has_cg or name not in (SOURCE, WITH_SOURCE)]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the scores, other than network, set of frames and seed."""
        dataset, model = self.evaluation.dataset, self.evaluation.model
        return {
            "dataset": str(dataset.directory.absolute()),
            "scenes": str(self.scenes.dataset.directory.absolute()),
            "classes": self.scenes.class_names,
            "split": self.evaluation.split,
            "checkpoint_step": model.step,
            "config": model.config.to_dict(),
            "num_steps": self.num_steps,
        }

    def network_settings(self, network: str) -> dict[str, Any]:
        """What `fit_network` and a record need to know of a network."""
        if network != "pspnet":
            return {}
        dataset = self.evaluation.dataset
        size = {f"{dataset.schema.width}x{dataset.schema.height}": dataset}
        return pspnet_settings(size, self.batch_pixels, _PSPNET_LAYERS, _PSPNET_WIDTH)

    @property
    def batch_pixels(self) -> int:
        """Pixels in a batch of all networks: two images at least, for PSPNet's batch norms."""
        schema = self.evaluation.dataset.schema
        return max(_PIXELS_PER_BATCH, 2 * schema.height * schema.width)

    @property
    def folder(self) -> pathlib.Path:
        """Where an interrupted command leaves what it has."""
        return self.output / _FOLDER

    @functools.cached_property
    def translated(self) -> Frames:
        """The scenes as the generator draws them."""
        model = self.evaluation.model
        rows = make_rows(model, has_cg=self.scenes.dataset.schema.cg)
        draw = next(draw for name, draw in rows.items() if name != REAL_ROW)
        path = self.folder / f"translations_{model.step}.npy"
        pictures = translate_scenes(self.scenes, draw, path)
        return Frames(self.scenes.source, lambda index, example: pictures[index])

    def disagreement(self, network: str, predict: Predict | None) -> np.ndarray:
        """Where the translations do not look like their labels to a segmenter of real frames."""
        path = self.folder / f"disagreement_{network}_{self.evaluation.model.step}.npy"
        if predict is None:
            return np.load(path, mmap_mode="r")
        table = self.evaluation.model.class_table
        return find_disagreement(self.translated, table, predict, path)


def train_and_score(downstream: Downstream) -> dict[str, Any]:
    """Trains and scores all segmenters; an interrupted call is continued by the next one.

    Returns:
        `settings`, `num_examples` of both splits and of the scenes, `scores` of every seed by
        network and set of frames, and `gap_closed` of every seed by network.

    Raises:
        InputError: the data cannot be used, or the folder holds another comparison.
    """
    downstream.check()
    downstream.folder.mkdir(parents=True, exist_ok=True)
    scores = {network: _score_network(downstream, network) for network in downstream.networks}
    num_examples = downstream.evaluation.dataset.num_examples
    splits = (TRAIN, downstream.evaluation.split)
    return {
        "settings": downstream.settings,
        "num_examples": {split: num_examples[split] for split in splits},
        "num_scenes": len(downstream.scenes.source),
        "scores": scores,
        "gap_closed": {network: gap_closed(results) for network, results in scores.items()},
    }


def _score_network(downstream: Downstream, network: str) -> dict[str, list[Result]]:
    # Real frames first: the segmenter of the first seed is what filters translations.
    names = sorted(downstream.sets, key=lambda name: name != ORACLE)
    seeds = range(downstream.num_seeds)
    scores = {
        name: [_score_once(downstream, network, name, seed) for seed in seeds] for name in names
    }
    return {name: scores[name] for name in downstream.sets}


def _score_once(downstream: Downstream, network: str, name: str, seed: int) -> Result:
    """One training and its scores, or the scores that an earlier call has left."""
    file_name = "".join(c if c.isalnum() else "_" for c in f"{network} {name} {seed}")
    path = downstream.folder / f"{file_name}.json"
    settings = downstream.settings | downstream.network_settings(network)
    settings |= {"frames": name, "seed": seed}
    if path.exists():
        record = read_json(path, "an evaluation")
        if not (isinstance(record, dict) and {"settings", "scores"} <= record.keys()):
            raise InputError(
                f"{path}: found no scores, expected those of a comparison, or another --output"
            )
        if record["settings"] != json.loads(json.dumps(settings)):
            raise InputError(
                f"{path}: found the scores of another comparison, expected an output folder "
                "without; remove it or name another --output"
            )
        return record["scores"]
    print(f"\ntraining {NETWORKS[network]} on {name}, seed {seed}")
    table = downstream.evaluation.model.class_table
    frames = _frames(downstream, network, name)
    with Progress(path.with_suffix(".state"), settings) as progress:
        trained, make_predict = fit_network(
            [_batches(downstream, frames, seed, progress.step)],
            table,
            class_weights(table, frames),
            settings,
            progress,
        )
        predict = make_predict(trained)
        if name == ORACLE and seed == 0:
            downstream.disagreement(network, predict)
        scores = without_nan(_score(downstream.evaluation, predict))
        write_json(path, {"settings": settings, "scores": scores})
        progress.remove()
    return scores


def _frames(downstream: Downstream, network: str, name: str) -> Source:
    """The labeled frames of a set."""
    real = downstream.evaluation.dataset.source(TRAIN)
    real_frames = Frames(real, lambda index, example: example["image"])
    if name == ORACLE:
        return real_frames
    source = Frames(downstream.scenes.source, lambda index, example: example["cg"])
    if name == SOURCE:
        return source
    translated = downstream.translated
    if name == FILTERED:
        ignored = downstream.disagreement(network, None)
        return dataclasses.replace(translated, is_ignored=ignored)
    if name == TRANSLATED:
        return translated
    others = {WITH_SOURCE: source, WITH_REAL: real_frames}
    both = [grain.MapDataset.source(frames) for frames in (translated, others[name])]
    return grain.MapDataset.concatenate(both)


def _batches(
    downstream: Downstream, frames: Source, seed: int, first_batch: int
) -> Iterator[LabeledImages]:
    """Endless batches of a set of frames."""
    schema = downstream.evaluation.dataset.schema
    return training_batches(frames, schema, downstream.batch_pixels, seed, first_batch)


def _score(evaluation: Evaluation, predict: Predict) -> Result:
    """The scores of a trained segmenter on the real frames of the scoring split."""
    schema = evaluation.dataset.schema
    scored = Segmentation(predict, evaluation.model.class_table)
    source = evaluation.dataset.source(evaluation.split)
    batch_size = min(len(source), batch_size_for(schema.height, schema.width))
    for batch, valid in eval_batches(source, batch_size):
        examples = {key: values[:valid] for key, values in batch.items()}
        scored.update(examples["image"], examples)
    return scored.result()


def gap_closed(scores: dict[str, list[Result]], name: str = TRANSLATED) -> list[float]:
    """(translated - source-only) / (oracle - source-only) of the mean IoU, for every seed.

    It is empty where one of the sets is absent, or where an oracle is no better than source-only.

    Args:
        scores: of every seed, by set of frames.
        name: the set in the place of 'translated'.
    """
    names = (SOURCE, name, ORACLE)
    if any(name not in scores for name in names):
        return []
    rows = [[number(result, "mean_iou") for result in scores[name]] for name in names]
    return [(t - s) / (o - s) for s, t, o in zip(*rows, strict=True) if o > s]
