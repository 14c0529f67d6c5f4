"""Trains a segmentation network on the real images of a dataset and scores it on the test split.

    python -m sflow_jax.segmenter --config configs/streets.py --output FILE --seed 0
    python -m sflow_jax.segmenter --config ... --output FILE --network pspnet --width 16

It writes the weights as float16 safetensors and the scores beside them as JSON. The same seed gives
the same file on the same machine. After an interruption the same command continues: until the end,
the state of the training lies beside the output.

The second command trains PSPNet, for datasets without published weights; it is scored by semseg's
test protocol, the images keeping their size.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags

from sflow_jax import cli, compilation_cache, prepare
from sflow_jax.data import builder, pipeline
from sflow_jax.errors import InputError
from sflow_jax.metrics import segmentation, semseg_protocol
from sflow_jax.models.pspnet import BLOCKS, PSPNet
from sflow_jax.models.segmenter import Segmenter
from sflow_jax.ops.pixels import to_float
from sflow_jax.pretrained import variables, weights
from sflow_jax.training import pspnet as training_pspnet
from sflow_jax.training import segmenter as training
from sflow_jax.training.progress import Progress

_EVAL_BATCH = 8

# From variables and uint8 images [B, H, W, 3] to labels [B, H, W].
Predict = Callable[[dict[str, Any], np.ndarray], np.ndarray]


def image_batches(batches: Iterator[dict[str, Any]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Takes the frames out of clips: uint8 images [B, H, W, 3] and labels [B, H, W]."""
    for batch in batches:
        images, label_maps = batch["image"], batch["label"]
        height, width = images.shape[2:4]
        yield images.reshape(-1, height, width, 3), label_maps.reshape(-1, height, width)


def evaluate(
    predict: Predict, network_variables: dict[str, Any], prepared: prepare.PreparedDataset
) -> segmentation.Scores:
    """Scores a network on the test split's real images."""
    table = prepared.class_table
    matrix = 0
    for batch, valid_count in pipeline.eval_batches(prepared.source("test"), _EVAL_BATCH):
        images, label_maps = next(image_batches(iter([batch])))
        num_valid = valid_count * prepared.schema.frames
        predicted = np.asarray(predict(network_variables, images))[:num_valid]
        true_labels = table.eval_lookup[label_maps[:num_valid]]
        matrix += segmentation.confusion_matrix(true_labels, predicted, table.num_eval_classes)
    return segmentation.scores(matrix)


def segmenter_predictor(num_classes: int) -> Predict:
    """Labels images with a `Segmenter`."""
    network = Segmenter(num_classes)
    return jax.jit(lambda v, images: network.apply(v, to_float(images)).argmax(-1))


def pspnet_predictor(network: PSPNet, crop: int) -> Predict:
    """Labels images with a PSPNet, in windows of the side `crop` over images of their own size."""
    apply = jax.jit(network.apply)

    def predict(network_variables: dict[str, Any], images: np.ndarray) -> np.ndarray:
        protocol = semseg_protocol.Protocol(base_size=max(images.shape[1:3]), crop=crop)
        logits = functools.partial(apply, network_variables)
        return np.stack([semseg_protocol.predict(logits, image, protocol) for image in images])

    return predict


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
    """Checks that a dataset can be learned and scored.

    Raises:
        InputError: a split is empty or no class is scored.
    """
    for split in ("train", "test"):
        if not prepared.num_examples.get(split):
            raise InputError(f"{prepared.directory}: split {split!r} is empty, expected examples")
    if not prepared.class_table.num_eval_classes:
        raise InputError(f"{prepared.directory}: no class has an eval_id, expected at least one")


def training_batches(
    prepared: prepare.PreparedDataset, num_pixels: int, seed: int, first_batch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of about `num_pixels` pixels from the training split."""
    iterator = pipeline.train_iterator(
        prepared.source("train"), batch_size=_batch_size(prepared, num_pixels), seed=seed
    )
    iterator.set_state({"next_batch": first_batch})
    return image_batches(iterator)


def _batch_size(prepared: prepare.PreparedDataset, num_pixels: int) -> int:
    schema = prepared.schema
    return max(1, num_pixels // (schema.frames * schema.height * schema.width))


def _network_settings(prepared: dict[str, prepare.PreparedDataset]) -> dict[str, Any]:
    """What rebuilds a PSPNet and its protocol; the small segmenter has no settings.

    Raises:
        InputError: batches are too small for PSPNet's batch norms.
    """
    options = flags.FLAGS
    if options.network != "pspnet":
        return {}
    for size, dataset in prepared.items():
        if _batch_size(dataset, options.batch_pixels) * dataset.schema.frames < 2:
            raise InputError(
                f"--batch_pixels: found {options.batch_pixels}, one image of {size}; expected two"
            )
    sides = [x for d in prepared.values() for x in (d.schema.height, d.schema.width)]
    return {
        "network": options.network,
        "num_classes": next(iter(prepared.values())).class_table.num_eval_classes,
        "layers": int(options.layers),
        "width": options.width,
        "crop": training_pspnet.crop_side(*sides),
    }


def train(
    prepared: dict[str, prepare.PreparedDataset], settings: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], Predict]:
    """Trains the network that the settings name; returns its variables and how it labels."""
    iterators = [
        training_batches(
            dataset,
            settings["batch_pixels"],
            settings["seed"],
            len(range(index, progress.step, len(prepared))),
        )
        for index, dataset in enumerate(prepared.values())
    ]
    first = next(iter(prepared.values()))
    table = first.class_table
    common = {key: settings[key] for key in ("num_steps", "seed")} | {"progress": progress}
    if "network" not in settings:
        class_weights = training.class_weights(first)
        trained = training.train(iterators, table, class_weights, **common)
        return trained, segmenter_predictor(table.num_eval_classes)
    network = PSPNet(settings["num_classes"], BLOCKS[settings["layers"]], settings["width"])
    trained = training_pspnet.train(iterators, table, network, settings["crop"], **common)
    return trained, pspnet_predictor(network, settings["crop"])


def main() -> None:
    """The command."""
    compilation_cache.use(weights.cache_directory())
    options = flags.FLAGS
    output = pathlib.Path(options.output)
    if output.suffix != ".safetensors":
        raise InputError(f"--output: found {output}, expected a name that ends in .safetensors")
    sizes = [parse_size(size) for size in options.sizes]
    prepared = prepare_sizes(options.config.data, sizes)
    for dataset in prepared.values():
        check_trainable(dataset)
    first = next(iter(prepared.values()))
    settings = {
        "dataset": first.class_table.name,
        "examples": {split: first.num_examples[split] for split in ("train", "test")},
        "sizes": list(prepared),
        "batch_pixels": options.batch_pixels,
        "num_steps": options.num_steps,
        "seed": options.seed,
    } | _network_settings(prepared)
    progress = Progress(output.with_suffix(".state"), settings)
    trained, predict = train(prepared, settings, progress)
    stored = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), trained)
    results = {size: evaluate(predict, stored, dataset) for size, dataset in prepared.items()}
    write_results(output, trained, results, first.class_table.eval_names, settings)
    progress.remove()


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string("output", None, "File of the weights, NAME.safetensors.")
    flags.DEFINE_integer("seed", 0, "Of the initial weights, the data's order and variations.")
    flags.DEFINE_integer("num_steps", 1500, "Optimization steps.", lower_bound=1)
    flags.DEFINE_integer("batch_pixels", 2**17, "Pixels per step.", lower_bound=1)
    flags.DEFINE_enum("network", "segmenter", ["segmenter", "pspnet"], "What is trained.")
    flags.DEFINE_integer("width", 64, "PSPNet's channels, 64 as published.", lower_bound=1)
    flags.DEFINE_enum("layers", "50", [str(layers) for layers in BLOCKS], "Of PSPNet's ResNet.")
    flags.DEFINE_list("sizes", [], "WIDTHxHEIGHT,...: train on all of them; default: the config's.")
    flags.mark_flags_as_required(["config", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
