"""Makes a certified training set of a simulator's output, with a trained generator.

    python -m sflow_jax.translate --workdir RUN --input SIM --output SET
        --format carla --class_map configs/carla_to_cityscapes.json [--video] [--num_variants 4]
    python -m sflow_jax.translate --output SET --verify

SIM holds CG frames and the class ids of their pixels: our own layout, CARLA's or SYNTHIA's. Every
frame is translated; its label map, in the classes of the run, and all that SIM has of it lie beside
it. SET/certificate.jsonl says what each frame was made of, and how far a segmenter finds its labels
in it; --min_agreement sets frames aside. The same command continues after an interruption.

--verify compares all files with the certificate and makes some frames again, bit for bit.
"""

import dataclasses
import pathlib

from absl import flags

from sflow_jax import cli, compilation_cache
from sflow_jax.data.class_map import ClassMap, read_class_map
from sflow_jax.data.folder.builder import SPLITS
from sflow_jax.data.listing import counted
from sflow_jax.errors import InputError, writing_to
from sflow_jax.files import named_path, sha256_of
from sflow_jax.inference import warn_of_sizes
from sflow_jax.option_rules import LARGEST_SEED
from sflow_jax.pictures import write_png
from sflow_jax.runs import lock
from sflow_jax.translation import certificate
from sflow_jax.translation.contact_sheet import SHEET_FILE, draw_sheet
from sflow_jax.translation.edge_density import compare_edges
from sflow_jax.translation.exports import FORMATS
from sflow_jax.translation.job import Settings, Translation, plan
from sflow_jax.translation.production import produce_missing
from sflow_jax.translation.selection import LIST_FILE, set_aside
from sflow_jax.translation.verification import read_recipe, verify

_MOST_PROBLEMS = 20
_ALL = "all"


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    output = named_path("--output", options.output)
    if options.verify:
        _verify(output)
        return
    for name in ("workdir", "input"):
        if getattr(options, name) is None:
            raise InputError(f"--{name}: missing, expected it without --verify")
    settings = _settings()
    compilation_cache.use()
    with writing_to(output):
        make_set(settings, output, options.class_map or "--class_map", options.min_agreement)


def make_set(
    settings: Settings, output: pathlib.Path, origin: str, min_agreement: float | None = None
) -> None:
    """Translates an export, or continues, and prints what a user should know.

    Args:
        settings: what the frames depend on.
        output: the folder of the set.
        origin: of the class map, for messages.
        min_agreement: of frames that stay.

    Raises:
        InputError: something of the user's cannot be used, or another process writes the set.
        OSError: a file of the set cannot be written.
    """
    place = output.resolve()
    # Beside the set, which may be new: what cannot be translated leaves no folder.
    with lock.hold(place.parent, f".{place.name}.lock"):
        translation = plan(settings, output, origin, min_agreement is not None)
        _report(translation)
        lines = produce_missing(translation)
        removed = set_aside(output, lines, min_agreement, settings.video)
        write_png(output / SHEET_FILE, draw_sheet(translation, lines))
        _summarize(output, translation, len(lines), len(removed))


def _settings() -> Settings:
    options = flags.FLAGS
    camera_folders = options.cg_folder, options.label_folder
    if any(camera_folders) and not all(camera_folders):
        raise InputError("--cg_folder, --label_folder: found one of them, expected both or neither")
    return Settings(
        workdir=named_path("--workdir", options.workdir),
        input=named_path("--input", options.input),
        format=options.format,
        camera_folders=camera_folders if all(camera_folders) else None,
        class_map=(
            ClassMap({}, {})
            if options.class_map is None
            else read_class_map(named_path("--class_map", options.class_map))
        ),
        split=options.split,
        num_variants=options.num_variants,
        seed=options.seed,
        step=options.step,
        batch_size=options.batch_size,
        video=options.video,
        frame_step=options.frame_step,
        segmenter=options.segmenter,
        edge_quantile=options.edge_quantile,
    )


def _report(translation: Translation) -> None:
    """What a user should know before hours of translation."""
    export = translation.export
    sequences = {frame.name.rpartition("/")[0] for frame in export.frames}
    print(
        f"{export.format}: {counted(len(export.frames), 'frame')} in "
        f"{counted(len(sequences), 'sequence')}"
    )
    if changed := {a: b for a, b in translation.classes.names.items() if a != b}:
        print("classes: " + ", ".join(f"{source} is {name}" for source, name in changed.items()))
    print(compare_edges(translation.model, translation.frames).describe())
    if not translation.segmenter:
        print("agreement: not measured, as no segmenter is named with --segmenter")
    warn_of_sizes(translation.model, translation.batch_sizes)


def _summarize(
    output: pathlib.Path, translation: Translation, num_pictures: int, num_removed: int
) -> None:
    digest = sha256_of(output / certificate.CERTIFICATE_FILE)
    pictures = counted(num_pictures, "picture")
    print(f"{output}: {pictures}, {num_removed} of them set aside ({LIST_FILE})")
    if translation.segmenter:
        print(f"agreement by {translation.segmenter.title}; look at {output / SHEET_FILE}")
    print(f"SHA-256 of {certificate.CERTIFICATE_FILE}: {digest}")


def _verify(output: pathlib.Path) -> None:
    options = flags.FLAGS
    settings = Settings.from_json(read_recipe(output))
    if options.workdir is not None:
        settings = dataclasses.replace(settings, workdir=named_path("--workdir", options.workdir))
    if options.input is not None:
        settings = dataclasses.replace(settings, input=named_path("--input", options.input))
    found = verify(output, settings, _num_regenerated())
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems[:_MOST_PROBLEMS]:
        print(problem)
    if found.problems:
        raise InputError(
            f"{output}: {counted(len(found.problems), 'difference')} from "
            f"{certificate.CERTIFICATE_FILE}, "
            f"expected none; the first is {found.problems[0]}"
        )
    print(
        f"{output}: {found.num_files} files are as certified, {found.num_regenerated} pictures "
        "made again are equal to the last bit"
    )


def _num_regenerated() -> int | None:
    text = flags.FLAGS.regenerate
    if text == _ALL:
        return None
    if not text.isdecimal():
        raise InputError(f"--regenerate: found {text!r}, expected a number of frames or {_ALL!r}")
    return int(text)


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run.")
    flags.DEFINE_string("input", None, "Folder of the simulator's output.")
    flags.DEFINE_string("output", None, "Folder for the training set; required.")
    flags.DEFINE_enum("format", None, FORMATS, "Whose output it is; found by its folders.")
    flags.DEFINE_string("cg_folder", None, "Name of the folders of CG frames, for CARLA.")
    flags.DEFINE_string("label_folder", None, "Name of the folders of class ids, for CARLA.")
    flags.DEFINE_string(
        "class_map", None, "JSON: the run's classes by the simulator's, such as those in configs/."
    )
    flags.DEFINE_enum("split", SPLITS[0], SPLITS, "Split of the set.")
    flags.DEFINE_integer(
        "num_variants", 1, "Versions of every frame.", lower_bound=1, upper_bound=1000
    )
    flags.DEFINE_integer(
        "seed",
        None,
        "Draws DNED's ensemble weights, as in sample.",
        lower_bound=0,
        upper_bound=LARGEST_SEED,
    )
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer(
        "batch_size", None, "Frames at once; by default about a megapixel.",
        lower_bound=1, upper_bound=4096,
    )  # fmt: skip
    flags.DEFINE_bool("video", False, "Frames of a sequence are a clip and look alike.")
    flags.DEFINE_integer(
        "frame_step",
        None,
        "From the number of a clip's frame to the next one's; 0 takes frames in the order of their "
        "names. By default that of the run's data.",
        lower_bound=0,
    )
    flags.DEFINE_string("segmenter", None, "What measures agreement, as in evaluate.")
    flags.DEFINE_float(
        "min_agreement",
        None,
        "Set frames aside in fewer of whose pixels the segmenter finds the class of the label "
        "map; with --video clips by their mean.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "edge_quantile",
        None,
        "Fixes the share of edges in CG frames, as edges.quantile does.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool("verify", False, "Compare the files of --output with their certificate.")
    flags.DEFINE_string(
        "regenerate", "8", f"With --verify, make at least so many frames again, or {_ALL}."
    )
    flags.mark_flags_as_required(["output"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
