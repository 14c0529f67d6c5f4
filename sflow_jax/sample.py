"""Translates a folder of frames with a trained generator.

    python -m sflow_jax.sample --workdir RUN --input FOLDER --output OUT [--num_variants 4] [--grid]

FOLDER holds `label/NAME.png` and `cg/NAME.png` or `image/NAME.png`, or is a tree of such folders,
which OUT mirrors. Several variants of each frame go to OUT/variant_00, OUT/variant_01, ...
OUT/sampling.json records what the results were made of; the same command continues with the frames
that are missing, or older than their input.
"""

import collections
import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import tqdm
from absl import flags

from sflow_jax import cli
from sflow_jax.data import images, input_frames
from sflow_jax.data.input_frames import InputFrame
from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel, batch_size_for, restore_model
from sflow_jax.models.dned import NUM_SIDE_OUTPUTS, sample_ensemble_weights
from sflow_jax.pictures import edges_to_rgb, grid, to_uint8, write_png

RECORD_FILE = "sampling.json"
GRID_FILE = "grid.png"

_GRID_ROWS = 8
_GRID_WIDTH = 512  # larger pictures are shrunk to this many pixels
_EDGE_CAPTIONS = {"cg": ["CG frame"], "image": ["real frame"], "none": []}


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What is translated, with what, and to where.

    Attributes:
        model: the restored run.
        frames: all frames, in the order of their names.
        edge_source: where their edges come from: 'cg', 'image' or 'none'.
        batch_sizes: frames per batch for each size of frames, so that each size compiles once.
        weights: ensemble weights of every variant, float32 [K, 6].
        output: where the results go.
    """

    model: TrainedModel
    frames: Sequence[InputFrame]
    edge_source: str
    batch_sizes: Mapping[tuple[int, int], int]
    weights: np.ndarray
    output: pathlib.Path

    def paths(self, frame: InputFrame) -> list[pathlib.Path]:
        """Where the variants of a frame go."""
        if len(self.weights) == 1:
            return [self.output / f"{frame.name}.png"]
        folders = [self.output / f"variant_{k:02d}" for k in range(len(self.weights))]
        return [folder / f"{frame.name}.png" for folder in folders]

    def is_done(self, frame: InputFrame) -> bool:
        """Whether all variants of a frame are there and none is older than the frame's files."""
        if not all(path.is_file() for path in self.paths(frame)):
            return False
        written = min(path.stat().st_mtime_ns for path in self.paths(frame))
        return written >= max(p.stat().st_mtime_ns for p in (frame.label, frame.edges) if p)


def plan(
    workdir: pathlib.Path,
    folder: pathlib.Path,
    output: pathlib.Path,
    *,
    num_variants: int = 1,
    seed: int | None = None,
    edges: str = "auto",
    step: int | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    with_real: bool = False,
) -> Sampling:
    """Restores a run, lists a folder of frames and records the settings in the output folder.

    Args:
        workdir: the folder of the training run.
        folder: the frames, as this module describes.
        output: where the results go; it may hold an interrupted translation of the same settings.
        num_variants: versions of every frame.
        seed: draws the ensemble weights; equal weights for one variant without a seed.
        edges: where edges come from: 'cg', 'image', 'none', or 'auto' for 'cg' if there is one and
            else 'image'.
        step: which checkpoint; the newest by default.
        limit: only the first so many frames.
        batch_size: frames at once; by default as many as make a megapixel, at most 8.
        with_real: also list the real images, for the grid.

    Raises:
        InputError: the run, the input or the output cannot be used.
    """
    groups = input_frames.find_groups(folder)
    edge_source = input_frames.resolve_edge_source(groups, edges)
    frames = input_frames.list_frames(folder, groups, edge_source, with_real)[:limit]
    sizes = collections.Counter(frame.size for frame in frames)
    model = restore_model(workdir, step)
    if edge_source == "none":
        if num_variants > 1:
            raise InputError(
                f"--num_variants: found {num_variants}, expected 1 with --edges none: variants "
                "differ in the edges that DNED draws"
            )
        # Not through DNED, which draws something even where there is no edge.
        model = dataclasses.replace(model, dned_share=0.0)
    _check_variants(model, num_variants)
    seed = 0 if seed is None and num_variants > 1 else seed
    sampling = Sampling(
        model=model,
        frames=frames,
        edge_source=edge_source,
        batch_sizes={
            size: min(count, batch_size or batch_size_for(*size)) for size, count in sizes.items()
        },
        weights=draw_weights(num_variants, seed, model.config.loss.side_weights),
        output=output,
    )
    _check_folders(output, groups, frames)
    record = {
        "workdir": str(workdir.absolute()),
        "checkpoint_step": model.step,
        "input": str(folder.absolute()),
        "edges": edge_source,
        "seed": seed,
        "ensemble_weights": sampling.weights.tolist(),
        "dned_share": model.dned_share,
        "config": model.config.to_dict(),
    }
    _check_record(output, record)
    input_frames.check_frames([f for f in frames if not sampling.is_done(f)], model.class_table)
    output.mkdir(parents=True, exist_ok=True)
    (output / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return sampling


def draw_weights(
    num_variants: int, seed: int | None, side_weights: Sequence[float] = (1.0,) * NUM_SIDE_OUTPUTS
) -> np.ndarray:
    """Ensemble weights of every variant, float32 [K, 6], each row of sum 1.

    They are those of training (`side_weights`) without a seed; otherwise Dirichlet draws, each a
    function of the seed and the variant's number alone, so that more variants never change the
    first ones.
    """
    if seed is None:
        weights = np.asarray(side_weights, np.float32)
        return np.tile(weights / weights.sum(), (num_variants, 1))
    key = jax.random.key(seed)
    draws = [sample_ensemble_weights(jax.random.fold_in(key, k)) for k in range(num_variants)]
    return np.stack(draws)


def translate_missing(sampling: Sampling) -> None:
    """Translates the frames whose results are missing or old, with a progress bar.

    Memory does not grow with the number of frames.
    """
    missing = [frame for frame in sampling.frames if not sampling.is_done(frame)]
    total = len(sampling.frames)
    model = sampling.model
    with tqdm.tqdm(total=total, initial=total - len(missing), desc="sampling", unit="frame") as bar:
        # Results are fetched one step late: the device computes while files are read and written.
        waiting = None
        for batch in input_frames.read_batches(missing, sampling.batch_sizes, model.class_table):
            for variant, weights in enumerate(sampling.weights):
                pictures = model.translate(batch.label, batch.edge_image, weights)["image"]
                if waiting:
                    _write(sampling, *waiting, bar)
                waiting = batch.frames, variant, pictures
        if waiting:
            _write(sampling, *waiting, bar)


def draw_grid(sampling: Sampling) -> np.ndarray:
    """Draws the first frames: label, edge frame, edges and result of each variant, real image.

    Returns:
        uint8 RGB; all pictures have the first frame's size, or less.
    """
    frames, model = sampling.frames[:_GRID_ROWS], sampling.model
    edge_captions = _EDGE_CAPTIONS[sampling.edge_source]
    rows = {}
    for batch in input_frames.read_batches(frames, sampling.batch_sizes, model.class_table):
        variants = [
            model.translate(batch.label, batch.edge_image, weights) for weights in sampling.weights
        ]
        for index, frame in enumerate(batch.frames):
            row = [model.class_table.colorize(batch.label[index, ..., 0])]
            row += [batch.edge_image[index]] * len(edge_captions)
            for outputs in variants:
                row.append(edges_to_rgb(np.asarray(outputs["edge_map"][index])))
                row.append(to_uint8(outputs["image"][index]))
            rows[frame.name] = row
    has_real = sampling.edge_source != "image" and all(frame.real for frame in frames)
    for frame in frames if has_real else []:
        rows[frame.name].append(images.read_color(frame.real))
    captions = ["label", *edge_captions, *_variant_captions(len(sampling.weights))]
    return grid(
        [_shrink(rows[frame.name], frames[0].size) for frame in frames],
        [*captions, "real"] if has_real else captions,
    )


def _variant_captions(num_variants: int) -> list[str]:
    if num_variants == 1:
        return ["edges into G", "generated"]
    return [f"{kind} {k:02d}" for k in range(num_variants) for kind in ("edges", "variant")]


def _shrink(row: Sequence[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    scale = min(1, _GRID_WIDTH / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return [images.resize_color(picture, height, width) for picture in row]


def _write(
    sampling: Sampling,
    frames: Sequence[InputFrame],
    variant: int,
    pictures: jax.Array,
    bar: tqdm.tqdm,
) -> None:
    for frame, picture in zip(frames, to_uint8(pictures), strict=False):
        write_png(sampling.paths(frame)[variant], picture)
    if variant == len(sampling.weights) - 1:
        bar.update(len(frames))


def _warn_of_sizes(sampling: Sampling) -> None:
    data = sampling.model.config.data
    other = [size for size in sampling.batch_sizes if size != (data.height, data.width)]
    if other and data.height:
        height, width = other[0]
        print(
            f"note: found frames of {width}x{height}, trained at {data.width}x{data.height}: "
            "results are best at the size of training",
            file=sys.stderr,
        )


def _check_variants(model: TrainedModel, num_variants: int) -> None:
    if num_variants > 1 and not model.sees_dned:
        raise InputError(
            f"--num_variants: found {num_variants}, expected 1: variants come from DNED, and the "
            f"generator of step {model.step} has not seen its edges (generator.edges = "
            f"{model.config.generator.edges!r}, share of DNED {model.dned_share:g})"
        )


def _check_folders(
    output: pathlib.Path, groups: Sequence[pathlib.Path], frames: Sequence[InputFrame]
) -> None:
    """Checks that results cannot overwrite the input, nor the sheet a result."""
    target = output.resolve()
    for folder in (group.resolve() / key for group in groups for key in input_frames.KEYS):
        if target == folder or folder in target.parents:
            raise InputError(f"{output}: is part of the input, expected another --output")
    for frame in frames:
        if f"{frame.name}.png" == GRID_FILE:
            raise InputError(f"{frame.label}: found this name, which --grid needs for its sheet")


def _check_record(output: pathlib.Path, record: dict) -> None:
    """Checks that the output folder is empty, or holds results of the same settings."""
    path = output / RECORD_FILE
    if not path.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output}: found no {RECORD_FILE}, expected a new or empty folder")
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: {error}; expected the JSON that sampling wrote") from error
    now = json.loads(json.dumps(record))
    changes = [
        f"another {key}"
        if isinstance(now[key], list | dict)
        else f"{key} {before.get(key)}, not {now[key]}"
        for key in now
        if before.get(key) != now[key]
    ]
    if changes:
        raise InputError(
            f"{path}: found results of {'; '.join(changes)}; "
            "expected the same settings, or another --output"
        )


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    output = pathlib.Path(options.output)
    try:
        sampling = plan(
            pathlib.Path(options.workdir),
            pathlib.Path(options.input),
            output,
            num_variants=options.num_variants,
            seed=options.seed,
            edges=options.edges,
            step=options.step,
            limit=options.limit,
            batch_size=options.batch_size,
            with_real=options.grid,
        )
        _warn_of_sizes(sampling)
        translate_missing(sampling)
        if options.grid:
            write_png(output / GRID_FILE, draw_grid(sampling))
    except OSError as error:
        raise InputError(f"{output}: {error}; expected a folder with room to write") from error
    variants = f", {options.num_variants} variants each" if options.num_variants > 1 else ""
    print(f"{output}: {len(sampling.frames)} frames{variants}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run.")
    flags.DEFINE_string("input", None, "Folder of the frames to translate.")
    flags.DEFINE_string("output", None, "Folder for the results.")
    flags.DEFINE_integer("num_variants", 1, "Versions of every frame.", lower_bound=1)
    flags.DEFINE_integer(
        "seed", None, "Draws DNED's ensemble weights; equal ones for one variant without a seed."
    )
    sources = ("auto", *input_frames.EDGE_SOURCES)
    flags.DEFINE_enum("edges", "auto", sources, "Where edges come from; auto: cg, else image.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer("limit", None, "Only the first so many frames.", lower_bound=1)
    flags.DEFINE_integer(
        "batch_size", None, "Frames at once; by default about a megapixel.", lower_bound=1
    )
    flags.DEFINE_bool("grid", False, f"Also write {GRID_FILE}, the first frames side by side.")
    flags.mark_flags_as_required(["workdir", "input", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
