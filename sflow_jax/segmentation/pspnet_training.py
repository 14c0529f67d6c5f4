"""Trains PSPNet as its authors' program hszhao/semseg does, but from random weights.

SGD with momentum 0.9 and weight decay 1e-4, a learning rate of 0.01 (1 - step / steps)^0.9 that is
ten times higher in the heads, the auxiliary loss weighted by 0.4 (tool/train.py there). Images are
rescaled, turned and cropped as there for Cityscapes; colors and sharpness vary as the small
network's do.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sflow_jax.data.labels import VOID, ClassTable
from sflow_jax.ops import bilinear
from sflow_jax.segmentation.batches import LabeledImages
from sflow_jax.segmentation.fitting import Recipe, cross_entropy, fit
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.pspnet import STRIDE, PSPNet, normalize

_LEARNING_RATE, _POWER = 0.01, 0.9
_HEADS, _HEADS_FACTOR = ("ppm", "cls", "aux"), 10
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4
_AUXILIARY_WEIGHT = 0.4
_SCALES = 0.5, 2.0
_MAX_ANGLE, _TURNED_SHARE = 10, 0.5  # degrees, share of images that are turned


def crop_side(*sides: int) -> int:
    """The largest 8 k + 1 that no side is smaller than."""
    return (min(sides) - 1) // STRIDE * STRIDE + 1


def train_pspnet(
    iterators: Sequence[Iterator[LabeledImages]],
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
        num_steps: optimization steps.
        seed: of the initial weights, of crops, variations and dropout.
        progress: where the training continues and is saved.

    Returns:
        The variables of `network`, and of its auxiliary head.
    """
    recipe = Recipe(
        network.clone(training=True),
        jnp.zeros((2, STRIDE + 1, STRIDE + 1, 3)),
        make_pspnet_optimizer(num_steps),
        pspnet_loss,
        functools.partial(_random_views, side=crop),
    )
    return fit(recipe, iterators, table, num_steps=num_steps, seed=seed, progress=progress)


def pspnet_loss(logits: tuple[jax.Array, jax.Array], targets: jax.Array) -> jax.Array:
    """The cross-entropy of both heads, see the module.

    Args:
        logits: of the main and of the auxiliary head, float32 [B, H, W, C].
        targets: eval_ids [B, H, W], 255 where void.
    """
    main, auxiliary = (cross_entropy(x, targets, jnp.ones(x.shape[-1])) for x in logits)
    return main + _AUXILIARY_WEIGHT * auxiliary


def _random_views(
    key: jax.Array, images: jax.Array, targets: jax.Array, side: int
) -> tuple[jax.Array, jax.Array]:
    """Another square of every image in [-1, 1], normalized, and of its label map."""
    keys = jax.random.split(key, images.shape[0])
    look = functools.partial(_random_view, side=side)
    return jax.vmap(look)(keys, normalize(images), targets)


def _random_view(
    key: jax.Array, image: jax.Array, target: jax.Array, side: int
) -> tuple[jax.Array, jax.Array]:
    """The same square of an image [H, W, 3] and its label map [H, W], rescaled and turned.

    Beyond the border the image is 0, the mean of all images, and the label map void.
    """
    scale_key, angle_key, turned_key, place_key = jax.random.split(key, 4)
    scale = jax.random.uniform(scale_key, minval=_SCALES[0], maxval=_SCALES[1])
    angle = jax.random.uniform(angle_key, minval=-1) * math.radians(_MAX_ANGLE)
    angle = jnp.where(jax.random.bernoulli(turned_key, _TURNED_SHARE), angle, 0)
    sides = jnp.array(target.shape)
    room = jnp.maximum(sides - side / scale, 0)
    top, left = (sides - 1 + jax.random.uniform(place_key, (2,), minval=-1) * room) / 2
    # Of the view's pixels, from its center, in pixels of the image.
    offset = (jnp.arange(side) - (side - 1) / 2) / scale
    down, right = offset[:, None], offset
    y = top + jnp.cos(angle) * down + jnp.sin(angle) * right
    x = left - jnp.sin(angle) * down + jnp.cos(angle) * right
    return _read(image, target, x, y)


def _read(
    image: jax.Array, target: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Reads an image bilinearly and its label map at the nearest pixel."""
    height, width = target.shape
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    colors = bilinear.read(image[None], x[None], y[None])[0]
    labels = target[jnp.round(y).astype(int), jnp.round(x).astype(int)]
    return jnp.where(inside[..., None], colors, 0), jnp.where(inside, labels, VOID)


def make_pspnet_optimizer(num_steps: int) -> optax.GradientTransformation:
    """semseg's: see the module."""
    schedule = optax.polynomial_schedule(_LEARNING_RATE, 0, _POWER, num_steps)
    return optax.chain(
        optax.add_decayed_weights(_WEIGHT_DECAY),
        optax.sgd(schedule, momentum=_MOMENTUM),
        optax.masked(optax.scale(_HEADS_FACTOR), _are_heads),
    )


def _are_heads(params: dict[str, Any]) -> dict[str, bool]:
    return {name: name.startswith(_HEADS) for name in params}
