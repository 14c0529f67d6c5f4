"""Trains a segmentation network on real images and their label maps."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from sflow_jax.data.labels import VOID, ClassTable
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import TrainingError
from sflow_jax.models.segmenter import STRIDE, Segmenter, fold_batch_norm
from sflow_jax.ops import augment
from sflow_jax.ops.pixels import to_float
from sflow_jax.training.progress import Progress

_LEARNING_RATE = 5e-3
_WARMUP_SHARE = 0.05
_WEIGHT_DECAY = 1e-4
_COUNTED_EXAMPLES = 256  # that decide on the class weights
_MIN_SHARE = 1e-4  # of a class in the pixels; rarer ones get no higher weight
_TAKEN_BACK = 0.5

# The scores must not hang on the camera's exposure or noise, nor on detail that fakes may lack.
_MAX_EXPOSURE = 0.3  # log2 of the factor on all channels
_MAX_TINT = 0.1  # log2 of the factor on each channel
_MAX_NOISE = 0.03  # standard deviation, the image's range being 2
_MAX_BLUR = 0.5  # share of a 3x3 binomial blur


def train(
    iterators: Sequence[Iterator[tuple[np.ndarray, np.ndarray]]],
    table: ClassTable,
    weights: np.ndarray,
    *,
    num_steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Trains a `Segmenter`, with a progress bar.

    Args:
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        weights: of the classes in the loss, [C].
        num_steps: optimization steps.
        seed: of the initial weights and the variations of the images.
        progress: where the training continues and is saved.

    Returns:
        The variables of `Segmenter(table.num_eval_classes)`.
    """
    network_variables = fit(
        Segmenter(table.num_eval_classes, training=True),
        jnp.zeros((1, STRIDE, STRIDE, 3)),
        make_optimizer(num_steps),
        lambda logits, targets: cross_entropy(logits, targets, jnp.asarray(weights)),
        iterators,
        table,
        num_steps=num_steps,
        seed=seed,
        progress=progress,
    )
    return rebalance(fold_batch_norm(network_variables), weights)


def fit(
    network: nn.Module,
    example: jax.Array,
    optimizer: optax.GradientTransformation,
    loss_of: Callable[[Any, jax.Array], jax.Array],
    iterators: Sequence[Iterator[tuple[np.ndarray, np.ndarray]]],
    table: ClassTable,
    *,
    present: Callable[..., tuple[jax.Array, jax.Array]] = lambda key, *pair: pair,
    num_steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Trains any segmentation network on mirrored and varied images.

    Args:
        network: with parameters and `batch_stats`.
        example: images on which it is initialized.
        optimizer: of its parameters.
        loss_of: what it returns and the true eval_ids [B, H, W] to a scalar.
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        present: a random key, images in [-1, 1] and eval_ids to those that the network sees.
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
    network_variables = jax.jit(network.init)(init_keys, example)
    eval_lookup = jnp.asarray(table.eval_lookup)

    @jax.jit
    def update(state, step, images, label_maps):
        network_variables, optimizer_state = state
        flip_key, vary_key = jax.random.split(jax.random.fold_in(key, step))
        present_key, dropout_key = jax.random.split(jax.random.fold_in(vary_key, 0))
        flips = augment.random_flips(jax.random.split(flip_key, images.shape[0]))
        inputs = augment.flip_horizontally(vary_images(vary_key, to_float(images)), flips)
        targets = augment.flip_horizontally(eval_lookup[label_maps][..., None], flips)[..., 0]
        inputs, targets = present(present_key, inputs, targets)
        params, statistics = network_variables["params"], network_variables["batch_stats"]

        def loss_and_statistics(params):
            both = {"params": params, "batch_stats": statistics}
            outputs, changed = network.apply(
                both, inputs, mutable=["batch_stats"], rngs={"dropout": dropout_key}
            )
            return loss_of(outputs, targets), changed

        compute = jax.value_and_grad(loss_and_statistics, has_aux=True)
        (loss, changed), gradients = compute(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        return ({"params": params, **changed}, optimizer_state), loss

    state = progress.restore((network_variables, optimizer.init(network_variables["params"])))
    return _run(update, state, iterators, num_steps, progress)[0]


def _run(
    update: Callable, state: Any, iterators: Sequence[Iterator], num_steps: int, progress: Progress
) -> Any:
    """Repeats the update until `num_steps`; returns the last state."""
    bar = tqdm.tqdm(
        range(progress.step, num_steps),
        desc="segmenter",
        unit="step",
        initial=progress.step,
        total=num_steps,
    )
    for step in bar:
        state, loss = update(state, step, *next(iterators[step % len(iterators)]))
        if step % 20 == 0:
            if not jnp.isfinite(loss):
                raise TrainingError(f"step {step}: the loss is {loss}")
            bar.set_postfix(loss=f"{loss:.3f}")
        progress.save(step + 1, state)
    return state


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


def class_weights(prepared: PreparedDataset) -> np.ndarray:
    """Weights for the loss, without which rare and thin objects are hardly learned.

    Returns:
        float32 [C]: 1 / sqrt(share of the class in the pixels of the training split), scaled to a
        mean of 1 over the pixels.
    """
    table, source = prepared.class_table, prepared.source("train")
    counts = np.zeros(256)
    for index in range(0, len(source), -(-len(source) // _COUNTED_EXAMPLES)):
        counts += np.bincount(table.eval_lookup[source[index]["label"]].ravel(), minlength=256)
    counts = counts[: table.num_eval_classes]
    share = np.maximum(counts / max(counts.sum(), 1), _MIN_SHARE)
    weights = share**-0.5
    return (weights / (weights * share).sum()).astype(np.float32)


def cross_entropy(logits: jax.Array, eval_ids: jax.Array, weights: jax.Array) -> jax.Array:
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
    pixel_weights = jnp.where(is_scored, weights[targets], 0)
    return (pixel_weights * losses).sum() / jnp.maximum(pixel_weights.sum(), 1e-6)


def rebalance(network_variables: dict[str, Any], weights: np.ndarray) -> dict[str, Any]:
    """Takes back half of what class weights did to the decisions, in the classifier's bias.

    A network that was trained with weights w estimates w_i P(i | x) up to a factor and predicts
    rare classes too often; without any weight it predicts them too seldom. On the validation split
    of `streets`, the middle has the highest mean IoU (0.50, 0.52, 0.51 for a network at 128x64).
    """
    params = network_variables["params"]
    classifier = params["classifier"]
    bias = classifier["bias"] - _TAKEN_BACK * np.log(weights)
    return {"params": {**params, "classifier": {**classifier, "bias": bias}}}


def make_optimizer(num_steps: int) -> optax.GradientTransformation:
    """AdamW with a short warm-up and a cosine decay to zero."""
    warmup_steps = max(1, round(_WARMUP_SHARE * num_steps))
    schedule = optax.warmup_cosine_decay_schedule(0, _LEARNING_RATE, warmup_steps, num_steps + 1)
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=_WEIGHT_DECAY)
    )
