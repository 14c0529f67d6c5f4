"""Batches of images and label maps, taken out of a dataset's clips."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sflow_jax.data.example import Schema
from sflow_jax.data.pipeline import Source, train_iterator

LabeledImages = tuple[np.ndarray, np.ndarray]
"""Uint8 images [B, H, W, 3] and label maps [B, H, W]."""


def labeled_images(batch: dict[str, Any]) -> LabeledImages:
    """Takes the frames [B, T, H, W, C] out of clips: images and label maps of B T frames."""
    images, label_maps = batch["image"], batch["label"]
    height, width = images.shape[2:4]
    return images.reshape(-1, height, width, 3), label_maps.reshape(-1, height, width)


def batch_size_of(schema: Schema, num_pixels: int) -> int:
    """Examples in a batch of about `num_pixels` pixels, at least one."""
    return max(1, num_pixels // (schema.frames * schema.height * schema.width))


def training_batches(
    source: Source, schema: Schema, num_pixels: int, seed: int, first_batch: int = 0
) -> Iterator[LabeledImages]:
    """Endless batches of about `num_pixels` pixels.

    Args:
        source: the examples, with `image` and `label`.
        schema: their sizes.
        num_pixels: of the images of a batch.
        seed: of the order.
        first_batch: where to go on after an interruption.
    """
    batch_size = batch_size_of(schema, num_pixels)
    iterator = train_iterator(source, batch_size=batch_size, seed=seed, first_batch=first_batch)
    return map(labeled_images, iterator)
