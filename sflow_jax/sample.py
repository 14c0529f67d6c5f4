"""Translates a folder of frames with a trained generator.

    python -m sflow_jax.sample --workdir RUN --input FOLDER --output OUT [--num_variants 4] [--grid]
    python -m sflow_jax.sample --workdir RUN --input FOLDER --output OUT --video [--fps 15] [--grid]

FOLDER holds `label/NAME.png` and `cg/NAME.png` or `image/NAME.png`, or is a tree of such folders,
which OUT mirrors. Several variants of each frame go to OUT/variant_00, OUT/variant_01, ...
OUT/sampling.json records what the results were made of; the same command continues with the frames
that are missing, or older than their input.

With --video each such folder is a clip of consecutive frames, numbered at the end of their names.
It becomes frames/000000.png, frames/000001.png, ... and video.mp4 in the place that the mirrored
folder has in OUT or OUT/variant_00, OUT/variant_01, ...; --grid adds comparison.mp4.

With --distributed several processes share the frames; OUT must be a folder that all of them see.
"""

from absl import flags

from sflow_jax import cli, compilation_cache, sharding
from sflow_jax.data import input_frames
from sflow_jax.errors import InputError, writing_to
from sflow_jax.files import named_path
from sflow_jax.inference import warn_of_sizes
from sflow_jax.option_rules import LARGEST_SEED
from sflow_jax.pictures import write_png
from sflow_jax.sampling.clips import COMPARISON_FILE, encode_missing
from sflow_jax.sampling.comparison import draw_grid
from sflow_jax.sampling.job import GRID_FILE, Settings, plan
from sflow_jax.sampling.translation import translate_missing


def main() -> None:
    """Runs the command that the flags describe."""
    settings = _settings()
    compilation_cache.use()
    with writing_to(settings.output):
        sampling = plan(settings)
        warn_of_sizes(sampling.model, sampling.batch_sizes)
        translate_missing(sampling)
        sharding.wait_for_hosts("translated")  # a video or sheet shows frames of all
        if settings.video:
            encode_missing(sampling)
        elif settings.grid and sharding.is_first_host():
            write_png(settings.output / GRID_FILE, draw_grid(sampling))
    clips = f" in {len(sampling.clips)} clips" if settings.video else ""
    variants = f", {settings.num_variants} variants each" if settings.num_variants > 1 else ""
    print(f"{settings.output}: {len(sampling.frames)} frames{clips}{variants}")


def _settings() -> Settings:
    options = flags.FLAGS
    if options.fps is not None and not options.video:
        raise InputError(f"--fps: found {options.fps:g} without --video, expected both or neither")
    return Settings(
        workdir=named_path("--workdir", options.workdir),
        input=named_path("--input", options.input),
        output=named_path("--output", options.output),
        num_variants=options.num_variants,
        seed=options.seed,
        edges=options.edges,
        step=options.step,
        limit=options.limit,
        batch_size=options.batch_size,
        grid=options.grid,
        video=options.video,
        fps=Settings.fps if options.fps is None else options.fps,
        frame_step=options.frame_step,
    )


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run; required.")
    flags.DEFINE_string("input", None, "Folder of the frames to translate; required.")
    flags.DEFINE_string("output", None, "Folder for the results; required.")
    flags.DEFINE_integer(
        "num_variants", 1, "Versions of every frame.", lower_bound=1, upper_bound=1000
    )
    flags.DEFINE_integer(
        "seed",
        None,
        "Draws DNED's ensemble weights; equal ones for one variant without a seed. Colors do "
        "not depend on it.",
        lower_bound=0,
        upper_bound=LARGEST_SEED,
    )
    sources = ("auto", *input_frames.EDGE_SOURCES)
    flags.DEFINE_enum("edges", "auto", sources, "Where edges come from; auto: cg, else image.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer(
        "limit",
        None,
        "Translate only the first N frames; with --video, of each clip.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "batch_size", None, "Frames at once; by default about a megapixel.",
        lower_bound=1, upper_bound=4096,
    )  # fmt: skip
    flags.DEFINE_bool(
        "grid", False,
        f"Also show results next to their input: {GRID_FILE}, with --video {COMPARISON_FILE}.",
    )  # fmt: skip
    flags.DEFINE_bool("video", False, "Frames are clips: number the results and make videos.")
    cli.define_distributed_flags()
    flags.DEFINE_float(
        "fps", None, f"Frames per second of the videos; {Settings.fps:g} by default."
    )
    flags.DEFINE_integer(
        "frame_step",
        None,
        "From the number of a clip's frame to the next one's; 0 takes frames in the order of their "
        "names, such as time stamps. By default that of the run's data.",
        lower_bound=0,
    )
    flags.mark_flags_as_required(["workdir", "input", "output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
