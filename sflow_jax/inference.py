"""Translation with a trained generator: what previews, sampling and evaluation share."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sflow_jax import configuration, devices
from sflow_jax.data.labels import ClassTable
from sflow_jax.models.dned import combine
from sflow_jax.ops.laplacian import laplacian_edges
from sflow_jax.ops.pixels import to_float, to_uint8
from sflow_jax.training.checkpoints import restore_parts
from sflow_jax.training.run_record import RunRecord
from sflow_jax.training.scene import dned_input, generator_inputs
from sflow_jax.training.state import Networks, Params, create_networks, init_params

Translate = Callable[..., dict[str, jax.Array]]

_PIXELS_PER_BATCH = 2**20  # full-width networks then need a few GiB
_MOST_PER_BATCH = 8


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A run's averaged generator and DNED, ready to translate.

    Attributes:
        config: of the run.
        class_table: the meaning of its label maps.
        networks: without parameters.
        params: averaged, `{'generator': ..., 'dned': ...}`.
        step: of the checkpoint.
        dned_share: share of DNED's edges in the edge maps that the generator knows at this step: 1
            at the end of a run, 0 in its first stage.
        dataset: folder of the prepared dataset that it was trained on.
    """

    config: ml_collections.ConfigDict
    class_table: ClassTable
    networks: Networks
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
        """Translates a batch as `make_translate` says; returns before the devices are done.

        All local devices share the work, if B can be divided by their number.

        Args:
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3] whose edges guide the generator.
            weights: ensemble weights [6]; those of training by default.
            share: of DNED's edges; that of the checkpoint by default.
        """
        share = self.dned_share if share is None else share
        params = self._variables.beside(len(label))
        return self._translate(params, *devices.split((label, edge_image)), weights, share)

    def edge_map(self, label: np.ndarray, edge_image: np.ndarray, weights: np.ndarray) -> jax.Array:
        """What `translate` gives as `edge_map`, without the generator's work."""
        params = self._variables.beside(len(label))
        batch = devices.split((label, edge_image))
        return self._edge_map(params, *batch, weights, self.dned_share)

    def at_step(self, step: int, params: Params, dned_share: float) -> "TrainedModel":
        """The same run later on; what is compiled for one is compiled for both."""
        later = dataclasses.replace(self, params=params, step=step, dned_share=dned_share)
        later.__dict__["_translate"] = self._translate
        return later

    @functools.cached_property
    def _variables(self) -> devices.Variables:
        return devices.Variables(self.params)

    @functools.cached_property
    def _edge_map(self) -> Callable[..., jax.Array]:
        translate = self._translate.__wrapped__
        # The compiler drops the generator, as nobody asks for its image.
        return jax.jit(lambda *arguments: translate(*arguments)["edge_map"])

    @functools.cached_property
    def _translate(self) -> Translate:
        return make_translate(self.networks, self.config)


def restore_model(workdir: pathlib.Path, step: int | None = None) -> TrainedModel:
    """Restores what sampling and evaluation need from a run.

    Args:
        workdir: the folder of the run.
        step: which checkpoint; the newest by default.

    Raises:
        InputError: there is no run, or no (such) checkpoint, or it is damaged.
    """
    config = configuration.load(workdir)
    class_table = ClassTable.from_json(workdir / configuration.CLASSES_FILE)
    networks = create_networks(config, class_table.num_classes)
    shapes = jax.eval_shape(lambda: init_params(networks, config)[0])
    parts, step = restore_parts(workdir, {"ema_params": shapes}, step)
    record = RunRecord.load(workdir)
    share = float(record.schedule.dned_share(step))
    return TrainedModel(
        config, class_table, networks, parts["ema_params"], step, share, record.dataset
    )


def batch_size_for(height: int, width: int) -> int:
    """Frames per batch that hosts and devices can bear: 8 or a megapixel for each local device."""
    per_device = max(1, min(_MOST_PER_BATCH, _PIXELS_PER_BATCH // (height * width)))
    return jax.local_device_count() * per_device


def make_translate(networks: Networks, config: ml_collections.ConfigDict) -> Translate:
    """Builds the jitted translation of a run.

    Returns:
        `translate(params, label, edge_image, weights=None, share=1.0)`, where

        - params are `{'generator': ..., 'dned': ...}`,
        - label is uint8 [B, H, W, 1], class ids,
        - edge_image is uint8 RGB [B, H, W, 3] whose edges guide the generator: a CG or a real
          frame; a frame of one color has no edges,
        - weights are ensemble weights [6] or [B, 6] for DNED's side outputs, by default those of
          training (`loss.side_weights`),
        - share is the share of DNED's edges in the generator's edge map, 1 after training, less
          during the first stages.

        It gives `image` (float32 [B, H, W, 3] in [-1, 1]), `picture` (the same in uint8, a quarter
        of the bytes to fetch: what sampling writes and evaluation scores), `laplacian` and
        `edge_map` (the edges before and after DNED, [B, H, W, 1] in [0, 1]) and `side_outputs`
        (logits [6, B, H, W, 1]).
    """

    @jax.jit
    def translate(
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        weights: jax.Array | None = None,
        share: float | jax.Array = 1.0,
    ) -> dict[str, jax.Array]:
        image = to_float(edge_image)
        laplacian = laplacian_edges(image, config.edges.threshold, config.edges.quantile)
        side_outputs = networks.dned.apply(params["dned"], dned_input(image, laplacian, config))
        edge_map = laplacian
        if config.generator.edges == "dned":
            weights = jnp.asarray(config.loss.side_weights) if weights is None else weights
            edge_map = share * combine(side_outputs, weights) + (1 - share) * laplacian
        label_map = jax.nn.one_hot(label[..., 0], networks.num_classes)
        inputs = generator_inputs(label_map, edge_map, config)
        generated = networks.generator.apply(params["generator"], *inputs)
        return {
            "image": generated,
            "picture": to_uint8(generated),
            "laplacian": laplacian,
            "edge_map": edge_map,
            "side_outputs": jnp.stack(side_outputs),
        }

    return translate
