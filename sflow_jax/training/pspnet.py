"""Trains PSPNet as its authors' program hszhao/semseg does, but from random weights.

SGD with momentum 0.9 and weight decay 1e-4, a learning rate of 0.01 (1 - step / steps)^0.9 that is
ten times higher in the heads, the auxiliary loss weighted by 0.4 (tool/train.py there). Images vary
as the small segmenter's do; they are cropped, but neither rescaled nor rotated.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sflow_jax.data.labels import ClassTable
from sflow_jax.models.pspnet import STRIDE, PSPNet, normalize
from sflow_jax.training import segmenter
from sflow_jax.training.progress import Progress

_LEARNING_RATE, _POWER = 0.01, 0.9
_HEADS, _HEADS_FACTOR = ("ppm", "cls", "aux"), 10
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4
_AUXILIARY_WEIGHT = 0.4


def crop_side(*sides: int) -> int:
    """The largest 8 k + 1 that no side is smaller than."""
    return (min(sides) - 1) // STRIDE * STRIDE + 1


def train(
    iterators: Sequence[Iterator[tuple[np.ndarray, np.ndarray]]],
    table: ClassTable,
    network: PSPNet,
    crop: int,
    *,
    num_steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Trains a PSPNet, with a progress bar.

    Args:
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        network: as it is used afterwards.
        crop: side of the square that is cut out of every image, 8 k + 1.
        num_steps: optimisation steps.
        seed: of the initial weights, of crops, variations and dropout.
        progress: where the training continues and is saved.

    Returns:
        The variables of `network`, and of its auxiliary head.
    """
    weights = jnp.ones(network.num_classes)

    def loss_of(logits: tuple[jax.Array, jax.Array], targets: jax.Array) -> jax.Array:
        main, auxiliary = (segmenter.cross_entropy(x, targets, weights) for x in logits)
        return main + _AUXILIARY_WEIGHT * auxiliary

    def crop_and_normalize(key: jax.Array, images: jax.Array, targets: jax.Array):
        keys = jax.random.split(key, images.shape[0])
        images, targets = jax.vmap(lambda *pair: _random_crop(*pair, crop))(keys, images, targets)
        return normalize(images), targets

    return segmenter.fit(
        network.clone(training=True),
        jnp.zeros((2, STRIDE + 1, STRIDE + 1, 3)),
        make_optimizer(num_steps),
        loss_of,
        iterators,
        table,
        present=crop_and_normalize,
        num_steps=num_steps,
        seed=seed,
        progress=progress,
    )


def _random_crop(
    key: jax.Array, image: jax.Array, target: jax.Array, side: int
) -> tuple[jax.Array, jax.Array]:
    """The same square of an image [H, W, 3] and its label map [H, W]."""
    room = jnp.array(target.shape) - side + 1
    top, left = jax.random.randint(key, (2,), 0, room)
    crop = jax.lax.dynamic_slice(image, (top, left, 0), (side, side, image.shape[-1]))
    return crop, jax.lax.dynamic_slice(target, (top, left), (side, side))


def make_optimizer(num_steps: int) -> optax.GradientTransformation:
    """semseg's: see the module."""
    schedule = optax.polynomial_schedule(_LEARNING_RATE, 0, _POWER, num_steps)
    return optax.chain(
        optax.add_decayed_weights(_WEIGHT_DECAY),
        optax.sgd(schedule, momentum=_MOMENTUM),
        optax.stateless(_accelerate_heads),
    )


def _accelerate_heads(updates: Any, _: Any) -> Any:
    return {
        name: jax.tree.map(lambda x: x * _HEADS_FACTOR, part) if name.startswith(_HEADS) else part
        for name, part in updates.items()
    }
