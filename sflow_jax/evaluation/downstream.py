"""What generated frames are for: a segmenter trained on them has to work on real frames.

The same network is trained with the same label maps, steps and seeds on real frames, on the
simulator's CG frames, on the generator's translations of them and on those together with the real
ones, and each is scored on real frames of a split that no training has seen. Labels and real frames
of the training split are those that the generator learned from, as in the paper.
"""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain.python as grain
import numpy as np
import tqdm

from sflow_jax.data.pipeline import Source, eval_batches
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import Evaluation
from sflow_jax.evaluation.report import without_nan
from sflow_jax.files import read_json, write_json, write_whole
from sflow_jax.inference import batch_size_for
from sflow_jax.metrics.picture_scores import Result, Segmentation
from sflow_jax.segmentation.batches import LabeledImages, training_batches
from sflow_jax.segmentation.labeling import predict_with_unet
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.unet import UNet
from sflow_jax.segmentation.unet_training import class_weights, train_unet

REAL, CG, GENERATED = "real frames", "CG frames", "generated frames"
MIXED = "generated and real frames"
_TRAIN = "train"
_PIXELS_PER_BATCH = 2**16

RESULTS_FILE, TABLE_FILE = "downstream.json", "downstream.txt"
_FOLDER = "downstream"  # what an interrupted command continues from


@dataclasses.dataclass(frozen=True)
class Downstream:
    """The trainings of one command.

    Attributes:
        evaluation: the run whose generator is judged, its dataset and the split that scores.
        output: the folder of the results.
        num_steps: of each training.
        num_seeds: trainings on each set of frames.
    """

    evaluation: Evaluation
    output: pathlib.Path
    num_steps: int
    num_seeds: int

    def check(self) -> None:
        """Finds what makes the comparison impossible.

        Raises:
            InputError: a split is absent or the scoring split is the one of training.
        """
        dataset, split = self.evaluation.dataset, self.evaluation.split
        if split == _TRAIN:
            raise InputError("--downstream: found --split train, expected frames no training sees")
        for name in (_TRAIN, split):
            dataset.require_examples(name)

    @property
    def sets(self) -> list[str]:
        """The sets of frames that can be trained on."""
        has_cg = self.evaluation.dataset.schema.cg
        return [REAL, *([CG] if has_cg else []), GENERATED, MIXED]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the scores, other than the set of frames and the seed."""
        dataset, model = self.evaluation.dataset, self.evaluation.model
        return {
            "dataset": str(dataset.directory.absolute()),
            "split": self.evaluation.split,
            "checkpoint_step": model.step,
            "config": model.config.to_dict(),
            "num_steps": self.num_steps,
        }


def train_and_score(downstream: Downstream) -> dict[str, Any]:
    """Trains and scores all segmenters; an interrupted call is continued by the next one.

    Returns:
        `settings`, `num_examples` of both splits and, by set of frames, the scores of every seed.

    Raises:
        InputError: the data cannot be used, or the folder holds another comparison.
    """
    downstream.check()
    folder = downstream.output / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    scores = {
        name: [_score_once(downstream, folder, name, seed) for seed in range(downstream.num_seeds)]
        for name in downstream.sets
    }
    num_examples = downstream.evaluation.dataset.num_examples
    splits = (_TRAIN, downstream.evaluation.split)
    return {
        "settings": downstream.settings,
        "num_examples": {split: num_examples[split] for split in splits},
        "scores": scores,
    }


def _score_once(downstream: Downstream, folder: pathlib.Path, name: str, seed: int) -> Result:
    """One training and its scores, or the scores that an earlier call has left."""
    path = folder / f"{name.replace(' ', '_')}_{seed}.json"
    settings = downstream.settings | {"frames": name, "seed": seed}
    if path.exists():
        record = read_json(path, "an evaluation")
        if record["settings"] != json.loads(json.dumps(settings)):
            raise InputError(
                f"{path}: found the scores of another comparison, expected an output folder "
                "without; remove it or name another --output"
            )
        return record["scores"]
    print(f"\ntraining on {name}, seed {seed}")
    dataset = downstream.evaluation.dataset
    with Progress(path.with_suffix(".state"), settings) as progress:
        trained = train_unet(
            [_batches(downstream, folder, name, seed, progress.step)],
            dataset.class_table,
            class_weights(dataset),
            num_steps=downstream.num_steps,
            seed=seed,
            progress=progress,
        )
        scores = without_nan(_score(downstream.evaluation, trained))
        write_json(path, {"settings": settings, "scores": scores})
        progress.remove()
    return scores


def _batches(
    downstream: Downstream, folder: pathlib.Path, name: str, seed: int, first_batch: int
) -> Iterator[LabeledImages]:
    """Endless batches of a set of frames."""
    dataset = downstream.evaluation.dataset
    schema, examples = dataset.schema, dataset.source(_TRAIN)
    real = _Frames(examples, lambda index, example: example["image"])
    if name == REAL:
        source = real
    elif name == CG:
        source = _Frames(examples, lambda index, example: example["cg"])
    else:
        pictures = _translations(downstream.evaluation, folder)
        source = _Frames(examples, lambda index, example: pictures[index])
        if name == MIXED:
            both = [grain.MapDataset.source(frames) for frames in (source, real)]
            source = grain.MapDataset.concatenate(both)
    return training_batches(source, schema, _PIXELS_PER_BATCH, seed, first_batch)


@dataclasses.dataclass(frozen=True)
class _Frames:
    """A dataset's label maps with the frames that a function of index and example names."""

    examples: Source
    frames_of: Callable[[int, dict], np.ndarray]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict:
        example = self.examples[index]
        return {
            "image": self.frames_of(index, example),
            "label": example["label"],
            "name": example["name"],
        }


def _translations(evaluation: Evaluation, folder: pathlib.Path) -> np.ndarray:
    """The training split as the generator sees it, uint8 [N, T, H, W, 3], made once, on disk."""
    path = folder / f"translations_{evaluation.model.step}.npy"
    if path.exists():
        return np.load(path, mmap_mode="r")
    schema, source = evaluation.dataset.schema, evaluation.dataset.source(_TRAIN)
    unfinished = path.with_suffix(".part")
    shape = (len(source), schema.frames, schema.height, schema.width, 3)
    pictures = np.lib.format.open_memmap(unfinished, "w+", np.uint8, shape)
    batch_size = min(len(source), batch_size_for(schema.height, schema.width))
    draw = evaluation.rows[evaluation.model_row]
    start = 0
    with tqdm.tqdm(total=len(source), desc="translating", unit="example") as bar:
        for batch, valid in eval_batches(source, batch_size):
            pictures[start : start + valid] = draw(batch)[:valid]
            start += valid
            bar.update(valid)
    pictures.flush()
    unfinished.rename(path)
    return pictures


def _score(evaluation: Evaluation, variables: dict[str, Any]) -> Result:
    """The scores of a trained segmenter on the real frames of the scoring split."""
    table, schema = evaluation.model.class_table, evaluation.dataset.schema
    scored = Segmentation(predict_with_unet(UNet(table.num_eval_classes), variables), table)
    source = evaluation.dataset.source(evaluation.split)
    batch_size = min(len(source), batch_size_for(schema.height, schema.width))
    for batch, valid in eval_batches(source, batch_size):
        examples = {key: values[:valid] for key, values in batch.items()}
        scored.update(examples["image"], examples)
    return scored.result()


def format_downstream(record: dict[str, Any]) -> str:
    """A line for every set of frames: mean and range over the seeds, in percent."""
    columns = {
        "mean_iou": "mIoU %",
        "pixel_accuracy": "accuracy % (void ignored)",
        "pixel_accuracy_with_void": "accuracy % (void counted)",
    }
    lines = [["trained on", *columns.values()]]
    for name, scores in record["scores"].items():
        lines.append([name, *(_spread([score[key] for score in scores]) for key in columns)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _spread(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f}-{100 * max(values):.1f})"


def write_results(downstream: Downstream, record: dict[str, Any]) -> str:
    """Writes downstream.json and downstream.txt; returns the text.

    What an interruption would have needed is deleted.
    """
    settings, counts = record["settings"], record["num_examples"]
    without = "" if CG in record["scores"] else "\nThis dataset has no CG frames.\n"
    text = (
        f"Segmenters of {settings['num_steps']} steps, trained on {counts[_TRAIN]} examples and "
        f"scored on {counts[settings['split']]} of {settings['split']!r}, all real; "
        f"{downstream.num_seeds} seeds: mean (range)\n{without}\n{format_downstream(record)}\n"
    )
    write_json(downstream.output / RESULTS_FILE, record)
    write_whole(downstream.output / TABLE_FILE, text)
    for path in (downstream.output / _FOLDER).glob("translations_*.npy"):
        path.unlink()
    return text
