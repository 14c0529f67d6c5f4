"""Translation with a trained generator: what sampling and evaluation share."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from sflow_jax import configuration, sharding
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.methods import create_method
from sflow_jax.methods.base import Method, Params
from sflow_jax.runs.checkpoints import restore_parts
from sflow_jax.runs.record import RunRecord

_PIXELS_PER_BATCH = 2**20  # full-width networks then need a few GiB
_MOST_PER_BATCH = 8


class Translator:
    """A method's translation, compiled once for all parameters of its networks."""

    def __init__(self, method: Method, jit: Callable[[Callable], Callable] = jax.jit) -> None:
        """Compiles nothing yet.

        Args:
            method: whose `translate` it is.
            jit: compiles; tests have a faster one.
        """
        self.translate = jit(method.translate)
        # The compiler drops the generator, as nobody asks for its image.
        self.edge_map = jit(lambda *args, **kwargs: method.translate(*args, **kwargs)["edge_map"])


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A run's averaged networks, ready to translate.

    Attributes:
        config: of the run.
        class_table: the meaning of its label maps.
        method: its networks and rules.
        translator: of the method.
        params: averaged, of the generator's player.
        step: of the checkpoint.
        dned_share: share of DNED's edges in the edge maps that the generator knows at this step: 1
            at the end of a run, 0 in its first stage.
        dataset: folder of the prepared dataset that it was trained on.
    """

    config: ml_collections.ConfigDict
    class_table: ClassTable
    method: Method
    translator: Translator
    params: Params
    step: int
    dned_share: float
    dataset: str

    @property
    def sees_dned(self) -> bool:
        """Whether DNED's edges reach the generator, so that ensemble weights make a difference."""
        return self.config.generator.edges == "dned" and self.dned_share > 0

    def translate(
        self,
        label: np.ndarray,
        edge_image: np.ndarray,
        weights: np.ndarray | None = None,
        share: float | None = None,
    ) -> dict[str, jax.Array]:
        """Translates a batch as `Method.translate` does; returns before the devices are done.

        All local devices share the work, if B can be divided by their number.

        Args:
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3] whose edges guide the generator.
            weights: ensemble weights [6]; those of training by default.
            share: of DNED's edges; that of the checkpoint by default.
        """
        share = self.dned_share if share is None else share
        return self._run(self.translator.translate, label, edge_image, weights, share)

    def edge_map(self, label: np.ndarray, edge_image: np.ndarray, weights: np.ndarray) -> jax.Array:
        """What `translate` gives as `edge_map`, without the generator's work."""
        return self._run(self.translator.edge_map, label, edge_image, weights, self.dned_share)

    def at_step(self, step: int, params: Params) -> "TrainedModel":
        """The same run later on; what is compiled for one is compiled for both."""
        share = self.method.controls(step)["share"]
        return dataclasses.replace(self, params=params, step=step, dned_share=share)

    def _run(
        self, function: Callable, label: np.ndarray, edge_image: np.ndarray, *controls: Any
    ) -> Any:
        params = self._variables.matching(len(label))
        return function(params, *sharding.spread((label, edge_image)), *controls)

    @functools.cached_property
    def _variables(self) -> sharding.PlacedVariables:
        return sharding.PlacedVariables(self.params)


def create_model(
    config: ml_collections.ConfigDict, class_table: ClassTable, method: Method, dataset: str
) -> TrainedModel:
    """A model of a run that has no parameters yet; `TrainedModel.at_step` has some."""
    return TrainedModel(config, class_table, method, Translator(method), {}, 0, 0.0, dataset)


def restore_model(workdir: pathlib.Path, step: int | None = None) -> TrainedModel:
    """Restores what sampling and evaluation need from a run.

    Args:
        workdir: the folder of the run.
        step: which checkpoint; the newest by default.

    Raises:
        InputError: there is no run, or no (such) checkpoint, or it is damaged.
    """
    config = configuration.load_config(workdir)
    class_table = ClassTable.from_json(workdir / CLASSES_FILE)
    record = RunRecord.load(workdir)
    method = create_method(config, class_table.num_classes, record.schedule)
    shapes, _ = jax.eval_shape(method.init, jax.random.key(config.seed))
    parts, step = restore_parts(workdir, {"ema_params": shapes}, step)
    model = create_model(config, class_table, method, record.dataset)
    return model.at_step(step, parts["ema_params"])


def batch_size_for(height: int, width: int) -> int:
    """Frames per batch that hosts and devices can bear: 8 or a megapixel for each local device."""
    per_device = max(1, min(_MOST_PER_BATCH, _PIXELS_PER_BATCH // (height * width)))
    return jax.local_device_count() * per_device
