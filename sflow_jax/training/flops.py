"""Floating-point operations of a train step, counted by hand."""

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.models.flops import forward_flops
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.training.state import Networks

# A gradient costs as much as the forward pass once for the kernels and once for the inputs.
_TRAINED = 3
# Real and fake images go forward, and back to kernels and inputs for the discriminators' loss;
# the fake ones go back to the inputs once more for the generator's.
_DISCRIMINATED = 2 + 4 + 1
# Real and fake images go forward, the fake ones back to the inputs.
_FROZEN = 3


def step_flops(
    networks: Networks,
    perceptual_network: PerceptualNetwork | None,
    config: ml_collections.ConfigDict,
    size: tuple[int, int],
) -> dict[str, int]:
    """Counts the operations of a step for each image, by network.

    Args:
        networks: generator, DNED and discriminators.
        perceptual_network: of eq. 6, if it is part of the step.
        config: the whole config.
        size: height and width.

    Returns:
        Operations per image, as `models.flops` counts them: without the optical flow of a video
        step, and without what `remat` computes again. Gradients to the inputs of first layers are
        counted although not all of them are needed.
    """
    forward = network_flops(networks, config, size)
    counts = {
        "generator": _TRAINED * forward["generator"],
        "DNED": _TRAINED * forward["DNED"],
        "discriminators": _DISCRIMINATED * forward["discriminators"],
    }
    if perceptual_network is not None:
        counts["perceptual network"] = _FROZEN * forward_flops(
            perceptual_network.features, perceptual_network.params, _images(size, 3)
        )
    return counts


def network_flops(
    networks: Networks, config: ml_collections.ConfigDict, size: tuple[int, int]
) -> dict[str, int]:
    """Counts one forward pass of each network for one image of `size`, height and width."""
    key = jax.random.key(0)
    label_map = _images(size, networks.num_classes)
    edge_map = None if config.generator.edges == "none" else _images(size, 1)
    seen = _images(size, networks.num_classes + config.discriminator.sees_edges)
    dned_input = _images(size, 3 if config.dned.input == "rgb" else 1)
    return {
        "generator": forward_flops(networks.generator.init, key, label_map, edge_map),
        "DNED": forward_flops(networks.dned.init, key, dned_input),
        "discriminators": forward_flops(networks.discriminator.init, key, seen, _images(size, 3)),
    }


def _images(size: tuple[int, int], channels: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
