"""From stored frames to the inputs of the networks, on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.ops import augment
from sflow_jax.ops.laplacian import laplacian_edges, to_grey

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step computes from a batch before any network runs, each [B, H, W, C].

    Attributes:
        label_map: s, one-hot float32.
        image: x, the real image in [-1, 1].
        edge_map: E(x), the clean Laplacian edges in {0, 1}.
        dned_input: what DNED sees, corrupted where it is an edge map.
    """

    label_map: jax.Array
    image: jax.Array
    edge_map: jax.Array
    dned_input: jax.Array


def to_float(image: jax.Array) -> jax.Array:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


def dned_input(
    image: jax.Array,
    edge_map: jax.Array,
    config: ml_collections.ConfigDict,
    corruption_keys: jax.Array | None = None,
) -> jax.Array:
    """What DNED sees of an image.

    Args:
        image: [B, H, W, 3] in [-1, 1].
        edge_map: its clean edges, [B, H, W, 1].
        config: the whole config; `dned.input` selects the edge map, grey or RGB.
        corruption_keys: [B] in training, so that an edge map is corrupted and the first side output
            cannot just copy it; None leaves it clean.

    Returns:
        [B, H, W, 1], or [B, H, W, 3] for RGB.
    """
    if config.dned.input == "rgb":
        return image
    if config.dned.input == "grey":
        return 2 * to_grey(image) - 1
    if corruption_keys is None:
        return edge_map
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(corruption_keys)
    scales = augment.random_threshold_scales(keys[:, 0], config.dned.threshold_jitter)
    corrupted = laplacian_edges(image, config.edges.threshold, config.edges.quantile, scales)
    corrupted = augment.drop_edges(keys[:, 1], corrupted, config.dned.dropout)
    return augment.blur_edges(keys[:, 2], corrupted, config.dned.blur)


def prepare_scene(
    batch: Batch, keys: jax.Array, num_classes: int, config: ml_collections.ConfigDict
) -> Scene:
    """Turns stored uint8 frames into the inputs of the networks.

    Args:
        batch: `image` uint8 [B, T, H, W, 3] and `label` uint8 [B, T, H, W, 1]; frame 0 is used.
        keys: one random key per example, [B].
        num_classes: channels of the one-hot label map.
        config: the whole config.
    """
    keys = jax.vmap(jax.random.split)(keys)
    image = to_float(batch["image"][:, 0])
    label_map = jax.nn.one_hot(batch["label"][:, 0, ..., 0], num_classes)
    if config.train.flip:
        flips = augment.random_flips(keys[:, 0])
        image = augment.flip_horizontally(image, flips)
        label_map = augment.flip_horizontally(label_map, flips)
    edge_map = laplacian_edges(image, config.edges.threshold, config.edges.quantile)
    return Scene(label_map, image, edge_map, dned_input(image, edge_map, config, keys[:, 1]))


def generator_condition(
    label_map: jax.Array, edge_map: jax.Array, config: ml_collections.ConfigDict
) -> jax.Array:
    """`(s, e)`: label map and edge map as the generator's one input, or the labels alone."""
    if config.generator.edges == "none":
        return label_map
    return jnp.concatenate([label_map, edge_map], -1)
