"""The edges that S-Flow GAN starts from: E(x), and what DNED sees of an image."""

import cv2
import jax
import ml_collections
import numpy as np

from sflow_jax.ops import augment
from sflow_jax.ops.laplacian import laplacian_edges, to_gray

_CANNY_THRESHOLDS = 100, 200


def clean_edges(image: jax.Array, config: ml_collections.ConfigDict) -> jax.Array:
    """E(x), the clean Laplacian edges in {0, 1}, [N, H, W, 1].

    Args:
        image: [N, H, W, 3] in [-1, 1].
        config: the whole config; `config.edges` has the threshold.
    """
    return laplacian_edges(image, config.edges.threshold, config.edges.quantile)


def canny_edges(frames: np.ndarray) -> np.ndarray:
    """Canny's edges, to compare with; the thresholds are those of OpenCV's own examples.

    Args:
        frames: uint8 RGB [B, H, W, 3].

    Returns:
        float32 [B, H, W, 1] in {0, 1}.
    """
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    edges = np.stack([cv2.Canny(gray, *_CANNY_THRESHOLDS) for gray in grays])
    return (edges[..., None] > 0).astype(np.float32)


def dned_input(
    image: jax.Array,
    config: ml_collections.ConfigDict,
    corruption_keys: jax.Array | None = None,
) -> jax.Array:
    """What DNED sees of an image: its edges, gray or RGB, as `config.dned.input` says.

    Args:
        image: [N, H, W, 3] in [-1, 1].
        config: the whole config.
        corruption_keys: [N] in training, so that edges are corrupted and the first side output
            cannot just copy them; None leaves them clean.

    Returns:
        [N, H, W, 1], or [N, H, W, 3] for RGB.
    """
    kind, augmentation = config.dned.input, config.augmentation
    if kind == "rgb":
        return image
    if kind == "gray":
        return 2 * to_gray(image) - 1
    if corruption_keys is None:
        return clean_edges(image, config)
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(corruption_keys)
    scales = augment.random_threshold_scales(keys[:, 0], augmentation.threshold_jitter)
    edges = config.edges
    corrupted = laplacian_edges(image, edges.threshold, edges.quantile, scales)
    corrupted = augment.drop_edges(keys[:, 1], corrupted, augmentation.edge_dropout)
    return augment.blur_edges(keys[:, 2], corrupted, augmentation.edge_blur)
