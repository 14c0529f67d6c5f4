"""Compares methods: trains each on the same data, scores all alike, and writes a report.

    python -m sflow_jax.compare --workdir DIR --seeds 3 --minutes 30 --configs LIST
    python -m sflow_jax.compare --workdir DIR --runs sflow=runs/a --runs pix2pix=runs/b

LIST has an entry for each method, such as
sflow=configs/streets.py,configs/baselines/pix2pix.py:streets: a config file, with its variant after
a colon, and before it, with '=', the name in the report. --seeds runs of each are trained in
DIR/runs. --runs takes runs that are finished, one for each seed. With --minutes all methods train
for that time, each with the number of steps that fit in. The same command continues where it was
interrupted.

--dataset names a prepared dataset that scores all runs. Some may then have learned from images and
others from pairs or clips; of a dataset of clips the report shows these side by side. --also
downstream, --also diversity and --also edges add what `evaluate` finds with these options.

It writes report.html, one file with all pictures, and report.md.
"""

import pathlib
import platform
import shlex
import subprocess
import sys

import jax
from absl import flags

from sflow_jax import cli, compilation_cache, report
from sflow_jax.comparison import (
    budget,
    costs,
    execution,
    further_tables,
    pictures,
    plan,
    results,
    tables,
)
from sflow_jax.data.images import encode_png
from sflow_jax.errors import InputError, writing_to
from sflow_jax.evaluation import diversity
from sflow_jax.files import named_path
from sflow_jax.pretrained.weights import what_is_missing

_MOST_MINUTES = 525_600
_FPS = 8  # of the report's clips: slow enough to compare
_FURTHER_TABLES = {
    "downstream": further_tables.downstream_table,
    "diversity": further_tables.diversity_table,
}


_CAPTIONS = {
    "downstream": "Scenes that segmenters were trained on, and real frames: {}.",
    "diversity": "Variants of test scenes: {}.",
    "edges": "Other edges than its own, DNED's side outputs among them: {}.",
}


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    workdir = named_path("--workdir", options.workdir)
    runs = _plan(options, workdir)
    compilation_cache.use()
    with writing_to(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, list[dict]]] = {
        kind: {} for kind in (execution.SCORES, *options.also)
    }
    for index, run in enumerate(runs, 1):
        title = f"[{index}/{len(runs)}] {run.workdir.name}"
        execution.train(run, title)
        for kind, by_name in records.items():
            if kind == "edges" and not plan.sees_edges(run):
                continue
            record = execution.evaluate(run, workdir, _evaluate_options(options, kind), title, kind)
            by_name.setdefault(run.name, []).append(record)
    scores = records.pop(execution.SCORES)
    methods = [results.collect(name, found) for name, found in scores.items()]
    with writing_to(workdir):
        report.write_report(workdir, _report(runs, methods, records, options, workdir))
    print(f"\n{workdir}: {report.HTML_FILE}, {report.MARKDOWN_FILE}")


def _plan(options: flags.FlagValues, workdir: pathlib.Path) -> list[plan.Run]:
    trainings = plan.plan_trainings(
        options.configs or (), workdir, options.seeds, options.override or ()
    )
    finished = plan.plan_finished(options.runs or ())
    plan.check_comparable([*trainings, *finished], _dataset(options))
    # The distance of variants is by HED's weights: found absent before any work.
    if "diversity" in options.also and (missing := what_is_missing("hed")):
        raise InputError(missing)
    if options.minutes is not None and not options.minutes <= _MOST_MINUTES:  # nor if it is nan
        raise InputError(
            f"--minutes: found {options.minutes:g}, expected 0.01 to {_MOST_MINUTES:,}, a year"
        )
    if options.minutes and trainings:
        with writing_to(workdir):
            trainings = budget.with_equal_time(trainings, workdir, options.minutes)
    return [*trainings, *finished]


def _dataset(options: flags.FlagValues) -> pathlib.Path | None:
    return None if options.dataset is None else named_path("--dataset", options.dataset)


def _evaluate_options(options: flags.FlagValues, kind: str) -> list[str]:
    found = []
    for name in execution.KINDS[kind].options:
        if (value := getattr(options, name)) is not None:
            found += [f"--{name}", str(value)]
    return found


def _report(
    runs: list[plan.Run],
    methods: list[results.MethodResults],
    further: dict[str, dict[str, list[dict]]],
    options: flags.FlagValues,
    workdir: pathlib.Path,
) -> report.Report:
    first = methods[0].records[0]
    own = {method.name: method.own for method in methods}
    scenes = pictures.collect_scenes(runs, options.split, _dataset(options))
    num_frames = scenes["label"].shape[1]
    sheet = encode_png(pictures.draw_sheet(scenes, num_frames - 1))
    shown = {"scenes": (sheet, "The same test scenes by all methods, first seeds.")}
    if num_frames > 1:
        flows = encode_png(pictures.draw_flows(scenes))
        shown["flows"] = (flows, "The flow from a frame to the next; white stands still.")
    if curves := pictures.draw_curves(methods):
        shown["curves"] = (curves, "How the runs went; a line for each seed.")
    if classes := pictures.draw_classes(results.reference_rows(methods) | own):
        shown["classes"] = (classes, "IoU by class, with the range over seeds.")
    first_runs = plan.first_runs(runs)
    for kind, found in further.items():
        for name, (record, *_) in found.items():
            if kind == "diversity" and not diversity.has_variants(record):
                continue
            folder = execution.folder_of(first_runs[name], workdir, kind)
            picture = (folder / execution.KINDS[kind].picture).read_bytes()
            shown[f"{kind}_{first_runs[name].workdir.name}"] = (
                picture,
                _CAPTIONS[kind].format(name),
            )
    by_name = {
        method.name: costs.measure(
            first_runs[method.name], method, options.split, _dataset(options)
        )
        for method in methods
    }
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind} ({platform.machine()})"
    shown_tables = [
        tables.score_table(methods),
        tables.ordering_table(methods),
        tables.class_table(methods),
        *(make(further[kind]) for kind, make in _FURTHER_TABLES.items() if further.get(kind)),
        tables.cost_table(by_name, device),
    ]
    return report.Report(
        title=f"{', '.join(own)} on {first['config']['data']['dataset']}",
        notes=_notes(methods, options),
        tables=[table for table in shown_tables if table is not None],
        pictures=shown,
        plots=("curves", "classes"),
        clips=pictures.encode_clips(scenes, _FPS) if num_frames > 2 else None,
        missing=first["missing"],
        commands=_commands(runs),
    )


def _notes(methods: list[results.MethodResults], options: flags.FlagValues) -> list[str]:
    first = methods[0].records[0]
    notes = [
        f"{first['num_examples']} examples of the split {first['split']!r}; segmentation scores "
        f"are by {first['segmenter'] or 'nobody: there is no segmenter for these data'}.",
    ]
    if options.minutes:
        notes.append(f"Every run was trained for {options.minutes:g} minutes of steps.")
    return notes


def _commands(runs: list[plan.Run]) -> list[str]:
    lines = [
        f"# commit {_commit()}",
        shlex.join(["python", "-m", "sflow_jax.compare", *sys.argv[1:]]),
    ]
    for run in runs:
        if run.config_file:
            lines.append(shlex.join(["python", "-m", "sflow_jax.main", *run.arguments]))
    return lines


def _commit() -> str:
    """Of the checkout that the package is in; 'unknown' for an installed one."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the comparison; required.", required=True)
    flags.DEFINE_list("configs", None, "Configs to train: [NAME=]FILE.py[:VARIANT], ...")
    flags.DEFINE_multi_string("runs", None, "NAME=WORKDIR of a finished run; once for every seed.")
    flags.DEFINE_integer("seeds", 3, "Runs of each config.", lower_bound=1, upper_bound=1000)
    flags.DEFINE_float("minutes", None, "Time of each training, the same for all methods.", 0.01)
    flags.DEFINE_multi_string(
        "override", None, "An option for all configs, such as data.source=DIR."
    )
    flags.DEFINE_string("split", None, "Split that scores; by default test.")
    flags.DEFINE_integer("limit", None, "Score only the first N examples.", lower_bound=1)
    flags.DEFINE_string("segmenter", None, "As evaluate's --segmenter.")
    flags.DEFINE_string(
        "dataset", None, "Prepared dataset that scores all, such as clips; default: the runs' own."
    )
    flags.DEFINE_multi_enum(
        "also", [], list(_CAPTIONS), "What else is asked of evaluate for each run; may be repeated."
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
