"""The two segmentation networks for `streets` that ship with the package.

They have the same architecture and were trained on different streets, from different seeds, by

    make segmenters

`features` is the perceptual network of `configs/streets.py:offline`, for machines without HED's
weights; `evaluator` scores generated images. They are two, because a generator that was trained on
the features of a network has learned to please that network: its score by the same weights would be
flattered. It still is by a network of the same architecture and task: a run of `offline` looks as
if on fire and scores more than one on HED's features, which looks natural.

Both were trained at 128x64, the size of configs/streets.py, and are of use at that size only.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from sflow_jax import variables
from sflow_jax.ops import forms
from sflow_jax.segmentation.unet import STRIDE, UNet

ROLES = ("features", "evaluator")
SIZE = (128, 64)  # width and height at which they were trained

FOLDER = pathlib.Path(__file__).parent


def load(role: str) -> dict[str, Any]:
    """Loads the shipped weights.

    Args:
        role: `features` or `evaluator`.

    Returns:
        The variables of `UNet()`: {'params': ...}, float32.

    Raises:
        InputError: the file is damaged or missing.
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}; expected one of {ROLES}")
    images = jax.ShapeDtypeStruct((1, STRIDE, STRIDE, 3), jnp.float32)
    shapes = variables.shapes_of(jax.eval_shape(UNet().init, jax.random.key(0), images))
    return variables.read_variables(FOLDER / f"streets_{role}.safetensors", shapes)


def features(
    network_variables: dict[str, Any], images: jax.Array, dtype: Any = jnp.float32
) -> list[jax.Array]:
    """Five slices for a perceptual loss, finest first; see `UNet.features`.

    Args:
        network_variables: from `load`.
        images: RGB [B, H, W, 3] in [-1, 1]; H and W at least 16.
        dtype: type of the computation.

    Returns:
        Five arrays of the type `dtype`.
    """
    slices: Any = UNet(dtype=dtype).apply(network_variables, images, method="features")
    return slices


@forms.jit
def predict(network_variables: dict[str, Any], images: jax.Array) -> jax.Array:
    """Labels every pixel with a class of `streets`.

    Args:
        network_variables: from `load`.
        images: RGB [B, H, W, 3] in [-1, 1] of any size.

    Returns:
        int32 [B, H, W] in 0 .. 18.
    """
    with jax.default_matmul_precision("float32"):  # no coarser type on GPU and TPU
        logits: Any = UNet().apply(network_variables, images)
    return logits.argmax(-1)
