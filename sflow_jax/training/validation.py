"""Scores of the averaged generator on the validation split while it is trained."""

import math
from collections.abc import Mapping, Sequence

import ml_collections

from sflow_jax import sharding
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import (
    Choice,
    assemble,
    distances_among,
    results,
    update,
)
from sflow_jax.evaluation.rows import ORACLE
from sflow_jax.inference import create_model
from sflow_jax.methods.base import Method
from sflow_jax.metrics.picture_scores import Result, Score
from sflow_jax.prepare import PreparedDataset
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.state import TrainState

_SPLIT = "validation"


def check_choice(config: ml_collections.ConfigDict) -> None:
    """Checks what needs no dataset: that the metrics which are named can be computed.

    Raises:
        InputError: a metric is unknown, its weights are absent, or it is for other data.
    """
    if config.eval.every_steps:
        _choice(config).check(config.data.dataset, "config.eval.metrics")


def _choice(config: ml_collections.ConfigDict) -> Choice:
    names = [name.strip() for name in config.eval.metrics.split(",")]
    return Choice(names if config.eval.metrics else None)


class Validation:
    """`evaluate` for a run that goes on.

    Networks are loaded and compiled, and the real images scored, once for all evaluations. No
    random number of the training is drawn and the dataset is read by itself, so that a run with
    evaluations and one without are the same run. Several processes share the examples, and have
    the same scores.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        method: Method,
        schedule: Schedule,
        config: ml_collections.ConfigDict,
    ) -> None:
        """Loads the networks that score, and says what cannot be computed.

        Raises:
            InputError: one of them cannot be used, or there are no validation examples.
        """
        if not dataset.num_examples.get(_SPLIT):
            found = ", ".join(name for name, count in dataset.num_examples.items() if count)
            raise InputError(
                f"{dataset.directory}: found examples for {found}, expected some for {_SPLIT} "
                f"as config.eval.every_steps is {config.eval.every_steps}"
            )
        model = create_model(config, dataset.class_table, method, str(dataset.directory))
        self._schedule, self._options = schedule, config.eval
        self._evaluation = assemble(
            model, dataset, _SPLIT, _choice(config), self._options.num_examples
        )
        self._real = distances_among(
            self._evaluation.create_scores(limit=self._options.num_examples)
        )
        self._has_seen_real = not self._real
        for line in self._evaluation.missing:
            print(f"eval: {line}")

    def is_due(self, step: int) -> bool:
        """Whether a step is to be evaluated: every so many, and the last."""
        return step % self._options.every_steps == 0 or step == self._schedule.num_steps

    def score(self, state: TrainState) -> dict[str, float]:
        """Scores the averaged generator as it is meant to be used at this step.

        Returns:
            The model's row of the table by name, `eval/...`; what is not defined is left out.
        """
        step = int(state.step)
        # The state lies on every device, and each would do the same work.
        params = sharding.on_first_device(state.ema_params)
        evaluation = self._evaluation.of(self._evaluation.model.at_step(step, params))
        row = evaluation.create_scores(self._real)
        scores: dict[str, Sequence[Score]] = {evaluation.model_row: row}
        if not self._has_seen_real:
            scores[ORACLE] = self._real
        update(evaluation, scores, self._options.num_examples)
        self._has_seen_real = True
        return {f"eval/{name}": number for name, number in _flatten(results(row)).items()}


def _flatten(result: Result) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in result.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        numbers |= {f"{name}/{part}".rstrip("/"): number for part, number in parts}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}
