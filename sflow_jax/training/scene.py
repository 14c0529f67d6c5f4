"""From stored frames to the inputs of the networks, on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.ops import augment
from sflow_jax.ops.laplacian import laplacian_edges, to_gray
from sflow_jax.ops.pixels import to_float

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step computes from a batch before any network runs.

    Frames are independent pictures to the networks: N = B * T of them, those of an example side by
    side.

    Attributes:
        label_map: s, one-hot float32 [N, H, W, C].
        image: x, the real image in [-1, 1], [N, H, W, 3].
        edge_map: E(x), the clean Laplacian edges in {0, 1}, [N, H, W, 1].
        dned_input: what DNED sees, corrupted where it is an edge map, [N, H, W, 1 or 3].
        flow: from the first frame of each pair to its second, float32 [B, H, W, 2], pixels, x
            first; None for single frames.
    """

    label_map: jax.Array
    image: jax.Array
    edge_map: jax.Array
    dned_input: jax.Array
    flow: jax.Array | None = None


def batch_keys(num_frames: int) -> tuple[str, ...]:
    """What the train step reads of an example of so many frames."""
    return ("image", "label", "flow") if num_frames == 2 else ("image", "label")


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
        config: the whole config; `dned.input` selects the edge map, gray or RGB.
        corruption_keys: [B] in training, so that an edge map is corrupted and the first side output
            cannot just copy it; None leaves it clean.

    Returns:
        [B, H, W, 1], or [B, H, W, 3] for RGB.
    """
    if config.dned.input == "rgb":
        return image
    if config.dned.input == "gray":
        return 2 * to_gray(image) - 1
    if corruption_keys is None:
        return edge_map
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(corruption_keys)
    scales = augment.random_threshold_scales(keys[:, 0], config.augmentation.threshold_jitter)
    corrupted = laplacian_edges(image, config.edges.threshold, config.edges.quantile, scales)
    corrupted = augment.drop_edges(keys[:, 1], corrupted, config.augmentation.edge_dropout)
    return augment.blur_edges(keys[:, 2], corrupted, config.augmentation.edge_blur)


def prepare_scene(
    batch: Batch, keys: jax.Array, num_classes: int, config: ml_collections.ConfigDict
) -> Scene:
    """Turns stored frames into the inputs of the networks, changed at random.

    Args:
        batch: `image` uint8 [B, T, H, W, 3], `label` uint8 [B, T, H, W, 1] and, for T = 2, `flow`
            [B, H, W, 2].
        keys: one random key per example, [B]. Both frames of a pair change in the same way, so
            that the motion between them, and only that, is left to be told apart.
        num_classes: channels of the one-hot label map.
        config: the whole config.
    """
    num_frames = batch["image"].shape[1]
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    keys = keys[jnp.arange(len(keys)).repeat(num_frames)]
    flip_keys, corruption_keys, zoom_keys = (keys[:, i] for i in range(3))
    image = to_float(batch["image"].reshape(-1, *batch["image"].shape[2:]))
    label = batch["label"].reshape(-1, *batch["label"].shape[2:])
    flow = batch["flow"].astype(jnp.float32) if num_frames == 2 else None
    if config.augmentation.zoom:
        zoom = augment.random_zooms(zoom_keys, config.augmentation.zoom)
        image, label = augment.zoom_image(image, zoom), augment.zoom_labels(label, zoom)
        if flow is not None:
            flow = augment.zoom_flow(flow, jax.tree.map(lambda x: x[::num_frames], zoom))
    if config.augmentation.flip:
        flips = augment.random_flips(flip_keys)
        image, label = (augment.flip_horizontally(x, flips) for x in (image, label))
        if flow is not None:
            flow = augment.flip_flow(flow, flips[::num_frames])
    label_map = jax.nn.one_hot(label[..., 0], num_classes)
    edge_map = laplacian_edges(image, config.edges.threshold, config.edges.quantile)
    seen = dned_input(image, edge_map, config, corruption_keys)
    return Scene(label_map, image, edge_map, seen, flow)


def generator_condition(
    label_map: jax.Array, edge_map: jax.Array, config: ml_collections.ConfigDict
) -> jax.Array:
    """`(s, e)`: label map and edge map as the generator's one input, or the labels alone."""
    if config.generator.edges == "none":
        return label_map
    return jnp.concatenate([label_map, edge_map], -1)
