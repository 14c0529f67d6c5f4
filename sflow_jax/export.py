"""Writes a trained generator as one file that other programs run without this package.

    python -m sflow_jax.export --workdir RUN --output sampler.stablehlo
    python -m sflow_jax.export --workdir RUN --output sampler.onnx [--height 128 --width 256]

The ending of the output says what it is: StableHLO for JAX on CPUs, GPUs and TPUs, which takes
batches and frames of any size, or ONNX, which takes batches of any size and frames of one.
"""

from collections.abc import Callable, Mapping

import ml_collections
from absl import flags

from sflow_jax import cli
from sflow_jax.data.datasets import SMALLEST_SIDE
from sflow_jax.errors import InputError, writing_to
from sflow_jax.exporting.onnx_file import to_onnx
from sflow_jax.exporting.sampler import Exported, Sampler, make_sampler
from sflow_jax.exporting.stablehlo import to_stablehlo
from sflow_jax.files import named_path, write_whole
from sflow_jax.inference import restore_model

_FORMATS: dict[str, Callable[[Sampler, Mapping[str, int]], Exported]] = {
    ".stablehlo": to_stablehlo,
    ".onnx": to_onnx,
}


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    output = named_path("--output", options.output)
    if output.suffix not in _FORMATS:
        expected = " or ".join(_FORMATS)
        raise InputError(f"--output: found {output.name}, expected a name that ends in {expected}")
    model = restore_model(named_path("--workdir", options.workdir), options.step)
    sampler = make_sampler(model)
    given = {"b": options.batch_size, "h": options.height, "w": options.width}
    sizes = {axis: size for axis, size in given.items() if size is not None}
    if output.suffix == ".onnx":
        sizes = _size_of_training(model.config) | sizes
        if missing := [f"--{side}" for side in ("height", "width") if side[0] not in sizes]:
            raise InputError(
                f"{', '.join(missing)}: found none, and frames of this run have no common size; "
                "expected both for .onnx"
            )
    exported = _FORMATS[output.suffix](sampler, sizes)
    with writing_to(output.parent):
        write_whole(output, exported.content)
    print(f"{output}: step {model.step}, {len(exported.content) / 1e6:.1f} MB")
    for name, shape in exported.shapes.items():
        print(f"  {name}: {shape}")


def _size_of_training(config: ml_collections.ConfigDict) -> dict[str, int]:
    sizes = {"h": config.data.height, "w": config.data.width}
    return {axis: size for axis, size in sizes.items() if size}


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run; required.")
    flags.DEFINE_string("output", None, "The file to write, NAME.stablehlo or NAME.onnx; required.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer(
        "height",
        None,
        "Height of all frames; by default any, in ONNX that of training.",
        lower_bound=SMALLEST_SIDE,
    )
    flags.DEFINE_integer("width", None, "Width of all frames, likewise.", lower_bound=SMALLEST_SIDE)
    flags.DEFINE_integer("batch_size", None, "Frames at once; by default any.", lower_bound=1)
    flags.mark_flags_as_required(["workdir", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
