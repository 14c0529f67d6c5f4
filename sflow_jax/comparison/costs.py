"""What a method costs: parameters, operations, and the time of a step and of a picture."""

import dataclasses
import pathlib
import statistics

import jax
import numpy as np

from sflow_jax.comparison.plan import Run
from sflow_jax.comparison.results import MethodResults
from sflow_jax.evaluation.evaluation import Choice, Evaluation, set_up_evaluation
from sflow_jax.training.cost import network_flops, time_calls

_NUM_CALLS = 10


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one method.

    Attributes:
        parameters: by network of the generator's player.
        gflop: of one picture by the networks that use needs.
        steps: optimization steps of a run.
        images_per_second: in training, the median over its log.
        frame_ms: milliseconds to translate one frame by itself, the median.
    """

    parameters: dict[str, int]
    gflop: float
    steps: int
    images_per_second: float
    frame_ms: float


def measure(
    run: Run, results: MethodResults, split: str | None, dataset: pathlib.Path | None
) -> Cost:
    """The costs of a finished run, its translation timed on this machine."""
    choice = Choice(metrics=())
    evaluation = set_up_evaluation(run.workdir, split, choice=choice, dataset_directory=dataset)
    model, schema = evaluation.model, evaluation.dataset.schema
    flops = network_flops(model.method, (schema.height, schema.width))
    used = [count for name, count in flops.items() if name in model.method.networks]
    rates = [line["images_per_second"] for line in results.curves[0] if "images_per_second" in line]
    return Cost(
        {
            name: sum(leaf.size for leaf in jax.tree.leaves(params))
            for name, params in model.params.items()
        },
        sum(used) / 1e9,
        model.step,
        statistics.median(rates) if rates else float("nan"),
        _frame_ms(evaluation),
    )


def _frame_ms(evaluation: Evaluation) -> float:
    example = evaluation.dataset.source(evaluation.split)[0]
    batch = {
        key: [value] if isinstance(value, str) else value[None, :1]
        for key, value in example.items()
        if key in ("name", "label", "image", "cg", "instance")
    }
    draw = evaluation.rows[evaluation.model_row]
    return 1e3 * float(np.median(time_calls(lambda: draw(batch), _NUM_CALLS)))
