"""Translation with a trained generator: what sampling and evaluation share."""

import contextlib
import dataclasses
import functools
import io
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from sflow_jax import configuration, sharding
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.data.prepared import open_dataset
from sflow_jax.errors import InputError, reading_from
from sflow_jax.files import require_stored_archive, write_whole
from sflow_jax.methods import create_method, method_class
from sflow_jax.methods.base import Method, Params
from sflow_jax.runs.checkpoints import restore_parts
from sflow_jax.runs.palettes import load_palettes
from sflow_jax.runs.record import RunRecord

_LEARNED_FOLDER = "learned"
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
        self.edge_map = jit(
            lambda *args, **kwargs: method.translate(*args, **kwargs).get("edge_map")
        )


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
        controls: the arguments of `Method.translate` with which it works as trained at this step.
        dataset: folder of the prepared dataset that it was trained on; '' where it is unknown.
    """

    config: ml_collections.ConfigDict
    class_table: ClassTable
    method: Method
    translator: Translator
    params: Params
    step: int
    controls: Mapping[str, Any]
    dataset: str

    def translate(
        self, label: np.ndarray, edge_image: np.ndarray, **changes: Any
    ) -> dict[str, jax.Array]:
        """Translates a batch as `Method.translate` does; returns before the devices are done.

        All local devices share the work, if B can be divided by their number.

        Args:
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3] whose edges guide the generator.
            **changes: what is to differ from `controls`; S-Flow GAN takes the ensemble weights
                `weights`, [6], the `share` of DNED's edges, another detector's `edge_map` and the
                `style`, a palette for all or for each frame; `Method.styles` gives those of
                sampling and evaluation.
        """
        return self._run(self.translator.translate, label, edge_image, changes)

    def edge_map(
        self, label: np.ndarray, edge_image: np.ndarray, **changes: Any
    ) -> jax.Array | None:
        """What `translate` gives as `edge_map`, if it does, without the generator's work."""
        return self._run(self.translator.edge_map, label, edge_image, changes)

    def at_step(self, step: int, params: Params) -> "TrainedModel":
        """The same run later on; what is compiled for one is compiled for both."""
        controls = self.method.controls(step)
        return dataclasses.replace(self, params=params, step=step, controls=controls)

    def _run(
        self,
        function: Callable,
        label: np.ndarray,
        edge_image: np.ndarray,
        changes: Mapping[str, Any],
    ) -> Any:
        params = self._variables.matching(len(label))
        frames = sharding.spread((label, edge_image))
        return function(params, *frames, **{**self.controls, **changes})

    @functools.cached_property
    def _variables(self) -> sharding.PlacedVariables:
        return sharding.PlacedVariables(self.params)


def create_model(
    config: ml_collections.ConfigDict, class_table: ClassTable, method: Method, dataset: str
) -> TrainedModel:
    """A model of a run that has no parameters yet; `TrainedModel.at_step` has some."""
    translator, controls = Translator(method), method.controls(0)
    return TrainedModel(config, class_table, method, translator, {}, 0, controls, dataset)


def restore_model(
    workdir: pathlib.Path, step: int | None = None, changes: Mapping[str, Any] | None = None
) -> TrainedModel:
    """Restores what sampling and evaluation need from a run.

    Args:
        workdir: the folder of the run.
        step: which checkpoint; the newest by default.
        changes: options of which use should differ from training, such as `edges.quantile`.

    Raises:
        InputError: there is no run, or no (such) checkpoint, or it is damaged.
    """
    config = configuration.load_config(workdir)
    config.update_from_flattened_dict(changes or {})
    class_table = ClassTable.from_json(workdir / CLASSES_FILE)
    record = RunRecord.load(workdir)
    configuration.check_unedited(workdir, record.config)
    wants_palettes = method_class(config).wants_palettes(config)
    palettes = load_palettes(workdir, class_table.num_classes) if wants_palettes else None
    method = create_method(config, class_table, record.schedule, palettes=palettes)
    shapes, _ = jax.eval_shape(method.init, jax.random.key(config.seed))
    parts, step = restore_parts(workdir, {"ema_params": shapes}, step)
    params = parts["ema_params"]
    method = _with_learned(method, params, workdir, step, record.dataset)
    return create_model(config, class_table, method, record.dataset).at_step(step, params)


def _with_learned(
    method: Method, params: Params, workdir: pathlib.Path, step: int, dataset: str
) -> Method:
    """The method in use at a checkpoint, with what that needs of the training images.

    It depends on trained networks, so it is made at the first use of a checkpoint, not in training,
    and kept in the run's folder.

    Args:
        method: of the run.
        params: averaged, of the checkpoint.
        workdir: the folder of the run.
        step: of the checkpoint.
        dataset: folder of the prepared dataset that it was trained on.

    Raises:
        InputError: nothing is kept yet, and the dataset is gone.
    """
    if not method.learns_use:
        return method
    path = workdir / _LEARNED_FOLDER / f"{step}.npz"
    if not path.is_file():
        if not pathlib.Path(dataset).is_dir():
            raise InputError(
                f"{dataset}: not found, expected the prepared dataset of {workdir}, whose training "
                "images the first use of a checkpoint needs"
            )
        learned = method.learn_use(params, open_dataset(pathlib.Path(dataset)).source("train"))
        buffer = io.BytesIO()
        np.savez(buffer, *learned)
        with contextlib.suppress(OSError):  # a run of somebody else is used without keeping
            write_whole(path, buffer.getvalue())
        return method.with_learned(learned)
    with reading_from(path, "what the first use of this checkpoint wrote"):
        require_stored_archive(path)
        arrays = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        return method.with_learned([arrays[name] for name in arrays.files])


def batch_size_for(height: int, width: int) -> int:
    """Frames per batch that hosts and devices can bear: 8 or a megapixel for each local device."""
    per_device = max(1, min(_MOST_PER_BATCH, _PIXELS_PER_BATCH // (height * width)))
    return jax.local_device_count() * per_device


def warn_of_sizes(model: TrainedModel, sizes: Iterable[tuple[int, int]]) -> None:
    """Prints a note if frames of (height, width) are not of the size of training."""
    data = model.config.data
    other = [size for size in sizes if size != (data.height, data.width)]
    if other and data.height:
        height, width = other[0]
        print(
            f"note: found frames of {width}x{height}, trained at {data.width}x{data.height}: "
            "results are best at the size of training",
            file=sys.stderr,
        )
