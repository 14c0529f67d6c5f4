"""Scores a trained generator on a split of its dataset.

    python -m sflow_jax.evaluate --workdir RUN [--split SPLIT] [--output DIR]

Every score has a row for the real images (oracle), for the model, for the same generator given
plain Laplacian edges or none, and for the CG frames where there are any. What is scored is what
sampling would write to a PNG. It writes metrics.json, scores.txt and examples.png.
"""

import pathlib

from absl import flags

from sflow_jax import cli
from sflow_jax.evaluation.evaluation import score, set_up
from sflow_jax.evaluation.examples import draw_examples
from sflow_jax.evaluation.report import (
    EXAMPLES_FILE,
    METRICS_FILE,
    TABLE_FILE,
    describe,
    summarise,
    write_results,
)
from sflow_jax.metrics.score_table import format_table


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    workdir = pathlib.Path(options.workdir)
    output = pathlib.Path(options.output) if options.output else workdir / "scores"
    dataset = pathlib.Path(options.dataset) if options.dataset else None
    evaluation = set_up(workdir, options.split, options.step, dataset)
    num_examples, results = score(evaluation, options.limit)
    summary, sentence = summarise(evaluation, results)
    notes = describe(evaluation, num_examples)
    report = "\n".join([*notes, "", format_table(results), "", sentence]) + "\n"
    model = evaluation.model
    record = {
        "workdir": str(workdir.absolute()),
        "checkpoint_step": model.step,
        "dataset": str(evaluation.dataset.directory.absolute()),
        "split": evaluation.split,
        "num_examples": num_examples,
        "edges": evaluation.edge_key,
        "dned_share": model.dned_share,
        "seed": model.config.seed,
        "model_row": evaluation.model_row,
        **summary,
        "rows": results,
        "config": model.config.to_dict(),
    }
    write_results(output, record, report, draw_examples(evaluation, options.limit))
    print(f"\n{report}\n{output}: {METRICS_FILE}, {TABLE_FILE}, {EXAMPLES_FILE}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run.")
    flags.DEFINE_string(
        "dataset", None, "Folder of another prepared dataset; by default that of the run."
    )
    flags.DEFINE_string("split", None, "Split; by default test, or validation without one.")
    flags.DEFINE_string("output", None, "Folder for the results; by default WORKDIR/scores.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_integer("limit", None, "Only the first so many examples.", lower_bound=1)
    flags.mark_flag_as_required("workdir")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
