"""Dataset building: frames per second of one core.

    python -m benchmarks.prepare [--num_examples 8] [--output DIR]

`streets` is rendered; `folder` reads frames of 2048x1024 from PNG files, as Cityscapes has them,
checks them, shrinks and encodes them. Pairs also get their optical flow. Examples are made one
after the other in this process; `python -m sflow_jax.prepare` makes them with all cores.
"""

import argparse
import pathlib
import tempfile
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks import measure
from benchmarks import options as options_lib
from sflow_jax.data import builder as builder_lib
from sflow_jax.data import example, images
from sflow_jax.data.folder import Folder
from sflow_jax.data.labels import CLASSES_FILE, STREETS
from sflow_jax.data.streets import Streets, render_clip

_SIZES = ((64, 128), (256, 512))
_SOURCE_SIZE = (1024, 2048)


def main() -> None:
    """Measures every dataset, size and number of frames."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--num_examples", type=options_lib.at_least(1), default=8, help="per measurement"
    )
    parser.add_argument("--num_measurements", type=options_lib.at_least(2), default=5)
    options_lib.add_output(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as in the processes that build a dataset
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        _write_source(folder / "source", options.num_examples + 1)
        rows = [
            _measure(name, height, width, frames, folder, options)
            for name in ("streets", "folder")
            for height, width in _SIZES
            for frames in (1, 2)
        ]
    measure.report("prepare", rows, options.output)


def _write_source(source: pathlib.Path, num_frames: int) -> None:
    """A folder dataset of enlarged streets."""
    height, width = _SOURCE_SIZE
    clip = render_clip(0, num_frames=num_frames, height=height // 4, width=width // 4)
    for key, interpolation in (("image", cv2.INTER_CUBIC), ("label", cv2.INTER_NEAREST)):
        target = source / "train/clip" / key
        target.mkdir(parents=True)
        for index, frame in enumerate(clip[key]):
            large = cv2.resize(frame, (width, height), interpolation=interpolation)
            large = large.reshape(height, width, -1).astype(np.uint8)
            (target / f"{index:06d}.png").write_bytes(images.encode_png(large))
    (source / CLASSES_FILE).write_text(STREETS.to_json())


def _measure(
    name: str,
    height: int,
    width: int,
    frames: int,
    folder: pathlib.Path,
    options: argparse.Namespace,
) -> dict[str, object]:
    size = {"height": height, "width": width, "frames": frames, "data_dir": folder / "data"}
    if name == "streets":
        counts = dict.fromkeys(("num_train", "num_validation", "num_test"), options.num_examples)
        builder = Streets(**size, **counts, seed=0)
    else:
        builder = Folder(source=folder / "source", **size)
    timing = measure.time_in_turn(
        {"examples": _make_examples(builder, options.num_examples)}, options.num_measurements
    )["examples"]
    return {
        "dataset": name,
        "source": f"{_SOURCE_SIZE[1]}x{_SOURCE_SIZE[0]} PNG" if name == "folder" else "rendered",
        "size": builder_lib.size_name(builder.schema),
        "frames/s per core": round(options.num_examples * frames / timing.median, 2),
        "examples": options.num_examples,
        "time of all": timing,
    }


def _make_examples(builder: builder_lib.ExampleBuilder, num_examples: int) -> Callable[[], None]:
    make_example, items = builder.recipe("train")

    def make() -> None:
        for item in items[:num_examples]:
            example.encode_arrays(make_example(item), builder.schema)

    return make


if __name__ == "__main__":
    main()
