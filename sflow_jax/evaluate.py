"""Scores a trained generator on a split of its dataset, or compares two folders of any pictures.

    python -m sflow_jax.evaluate --workdir RUN [--split SPLIT] [--metrics NAMES] [--output DIR]
    python -m sflow_jax.evaluate --workdir RUN --downstream [--num_seeds N] [--output DIR]
        [--scenes DATASET [--class_map FILE]] [--networks unet,pspnet] [--num_steps N]
    python -m sflow_jax.evaluate --workdir RUN --diversity [--num_variants N] [--limit N]
    python -m sflow_jax.evaluate --workdir RUN --edges [--limit N]
    python -m sflow_jax.evaluate --real FOLDER --fake FOLDER [--protocol NAME] [--output DIR]
    python -m sflow_jax.evaluate --real FOLDER --fake FOLDER --videos [--clip_frames N] ...

With --workdir every score has a row for the real images (oracle), for the model, for the same
generator given plain Laplacian edges or none, and for the CG frames where there are any. What is
scored is what sampling would write to a PNG. It writes metrics.json, scores.txt and examples.png.
FID, KID, precision and recall, the distance frechet_streets and a segmenter's scores are computed
where their weights are there; the table says which are missing and how to get them.

With --downstream it answers what generated frames are for: it trains segmenters on the simulator's
frames (source-only), on their translations (translated), on these with the simulator's or with real
frames, and on real frames (oracle), and scores each on the real frames of the split. The scenes are
those of the run's training split, or with --scenes those of another prepared dataset, whose classes
--class_map translates. It writes downstream.json, downstream.txt and downstream.png; after an
interruption the same command continues.

With --diversity it compares variants of every scene, in edges and in colors: how much they differ,
beside different real images, and what that costs in agreement with the labels. It writes
diversity.json, diversity.txt and diversity.png.

With --edges it gives the generator other edges than its own: each member of DNED's ensemble, the
Laplacian's, Canny's and none. It writes edge_sources.json, edge_sources.txt and edge_sources.png.

With --real and --fake, two folders of images, it writes FID, KID, precision and recall to
metrics.json and scores.txt. With --videos too, the folders hold videos: video files, and
folders of frames that are numbered at the end of their names, such as `sample --video` writes; it
then writes FVD. FID needs the published weights of Inception-v3, FVD those of I3D; without them
nothing is computed, and the command that gets them is printed.
"""

import pathlib

from absl import flags

from sflow_jax import cli, compilation_cache, sharding
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError, writing_to
from sflow_jax.evaluation import (
    diversity,
    downstream,
    downstream_report,
    edge_sources,
    folders,
    image_folders,
    scenes,
    video_folders,
)
from sflow_jax.evaluation.evaluation import METRICS, Choice, score, set_up_evaluation
from sflow_jax.evaluation.examples import draw_examples
from sflow_jax.evaluation.report import (
    EXAMPLES_FILE,
    SCORES_FILE,
    SCORES_TABLE_FILE,
    describe_evaluation,
    summarize,
    write_evaluation,
)
from sflow_jax.evaluation.segmenters import PUBLISHED
from sflow_jax.files import named_path
from sflow_jax.metrics import fid, fvd
from sflow_jax.metrics.inception_input import PROTOCOLS
from sflow_jax.metrics.score_table import format_table
from sflow_jax.pretrained import i3d

# What a run is asked, beside its scores, and the flags that belong to the question alone.
_QUESTIONS = {
    "downstream": ("num_steps", "num_seeds", "scenes", "class_map", "networks"),
    "diversity": ("num_variants",),
    "edges": (),
}
# The flags that a question does not go with.
_REFUSED = {
    "downstream": (
        "diversity",
        "edges",
        "limit",
        "metrics",
        "segmenter",
        "multi_scale",
        "protocol",
        "distributed",
    ),
    "diversity": ("edges", "metrics", "protocol", "distributed"),
    "edges": ("distributed",),
}
# The flags that folders do not go with.
RUN_ONLY = (
    "workdir",
    "dataset",
    "split",
    "step",
    "limit",
    "metrics",
    "segmenter",
    "multi_scale",
    *(name for question, own in _QUESTIONS.items() for name in (question, *own)),
)
FOLDERS_ONLY = ("videos", "clip_frames", "frame_step")
_NUM_STEPS, _NUM_SEEDS = 1500, 3
_MOST_STEPS = 2**31 - 1


def main() -> None:
    """Runs the command that the flags describe."""
    of_folders = asks_for_folders(flags.FLAGS)
    compilation_cache.use()
    if of_folders:
        _score_folders(flags.FLAGS)
    elif flags.FLAGS.edges:
        _compare_edges(flags.FLAGS)
    elif flags.FLAGS.diversity:
        _measure_diversity(flags.FLAGS)
    elif flags.FLAGS.downstream:
        _score_downstream(flags.FLAGS)
    else:
        _score_run(flags.FLAGS)


def asks_for_folders(options: flags.FlagValues) -> bool:
    """Whether two folders are to be compared, not a run to be scored.

    Raises:
        InputError: the flags ask for neither, for both or for half of one.
    """
    if options.real is None and options.fake is None:
        if options.workdir is None:
            raise InputError(
                "command line: found no --workdir, expected it, or --real and --fake together"
            )
        for name in FOLDERS_ONLY:
            if getattr(options, name) is not None:
                raise InputError(f"command line: found --{name}, expected --real and --fake too")
        for question, own in _QUESTIONS.items():
            asked = getattr(options, question)
            for name in _REFUSED[question] if asked else own:
                if getattr(options, name) not in (None, False):
                    place = "beside" if asked else "without"
                    raise InputError(f"command line: found --{name} {place} --{question}")
        return False
    for name, other in (("real", "fake"), ("fake", "real")):
        if getattr(options, name) is None:
            raise InputError(f"command line: found --{other} alone, expected --{name} beside it")
    for name in RUN_ONLY:
        if getattr(options, name) is not None:
            raise InputError(
                f"command line: found --{name} beside --real and --fake, expected it without them"
            )
    if options.clip_frames and not options.videos:
        raise InputError("command line: found --clip_frames, expected --videos beside it")
    if options.frame_step is not None and not options.videos:
        raise InputError("command line: found --frame_step, expected --videos beside it")
    if options.videos and options.protocol:
        raise InputError("command line: found --protocol beside --videos, expected it for images")
    return True


def _score_folders(options: flags.FlagValues) -> None:
    output = _named(options, "output") or pathlib.Path("scores")
    real, fake = _named(options, "real"), _named(options, "fake")
    assert real
    assert fake
    if options.videos:
        record = video_folders.compare_videos(
            real,
            fake,
            options.clip_frames or fvd.CLIP_FRAMES,
            frame_step=1 if options.frame_step is None else options.frame_step,
        )
        report = video_folders.format_video_report(record)
    else:
        record = image_folders.compare_images(real, fake, options.protocol or fid.DEFAULT_PROTOCOL)
        report = image_folders.format_image_report(record)
    if not sharding.is_first_host():
        return  # all have the same results
    folders.write_scores(output, record, report)
    print(f"\n{report}\n{output}: {SCORES_FILE}, {SCORES_TABLE_FILE}")


def _places(options: flags.FlagValues) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path | None]:
    """The folders of the run, of the results and of another dataset than the run's."""
    workdir = _named(options, "workdir")
    assert workdir
    return workdir, _named(options, "output") or workdir / "scores", _named(options, "dataset")


def _named(options: flags.FlagValues, name: str) -> pathlib.Path | None:
    """The path that a flag names, if it is given."""
    value = getattr(options, name)
    return None if value is None else named_path(f"--{name}", value)


def _choice(options: flags.FlagValues) -> Choice:
    """What is computed with which networks."""
    protocol = options.protocol or fid.DEFAULT_PROTOCOL
    return Choice(options.metrics, protocol, options.segmenter, bool(options.multi_scale))


def _score_run(options: flags.FlagValues) -> None:
    workdir, output, dataset = _places(options)
    choice = _choice(options)
    evaluation = set_up_evaluation(
        workdir, options.split, options.step, dataset, choice, options.limit
    )
    num_examples, results = score(evaluation, options.limit)
    if not sharding.is_first_host():
        return  # all have the same results
    summary, sentence = summarize(evaluation, results)
    notes = describe_evaluation(evaluation, num_examples)
    report = "\n".join([*notes, "", format_table(results), "", sentence]).rstrip() + "\n"
    model = evaluation.model
    record = {
        "workdir": str(workdir.absolute()),
        "checkpoint_step": model.step,
        "dataset": str(evaluation.dataset.directory.absolute()),
        "split": evaluation.split,
        "num_examples": num_examples,
        "edges": evaluation.edge_key,
        "controls": dict(model.controls),
        "seed": model.config.seed,
        "model_row": evaluation.model_row,
        "protocol": choice.protocol,
        "segmenter": evaluation.segmenter.title if evaluation.segmenter else None,
        "missing": list(evaluation.missing),
        **summary,
        "rows": results,
        "config": model.config.to_dict(),
    }
    write_evaluation(output, record, report, draw_examples(evaluation, options.limit))
    print(f"\n{report}\n{output}: {SCORES_FILE}, {SCORES_TABLE_FILE}, {EXAMPLES_FILE}")


def _score_downstream(options: flags.FlagValues) -> None:
    workdir, output, dataset = _places(options)
    nothing = Choice(metrics=())  # the segmenters are those that it trains
    evaluation = set_up_evaluation(workdir, options.split, options.step, dataset, nothing)
    comparison = downstream.Downstream(
        evaluation,
        _scenes(options, evaluation.dataset),
        output,
        options.num_steps or _NUM_STEPS,
        options.num_seeds or _NUM_SEEDS,
        options.networks or ("unet",),
    )
    record = downstream.train_and_score(comparison)
    with writing_to(output):
        text = downstream_report.write_results(comparison, record)
    print(f"\n{text}\n{output}: {', '.join(downstream_report.FILES)}")


def _measure_diversity(options: flags.FlagValues) -> None:
    workdir, output, dataset = _places(options)
    distance = diversity.load_distance()
    choice = _choice(options)
    evaluation = set_up_evaluation(workdir, options.split, options.step, dataset, choice)
    num_variants = options.num_variants or diversity.NUM_VARIANTS
    record = diversity.measure_diversity(evaluation, distance, num_variants, options.limit)
    with writing_to(output):
        text = diversity.write_diversity(output, evaluation, record, num_variants)
    files = diversity.RESULTS_FILE, diversity.TABLE_FILE, diversity.PICTURE_FILE
    print(f"\n{text}\n{output}: {', '.join(files)}")


def _compare_edges(options: flags.FlagValues) -> None:
    workdir, output, dataset = _places(options)
    choice = _choice(options)
    evaluation = set_up_evaluation(
        workdir, options.split, options.step, dataset, choice, options.limit
    )
    num_examples, results = edge_sources.compare_edges(evaluation, options.limit)
    with writing_to(output):
        text = edge_sources.write_edges(output, evaluation, num_examples, results)
    files = edge_sources.RESULTS_FILE, edge_sources.TABLE_FILE, edge_sources.PICTURE_FILE
    print(f"\n{text}\n{output}: {', '.join(files)}")


def _scenes(options: flags.FlagValues, dataset: PreparedDataset) -> scenes.Scenes:
    class_map = _named(options, "class_map")
    if folder := _named(options, "scenes"):
        return scenes.open_scenes(folder, class_map, dataset)
    if class_map:
        raise InputError("command line: found --class_map, expected --scenes beside it")
    return scenes.own_scenes(dataset)


def _define_flags() -> None:
    _define_run_flags()
    _define_downstream_flags()
    _define_comparison_flags()
    _define_folder_flags()
    flags.DEFINE_enum(
        "protocol",
        None,
        list(PROTOCOLS),
        "Implementation of FID, KID, precision and recall to reproduce, "
        f"{fid.DEFAULT_PROTOCOL} by default.",
    )
    flags.DEFINE_string(
        "output", None, "Folder for the results; by default WORKDIR/scores, or scores without one."
    )
    cli.define_distributed_flags()


def _define_run_flags() -> None:
    flags.DEFINE_string(
        "workdir", None, "Folder of the training run; required without --real and --fake."
    )
    flags.DEFINE_string(
        "dataset", None, "Folder of another prepared dataset; by default that of the run."
    )
    flags.DEFINE_string("split", None, "Split; by default test, or validation without one.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer("limit", None, "Score only the first N examples.", lower_bound=1)
    flags.DEFINE_list(
        "metrics",
        None,
        f"Only these of {', '.join(METRICS)}; by default all whose weights are there.",
    )
    flags.DEFINE_string(
        "segmenter",
        None,
        f"{', '.join(PUBLISHED)} or weights from python -m sflow_jax.train_segmenter; "
        "by default the one for the dataset.",
    )
    flags.DEFINE_boolean(
        "multi_scale", None, "PSPNet sees images at semseg's six sizes: slower, a little better."
    )


def _define_downstream_flags() -> None:
    flags.DEFINE_boolean(
        "downstream", None, "Train segmenters on real, CG and generated frames and compare them."
    )
    flags.DEFINE_string(
        "scenes",
        None,
        "Folder of the prepared dataset whose training scenes are translated, such as a "
        "simulator's for a run on photographs; by default that of the run.",
    )
    flags.DEFINE_string(
        "class_map",
        None,
        "JSON of the run's class by class of --scenes; by default classes keep their names.",
    )
    flags.DEFINE_list(
        "networks",
        None,
        f"Which segmenters are trained, of {', '.join(downstream.NETWORKS)}; by default unet.",
    )
    flags.DEFINE_integer(
        "num_steps",
        None,
        f"Optimization steps of each --downstream training, {_NUM_STEPS} by default.",
        lower_bound=1,
        upper_bound=_MOST_STEPS,
    )
    flags.DEFINE_integer(
        "num_seeds", None, f"--downstream trainings, {_NUM_SEEDS} by default.",
        lower_bound=1, upper_bound=1000,
    )  # fmt: skip


def _define_comparison_flags() -> None:
    flags.DEFINE_boolean("diversity", None, "Compare variants of every scene.")
    flags.DEFINE_integer(
        "num_variants",
        None,
        f"Variants that --diversity compares, {diversity.NUM_VARIANTS} by default.",
        lower_bound=2,
        upper_bound=1000,
    )
    flags.DEFINE_boolean(
        "edges", None, "Give the generator DNED's members, Laplacian, Canny and no edges."
    )


def _define_folder_flags() -> None:
    flags.DEFINE_string("real", None, "Folder of real images, to compare with those in --fake.")
    flags.DEFINE_string("fake", None, "Folder of generated images.")
    flags.DEFINE_boolean("videos", None, "Compare the videos of --real and --fake, by FVD.")
    flags.DEFINE_integer(
        "clip_frames",
        None,
        f"Frames of the clips that --videos cuts, {fvd.CLIP_FRAMES} by default.",
        lower_bound=i3d.MIN_FRAMES,
        upper_bound=100_000,
    )
    flags.DEFINE_integer(
        "frame_step",
        None,
        "From the number of a frame to the next one's in the folders of --videos, 1 by default; 0 "
        "takes frames in the order of their names, such as time stamps.",
        lower_bound=0,
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
