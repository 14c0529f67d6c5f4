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
from absl import flags

from sflow_jax import cli, prepare
from sflow_jax.data import builder, pipeline
from sflow_jax.errors import InputError
from sflow_jax.metrics import segmentation
from sflow_jax.models.segmenter import Segmenter
from sflow_jax.pretrained import variables
from sflow_jax.training import segmenter as training
from sflow_jax.training.scene import to_float

_EVAL_BATCH = 8


def image_batches(batches: Iterator[dict[str, Any]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Takes the frames out of clips: uint8 images [B, H, W, 3] and labels [B, H, W]."""
    for batch in batches:
        images, label_maps = batch["image"], batch["label"]
        height, width = images.shape[2:4]
        yield images.reshape(-1, height, width, 3), label_maps.reshape(-1, height, width)


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
    report = {"settings": settings, "scores": {}}
    for size, result in results.items():
        print(f"\ntest split at {size}\n{segmentation.format_table(result, names)}")
        values = dataclasses.asdict(result)
        classes = zip(names, map(_rounded, values.pop("class_iou")), strict=True)
        summary = {name: _rounded(value) for name, value in values.items()}
        report["scores"][size] = summary | {"class_iou": dict(classes)}
    variables.write(output, network_variables, {}, np.float16)
    output.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{output}")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)  # JSON knows no NaN


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
    table, weights = first.class_table, training.class_weights(first)
    trained = training.train(
        iterators, table, weights, num_steps=options.num_steps, seed=options.seed
    )
    stored = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), trained)
    results = {size: evaluate(stored, dataset) for size, dataset in prepared.items()}
    settings = {
        "dataset": table.name,
        "examples": {split: first.num_examples[split] for split in ("train", "test")},
        "sizes": list(prepared),
        "batch_pixels": options.batch_pixels,
        "num_steps": options.num_steps,
        "seed": options.seed,
    }
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
