"""One training on the images of a dataset: what is trained, with which settings, how it scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sflow_jax.data.labels import ClassTable
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError
from sflow_jax.segmentation.batches import (
    LabeledImages,
    batch_size_of,
    labeled_images,
    training_batches,
)
from sflow_jax.segmentation.labeling import Predict, predict_with_pspnet, predict_with_unet
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.pspnet_training import crop_side, train_pspnet
from sflow_jax.segmentation.scores import SegmentationScores, confusion_matrix, score_matrix
from sflow_jax.segmentation.sliding_window import SlidingWindow
from sflow_jax.segmentation.unet import UNet
from sflow_jax.segmentation.unet_training import class_weights, train_unet

_SCORED_EXAMPLES = 8  # at a time

Sizes = Mapping[str, PreparedDataset]
"""A dataset at one or several sizes, by 'WIDTHxHEIGHT'."""


def check_trainable(prepared: PreparedDataset) -> None:
    """Checks that a dataset can be learned and scored.

    Raises:
        InputError: a split is empty or no class is scored.
    """
    for split in ("train", "test"):
        prepared.require_examples(split)
    if not prepared.class_table.num_eval_classes:
        raise InputError(f"{prepared.directory}: no class has an eval_id, expected at least one")


def training_settings(sizes: Sizes, batch_pixels: int, num_steps: int, seed: int) -> dict[str, Any]:
    """What decides about the weights of any network; JSON can hold it."""
    first = next(iter(sizes.values()))
    return {
        "dataset": first.class_table.name,
        "examples": {split: first.num_examples[split] for split in ("train", "test")},
        "sizes": list(sizes),
        "batch_pixels": batch_pixels,
        "num_steps": num_steps,
        "seed": seed,
    }


def pspnet_settings(sizes: Sizes, batch_pixels: int, layers: int, width: int) -> dict[str, Any]:
    """What rebuilds a PSPNet and its sliding window; the small network needs nothing.

    Raises:
        InputError: batches are too small for PSPNet's batch norms.
    """
    for size, dataset in sizes.items():
        if batch_size_of(dataset.schema, batch_pixels) * dataset.schema.frames < 2:
            raise InputError(
                f"--batch_pixels: found {batch_pixels}, one image of {size}; expected two"
            )
    sides = [x for d in sizes.values() for x in (d.schema.height, d.schema.width)]
    return {
        "network": "pspnet",
        "num_classes": next(iter(sizes.values())).class_table.num_eval_classes,
        "layers": layers,
        "width": width,
        "crop": crop_side(*sides),
    }


def train_network(
    sizes: Sizes, settings: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Predict]]:
    """Trains the network that the settings name, on all sizes in turn.

    Returns:
        Its variables, and what makes of them a function that labels pictures.
    """
    iterators = [
        training_batches(
            dataset.source("train"),
            dataset.schema,
            settings["batch_pixels"],
            settings["seed"],
            len(range(index, progress.step, len(sizes))),
        )
        for index, dataset in enumerate(sizes.values())
    ]
    first = next(iter(sizes.values()))
    weights = class_weights(first.class_table, first.source("train"))
    return fit_network(iterators, first.class_table, weights, settings, progress)


def fit_network(
    iterators: Sequence[Iterator[LabeledImages]],
    table: ClassTable,
    weights: np.ndarray,
    settings: dict[str, Any],
    progress: Progress,
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Predict]]:
    """Trains the network that the settings name on any batches.

    Args:
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        weights: of the classes in the loss of the small network, [C].
        settings: `num_steps`, `seed` and what `pspnet_settings` adds.
        progress: where the training continues and is saved.

    Returns:
        Its variables, and what makes of them a function that labels pictures.
    """
    common = {"num_steps": settings["num_steps"], "seed": settings["seed"], "progress": progress}
    if "network" not in settings:
        unet = UNet(table.num_eval_classes)
        trained = train_unet(iterators, table, weights, **common)
        return trained, lambda variables: predict_with_unet(unet, variables)
    pspnet = PSPNet(settings["num_classes"], BLOCKS[settings["layers"]], settings["width"])
    window = SlidingWindow(crop=settings["crop"])
    trained = train_pspnet(iterators, table, pspnet, window.crop, **common)
    return trained, lambda variables: predict_with_pspnet(pspnet, variables, window, True)


def score_on_test_split(predict: Predict, prepared: PreparedDataset) -> SegmentationScores:
    """Scores a segmenter on the test split's real images."""
    table = prepared.class_table
    matrix = np.zeros((table.num_eval_classes + 1, table.num_eval_classes), np.int64)
    for batch, valid_count in eval_batches(prepared.source("test"), _SCORED_EXAMPLES):
        images, label_maps = labeled_images(batch)
        num_valid = valid_count * prepared.schema.frames
        predicted = predict(images)[:num_valid]
        true_labels = table.eval_lookup[label_maps[:num_valid]]
        matrix += confusion_matrix(true_labels, predicted, table.num_eval_classes)
    return score_matrix(matrix)
