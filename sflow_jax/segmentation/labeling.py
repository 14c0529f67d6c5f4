"""Trained networks as functions from pictures to labels, compiled once."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sflow_jax.ops.pixels import to_float
from sflow_jax.segmentation.pspnet import PSPNet
from sflow_jax.segmentation.sliding_window import SlidingWindow, label_image
from sflow_jax.segmentation.unet import UNet

Predict = Callable[[np.ndarray], np.ndarray]
"""A segmenter: uint8 RGB [B, H, W, 3] to eval ids [B, H, W]."""


def predict_with_unet(network: UNet, network_variables: dict[str, Any]) -> Predict:
    """Labels all pictures of a batch at once."""

    @jax.jit
    def label(network_variables: dict[str, Any], pictures: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("float32"):  # no coarser type on GPU and TPU
            logits: Any = network.apply(network_variables, to_float(pictures))
        return logits.argmax(-1)

    on_device = jax.device_put(network_variables)
    return lambda pictures: np.asarray(label(on_device, pictures))


def predict_with_pspnet(
    network: PSPNet,
    network_variables: dict[str, Any],
    settings: SlidingWindow,
    keeps_size: bool = False,
) -> Predict:
    """Labels pictures one by one; all windows have one shape, so that it compiles once.

    Args:
        network: without `training`.
        network_variables: its own.
        settings: of the window.
        keeps_size: whether pictures are not resized, in place of `settings.base_size`.
    """

    @jax.jit
    def apply(network_variables: dict[str, Any], windows: jax.Array) -> Any:
        with jax.default_matmul_precision("float32"):  # no coarser type on GPU and TPU
            return network.apply(network_variables, windows)

    logits = functools.partial(apply, jax.device_put(network_variables))

    def predict(pictures: np.ndarray) -> np.ndarray:
        used = settings
        if keeps_size:
            used = dataclasses.replace(settings, base_size=max(pictures.shape[1:3]))
        return np.stack([label_image(logits, picture, used) for picture in pictures])

    return predict
