"""Translation with a trained generator: what previews, sampling and evaluation share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.models.dned import combine
from sflow_jax.ops.laplacian import laplacian_edges
from sflow_jax.training.scene import dned_input, generator_condition, to_float
from sflow_jax.training.state import Networks, Params

EDGE_SOURCES = ("cg", "image", "none")

Translate = Callable[..., dict[str, jax.Array]]


def make_translate(networks: Networks, config: ml_collections.ConfigDict) -> Translate:
    """Builds the jitted translation of a run.

    Returns:
        `translate(params, label, edge_image, weights=None, share=1.0)`, where

        - params are `{'generator': ..., 'dned': ...}`,
        - label is uint8 [B, H, W, 1], class ids,
        - edge_image is uint8 RGB [B, H, W, 3] whose edges guide the generator: a CG or a real
          frame; a frame of one colour has no edges,
        - weights are ensemble weights [6] or [B, 6] for DNED's side outputs, equal by default,
        - share is the share of DNED's edges in the generator's edge map, 1 after training, less
          during the first stages.

        It gives `image` (float32 [B, H, W, 3] in [-1, 1]), `laplacian` and `edge_map` (the edges
        before and after DNED, [B, H, W, 1] in [0, 1]) and `side_outputs` (logits [6, B, H, W, 1]).
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
            edge_map = share * combine(side_outputs, weights) + (1 - share) * laplacian
        label_map = jax.nn.one_hot(label[..., 0], networks.num_classes)
        condition = generator_condition(label_map, edge_map, config)
        return {
            "image": networks.generator.apply(params["generator"], condition),
            "laplacian": laplacian,
            "edge_map": edge_map,
            "side_outputs": jnp.stack(side_outputs),
        }

    return translate
