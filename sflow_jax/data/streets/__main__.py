"""Drives through a street of the simulator and writes what a simulator gives for each frame.

    python -m sflow_jax.data.streets --output drive
    python -m sflow_jax.data.streets --output drive --num_frames 90 --height 128 --width 256

OUTPUT/{label,cg,image,instance}/000000.png, 000001.png, ... are consecutive frames: a clip to try
`python -m sflow_jax.sample --video` on.
"""

import pathlib
from typing import Any

import tqdm
from absl import flags

from sflow_jax import cli
from sflow_jax.data.datasets import LARGEST_SIDE, SMALLEST_SIDE
from sflow_jax.data.folder import KEYS
from sflow_jax.data.images import encode_png
from sflow_jax.data.streets import simulator
from sflow_jax.errors import writing_to
from sflow_jax.files import named_path, require_new_folder, whole_folder, write_whole


def write_drive(
    output: pathlib.Path, seed: int, *, num_frames: int, height: int, width: int
) -> None:
    """Renders a drive frame by frame, with a progress bar.

    Args:
        output: a new or empty folder.
        seed: of the street, 0 or more.
        num_frames: at most `simulator.LONGEST_DRIVE`.
        height: of the frames, pixels.
        width: of the frames, pixels.

    Raises:
        InputError: the folder is not empty or cannot be written.
    """
    require_new_folder(output)
    frames = simulator.render_frames(seed, num_frames=num_frames, height=height, width=width)
    with writing_to(output), whole_folder(output) as folder:
        for index, arrays in enumerate(
            tqdm.tqdm(frames, desc="rendering", total=num_frames, unit="frame")
        ):
            for key in KEYS:
                write_whole(folder / key / f"{index:06d}.png", encode_png(arrays[key]))


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    output = named_path("--output", options.output)
    size = {"height": options.height, "width": options.width}
    simulator.check_memory("--height and --width", **size)
    write_drive(output, options.seed, num_frames=options.num_frames, **size)
    print(f"{output}: {options.num_frames} frames")


def _define_flags() -> None:
    flags.DEFINE_string(
        "output", None, "Folder for the frames, new or empty; required.", required=True
    )
    flags.DEFINE_integer(
        "num_frames", 40, "How long the drive is.",
        lower_bound=1, upper_bound=simulator.LONGEST_DRIVE,
    )  # fmt: skip
    sides: dict[str, Any] = {"lower_bound": SMALLEST_SIDE, "upper_bound": LARGEST_SIDE}
    flags.DEFINE_integer("height", 64, "Height of the frames, pixels.", **sides)
    flags.DEFINE_integer("width", 128, "Width of the frames, pixels.", **sides)
    flags.DEFINE_integer(
        "seed", 0, "Which street to drive through.", lower_bound=0, upper_bound=2**40 - 1
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
