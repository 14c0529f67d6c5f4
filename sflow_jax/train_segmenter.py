r"""Trains a segmentation network on the real images of a dataset and scores it on the test split.

    python -m sflow_jax.train_segmenter --config configs/streets.py --output FILE --seed 0
    python -m sflow_jax.train_segmenter --config configs/cityscapes.py --config.data.source=DIR \
        --output FILE --network pspnet --width 16

It writes the weights as float16 safetensors and, next to them, the scores as JSON. The same seed
gives the same file on the same machine. After an interruption the same command continues: until the
end, the state of the training is next to the output.

--config.NAME=VALUE sets an option of the config; `sflow_jax/options.py` lists them all.

The second command trains PSPNet, for datasets without published weights; it is scored by semseg's
test protocol, the images keeping their size.
"""

import re
from collections.abc import Sequence

import ml_collections
from absl import flags

from sflow_jax import cli, compilation_cache, prepare
from sflow_jax.data import builder
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError
from sflow_jax.files import named_path
from sflow_jax.option_rules import LARGEST_SEED
from sflow_jax.runs import lock
from sflow_jax.segmentation import experiment, trained
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.pspnet import BLOCKS
from sflow_jax.segmentation.scores import format_class_scores

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def main() -> None:
    """The command."""
    compilation_cache.use()
    options = flags.FLAGS
    output = named_path("--output", options.output)
    if output.suffix != ".safetensors":
        raise InputError(f"--output: found {output}, expected a name that ends in .safetensors")
    if output.is_dir():
        raise InputError(f"--output: found a folder, {output}, expected a file or nothing there")
    sizes = prepare_sizes(options.config.data, [parse_size(size) for size in options.sizes])
    pixels = options.batch_pixels
    settings = experiment.training_settings(sizes, pixels, options.num_steps, options.seed)
    if options.network == "pspnet":
        layers, width = int(options.layers), options.width
        settings |= experiment.pspnet_settings(sizes, pixels, layers, width)
    class_names = next(iter(sizes.values())).class_table.eval_names
    with (
        lock.hold(output.resolve().parent, f".{output.name}.lock"),
        Progress(output.with_suffix(".state"), settings) as progress,
    ):
        network_variables, make_predict = experiment.train_network(sizes, settings, progress)
        predict = make_predict(trained.as_stored(network_variables))
        scores = {size: experiment.score_on_test_split(predict, sizes[size]) for size in sizes}
        for size, result in scores.items():
            print(f"\ntest split at {size}\n{format_class_scores(result, class_names)}")
        trained.write_segmenter(output, network_variables, settings, scores, class_names)
        progress.remove()
    print(f"\n{output}")


def prepare_sizes(
    data: ml_collections.ConfigDict, sizes: Sequence[tuple[int, int]]
) -> dict[str, PreparedDataset]:
    """Prepares the dataset at each size (width, height), by default its own, as 'WIDTHxHEIGHT'.

    Raises:
        InputError: it cannot be prepared, or not be learned.
    """
    prepared = {}
    for width, height in sizes or [(data.width, data.height)]:
        data_config = ml_collections.ConfigDict(data)
        data_config.update(width=width, height=height)
        dataset = prepare.prepare(data_config)
        experiment.check_trainable(dataset)
        prepared[builder.size_name(dataset.schema)] = dataset
    return prepared


def parse_size(text: str) -> tuple[int, int]:
    """'WIDTHxHEIGHT' to (width, height).

    Raises:
        InputError: it is something else.
    """
    is_size = _SIZE.fullmatch(text)
    if not is_size:
        raise InputError(f"--sizes: found {text!r}, expected WIDTHxHEIGHT, such as 256x128")
    return int(is_size[1]), int(is_size[2])


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string("output", None, "File of the weights, NAME.safetensors; required.")
    flags.DEFINE_integer(
        "seed", 0, "Of the initial weights, the data's order and variations.",
        lower_bound=0, upper_bound=LARGEST_SEED,
    )  # fmt: skip
    flags.DEFINE_integer(
        "num_steps", 1500, "Optimization steps.", lower_bound=1, upper_bound=2**31 - 1
    )
    flags.DEFINE_integer(
        "batch_pixels", 2**17, "Pixels per step.", lower_bound=1, upper_bound=2**28
    )
    flags.DEFINE_enum("network", "unet", ["unet", "pspnet"], "What is trained.")
    flags.DEFINE_integer(
        "width", 64, "PSPNet's channels, 64 as published.", lower_bound=1, upper_bound=1024
    )
    flags.DEFINE_enum(
        "layers", "50", [str(layers) for layers in BLOCKS], "Number of layers of PSPNet's ResNet."
    )
    flags.DEFINE_list("sizes", [], "WIDTHxHEIGHT,...: train on all of them; default: the config's.")
    flags.mark_flags_as_required(["config", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
