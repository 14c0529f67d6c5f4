"""Trains a segmentation network on the real images of a dataset and scores it on the test split.

    python -m sflow_jax.segmenter --config configs/streets.py --output FILE --seed 0

It writes the weights as float16 safetensors and the scores beside them as JSON. The same seed gives
the same file on the same machine.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import tqdm
from absl import flags

from sflow_jax import cli, prepare
from sflow_jax.data import builder, labels, pipeline
from sflow_jax.errors import InputError
from sflow_jax.metrics import segmentation
from sflow_jax.models.segmenter import STRIDE, Segmenter, fold_batch_norm
from sflow_jax.ops import augment
from sflow_jax.pretrained import variables
from sflow_jax.training.scene import to_float

_EVAL_BATCH = 8
_LEARNING_RATE = 5e-3
_WARMUP_SHARE = 0.05
_WEIGHT_DECAY = 1e-4
_COUNTED_EXAMPLES = 256  # that decide on the class weights
_MIN_SHARE = 1e-4  # of a class in the pixels; rarer ones get no higher weight

# The scores must not hang on the camera's exposure or noise, nor on detail that fakes may lack.
_MAX_EXPOSURE = 0.3  # log2 of the factor on all channels
_MAX_TINT = 0.1  # log2 of the factor on each channel
_MAX_NOISE = 0.03  # standard deviation, the image's range being 2
_MAX_BLUR = 0.5  # share of a 3x3 binomial blur


def image_batches(batches: Iterator[dict[str, Any]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Takes the frames out of clips: uint8 images [B, H, W, 3] and labels [B, H, W]."""
    for batch in batches:
        images, label_maps = batch["image"], batch["label"]
        height, width = images.shape[2:4]
        yield images.reshape(-1, height, width, 3), label_maps.reshape(-1, height, width)


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


def class_weights(prepared: prepare.PreparedDataset) -> np.ndarray:
    """Weights that raise rare classes, or thin objects would be labelled as what is behind them.

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
    is_scored = eval_ids != labels.VOID
    targets = jnp.where(is_scored, eval_ids, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    pixel_weights = jnp.where(is_scored, weights[targets], 0)
    return (pixel_weights * losses).sum() / jnp.maximum(pixel_weights.sum(), 1e-6)


def make_optimizer(num_steps: int) -> optax.GradientTransformation:
    """AdamW with a short warm-up and a cosine decay to zero."""
    warmup_steps = max(1, round(_WARMUP_SHARE * num_steps))
    schedule = optax.warmup_cosine_decay_schedule(0, _LEARNING_RATE, warmup_steps, num_steps + 1)
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=_WEIGHT_DECAY)
    )


def train(
    iterators: Sequence[Iterator[tuple[np.ndarray, np.ndarray]]],
    table: labels.ClassTable,
    weights: np.ndarray,
    *,
    num_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Trains a `Segmenter`, with a progress bar.

    Args:
        iterators: endless batches of uint8 images and label maps, used in turn.
        table: what the ids of the label maps mean.
        weights: of the classes in the loss, [C].
        num_steps: optimisation steps.
        seed: of the initial weights and the variations of the images.

    Returns:
        The variables of `Segmenter(table.num_eval_classes)`.
    """
    network = Segmenter(table.num_eval_classes, training=True)
    init_key, key = jax.random.split(jax.random.key(seed))
    network_variables = jax.jit(network.init)(init_key, jnp.zeros((1, STRIDE, STRIDE, 3)))
    optimizer = make_optimizer(num_steps)
    eval_lookup, weights = jnp.asarray(table.eval_lookup), jnp.asarray(weights)

    @jax.jit
    def update(network_variables, optimizer_state, step, images, label_maps):
        flip_key, vary_key = jax.random.split(jax.random.fold_in(key, step))
        flips = augment.random_flips(jax.random.split(flip_key, images.shape[0]))
        inputs = augment.flip_horizontally(vary_images(vary_key, to_float(images)), flips)
        targets = augment.flip_horizontally(eval_lookup[label_maps][..., None], flips)[..., 0]
        params, statistics = network_variables["params"], network_variables["batch_stats"]

        def loss_of(params):
            both = {"params": params, "batch_stats": statistics}
            logits, changed = network.apply(both, inputs, mutable=["batch_stats"])
            return cross_entropy(logits, targets, weights), changed

        (loss, changed), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return {"params": optax.apply_updates(params, updates), **changed}, optimizer_state, loss

    optimizer_state = optimizer.init(network_variables["params"])
    progress = tqdm.trange(num_steps, desc="segmenter", unit="step")
    for step in progress:
        batch = next(iterators[step % len(iterators)])
        network_variables, optimizer_state, loss = update(
            network_variables, optimizer_state, step, *batch
        )
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss:.3f}")
    return fold_batch_norm(network_variables)


def evaluate(
    network_variables: dict[str, Any], prepared: prepare.PreparedDataset
) -> segmentation.Scores:
    """Scores a `Segmenter` on the test split's real images."""
    table = prepared.class_table
    network = Segmenter(table.num_eval_classes)
    predict = jax.jit(lambda v, images: network.apply(v, to_float(images)).argmax(-1))
    matrix = 0
    for batch, valid_count in pipeline.eval_batches(prepared.source("test"), _EVAL_BATCH):
        images, label_maps = next(image_batches(iter([batch])))
        num_valid = valid_count * prepared.schema.frames
        predicted = np.asarray(predict(network_variables, images))[:num_valid]
        true_labels = table.eval_lookup[label_maps[:num_valid]]
        matrix += segmentation.confusion_matrix(true_labels, predicted, table.num_eval_classes)
    return segmentation.scores(matrix)


def parse_size(text: str) -> tuple[int, int]:
    """'WIDTHxHEIGHT' to (width, height).

    Raises:
        InputError: it is something else.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--sizes: found {text!r}, expected WIDTHxHEIGHT, such as 256x128")
    return int(width), int(height)


def prepare_sizes(
    data: ml_collections.ConfigDict, sizes: Sequence[tuple[int, int]]
) -> dict[str, prepare.PreparedDataset]:
    """Prepares the dataset at each size (width, height), by default its own, as 'WIDTHxHEIGHT'."""
    prepared = {}
    for width, height in sizes or [(data.width, data.height)]:
        data_config = ml_collections.ConfigDict(data)
        data_config.update(width=width, height=height)
        dataset = prepare.prepare(data_config)
        prepared[builder.size_name(dataset.schema)] = dataset
    return prepared


def write_results(
    output: pathlib.Path,
    network_variables: dict[str, Any],
    results: dict[str, segmentation.Scores],
    names: Sequence[str],
    settings: dict[str, Any],
) -> None:
    """Writes weights to `output` and, beside it, settings and scores as JSON; prints the scores."""
    scores = {}
    for size, result in results.items():
        print(f"\ntest split at {size}\n{segmentation.format_table(result, names)}")
        values = dataclasses.asdict(result) | {
            "class_iou": dict(zip(names, result.class_iou, strict=True))
        }
        scores[size] = jax.tree.map(lambda x: None if np.isnan(x) else round(float(x), 4), values)
    variables.write(output, network_variables, {}, np.float16)
    text = json.dumps({"settings": settings, "scores": scores}, indent=2)
    output.with_suffix(".json").write_text(text + "\n")
    print(f"\n{output}")


def check_trainable(prepared: prepare.PreparedDataset) -> None:
    """Checks that a dataset can be learnt and scored.

    Raises:
        InputError: a split is empty or no class is scored.
    """
    for split in ("train", "test"):
        if not prepared.num_examples.get(split):
            raise InputError(f"{prepared.directory}: split {split!r} is empty, expected examples")
    if not prepared.class_table.num_eval_classes:
        raise InputError(f"{prepared.directory}: no class has an eval_id, expected at least one")


def training_batches(
    prepared: prepare.PreparedDataset, num_pixels: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of about `num_pixels` pixels from the training split."""
    schema = prepared.schema
    batch_size = max(1, num_pixels // (schema.frames * schema.height * schema.width))
    source = prepared.source("train")
    return image_batches(pipeline.train_iterator(source, batch_size=batch_size, seed=seed))


def main() -> None:
    """The command."""
    options = flags.FLAGS
    output = pathlib.Path(options.output)
    if output.suffix != ".safetensors":
        raise InputError(f"--output: found {output}, expected a name that ends in .safetensors")
    sizes = [parse_size(size) for size in options.sizes]
    prepared = prepare_sizes(options.config.data, sizes)
    for dataset in prepared.values():
        check_trainable(dataset)
    iterators = [
        training_batches(dataset, options.batch_pixels, options.seed)
        for dataset in prepared.values()
    ]
    first = next(iter(prepared.values()))
    table, weights = first.class_table, class_weights(first)
    trained = train(iterators, table, weights, num_steps=options.num_steps, seed=options.seed)
    stored = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), trained)
    results = {size: evaluate(stored, dataset) for size, dataset in prepared.items()}
    settings = {"dataset": table.name, "seed": options.seed, "num_steps": options.num_steps}
    write_results(output, trained, results, table.eval_names, settings)


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string("output", None, "File of the weights, NAME.safetensors.")
    flags.DEFINE_integer("seed", 0, "Of the initial weights, the data's order and variations.")
    flags.DEFINE_integer("num_steps", 1500, "Optimisation steps.", lower_bound=1)
    flags.DEFINE_integer("batch_pixels", 2**17, "Pixels per step.", lower_bound=1)
    flags.DEFINE_list("sizes", [], "WIDTHxHEIGHT,...: train on all of them; default: the config's.")
    flags.mark_flags_as_required(["config", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
