"""Trains any segmentation network on real images and their label maps."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from sflow_jax.data.labels import VOID, ClassTable
from sflow_jax.errors import TrainingError
from sflow_jax.ops import augment
from sflow_jax.ops.pixels import to_float
from sflow_jax.segmentation.batches import LabeledImages
from sflow_jax.segmentation.progress import Progress

Present = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_STEPS_PER_CHECK = 20  # of the loss

# The scores must not hang on the camera's exposure or noise, nor on detail that fakes may lack.
_MAX_EXPOSURE = 0.3  # log2 of the factor on all channels
_MAX_TINT = 0.1  # log2 of the factor on each channel
_MAX_NOISE = 0.03  # standard deviation, the image's range being 2
_MAX_BLUR = 0.5  # share of a 3x3 binomial blur


def _as_they_are(
    key: jax.Array, images: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return images, targets


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        network: with parameters and `batch_stats`.
        example: images on which it is initialized.
        optimizer: of its parameters.
        loss: what the network returns and the true eval_ids [B, H, W] to a scalar.
        present: a random key, images in [-1, 1] and eval_ids to those that the network sees.
    """

    network: nn.Module
    example: jax.Array
    optimizer: optax.GradientTransformation
    loss: Callable[[Any, jax.Array], jax.Array]
    present: Present = _as_they_are


def fit(
    recipe: Recipe,
    iterators: Sequence[Iterator[LabeledImages]],
    table: ClassTable,
    *,
    num_steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Trains a network on mirrored and varied images, with a progress bar.

    Args:
        recipe: the network and how it is trained.
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        num_steps: optimization steps.
        seed: of the initial weights and all random changes.
        progress: where the training continues and is saved.

    Returns:
        The network's variables.

    Raises:
        TrainingError: the loss is not finite.
    """
    init_key, key = jax.random.split(jax.random.key(seed))
    init_keys = {"params": init_key, "dropout": init_key}
    network_variables = jax.jit(recipe.network.init)(init_keys, recipe.example)
    update = _make_update(recipe, key, jnp.asarray(table.eval_lookup))
    state = network_variables, recipe.optimizer.init(network_variables["params"])
    state = progress.restore(state)
    bar = tqdm.tqdm(
        range(progress.step, num_steps),
        desc="segmenter",
        unit="step",
        initial=progress.step,
        total=num_steps,
    )
    for step in bar:
        state, loss = update(state, step, *next(iterators[step % len(iterators)]))
        if step % _STEPS_PER_CHECK == 0:
            if not jnp.isfinite(loss):
                raise TrainingError(f"step {step}: the loss is {loss}")
            bar.set_postfix(loss=f"{loss:.3f}")
        progress.save(step + 1, state)
    return state[0]


def _make_update(recipe: Recipe, key: jax.Array, eval_lookup: jax.Array) -> Callable:
    """The compiled step: state, step, uint8 images and label maps to the next state and the loss.

    The state is the network's variables and the optimizer's state.
    """

    @jax.jit
    def update(
        state: tuple[dict[str, Any], optax.OptState],
        step: jax.Array,
        images: jax.Array,
        label_maps: jax.Array,
    ) -> tuple[tuple[dict[str, Any], optax.OptState], jax.Array]:
        network_variables, optimizer_state = state
        flip_key, vary_key = jax.random.split(jax.random.fold_in(key, step))
        present_key, dropout_key = jax.random.split(jax.random.fold_in(vary_key, 0))
        flips = augment.random_flips(jax.random.split(flip_key, images.shape[0]))
        inputs = augment.flip_horizontally(vary_images(vary_key, to_float(images)), flips)
        targets = augment.flip_horizontally(eval_lookup[label_maps][..., None], flips)[..., 0]
        inputs, targets = recipe.present(present_key, inputs, targets)

        def loss_and_statistics(params: Any) -> tuple[jax.Array, Any]:
            outputs, changed = recipe.network.apply(
                {**network_variables, "params": params},
                inputs,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            return recipe.loss(outputs, targets), changed

        params = network_variables["params"]
        compute = jax.value_and_grad(loss_and_statistics, has_aux=True)
        (loss, changed), gradients = compute(params)
        updates, optimizer_state = recipe.optimizer.update(gradients, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        return ({"params": params, **changed}, optimizer_state), loss

    return update


def vary_images(key: jax.Array, images: jax.Array) -> jax.Array:
    """Varies exposure, tint, noise and sharpness of images [B, H, W, 3] in [-1, 1]."""
    exposure_key, tint_key, noise_key, level_key, blur_key = jax.random.split(key, 5)
    batch_size = images.shape[0]
    blur_keys = jax.random.split(blur_key, batch_size)
    images = augment.blur_edges(blur_keys, images, _MAX_BLUR)
    shape = (batch_size, 1, 1, 1)
    exposure = jax.random.uniform(exposure_key, shape, minval=-1) * _MAX_EXPOSURE
    tint = jax.random.uniform(tint_key, (batch_size, 1, 1, 3), minval=-1) * _MAX_TINT
    images = (images + 1) * jnp.exp2(exposure + tint) - 1
    noise = jax.random.uniform(level_key, shape) * _MAX_NOISE
    return images + noise * jax.random.normal(noise_key, images.shape)


def cross_entropy(
    logits: jax.Array, eval_ids: jax.Array, weights: jax.Array | np.ndarray
) -> jax.Array:
    """Mean cross-entropy over the pixels that are not void, weighted by class.

    Args:
        logits: float32 [B, H, W, C].
        eval_ids: [B, H, W], 0 .. C - 1 or 255 for void.
        weights: [C].

    Returns:
        A scalar.
    """
    is_scored = eval_ids != VOID
    targets = jnp.where(is_scored, eval_ids, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    pixel_weights = jnp.where(is_scored, jnp.asarray(weights)[targets], 0)
    return (pixel_weights * losses).sum() / jnp.maximum(pixel_weights.sum(), 1e-6)
