"""Methods of image synthesis: each in a file of its own, with the interface of `base.Method`."""

import importlib
from typing import TYPE_CHECKING

import ml_collections

if TYPE_CHECKING:
    import numpy as np

    from sflow_jax.data.labels import ClassTable
    from sflow_jax.methods.base import Method
    from sflow_jax.pretrained.perceptual import PerceptualNetwork
    from sflow_jax.runs.schedule import Schedule

METHODS = {
    "sflow": "sflow_jax.methods.sflow:SFlow",
    "pix2pix": "sflow_jax.methods.pix2pix:Pix2Pix",
    "pix2pixhd": "sflow_jax.methods.pix2pixhd:Pix2PixHD",
    "vid2vid": "sflow_jax.methods.vid2vid:Vid2Vid",
}
"""By the value of `config.method`: 'module:class'. To add a method, add its file and an entry."""


def create_method(
    config: ml_collections.ConfigDict,
    class_table: "ClassTable",
    schedule: "Schedule",
    perceptual_network: "PerceptualNetwork | None" = None,
    palettes: "np.ndarray | None" = None,
) -> "Method":
    """Builds the method that `config.method` names.

    Args:
        config: the whole config.
        class_table: of the dataset.
        schedule: the run in steps.
        perceptual_network: the frozen network of eq. 6; only training needs one.
        palettes: the colors that a generator is told in use, [K, C, 3]; see `runs.palettes`.
    """
    return method_class(config).from_config(
        config, class_table, schedule, perceptual_network, palettes
    )


def method_class(config: ml_collections.ConfigDict) -> "type[Method]":
    """Imports the method that `config.method` names."""
    module, _, name = METHODS[config.method].partition(":")
    return getattr(importlib.import_module(module), name)
