"""S-Flow GAN: photorealistic images and flicker-free video from simulator frames, in JAX.

    import pathlib

    import sflow_jax

    config = sflow_jax.default_config()
    config.data.dataset = "streets"  # the embedded simulator: nothing to download
    config.data.height, config.data.width = 64, 128
    config.loss.perceptual_network = "streets"
    workdir = pathlib.Path("runs/mine")
    sflow_jax.train(config, workdir)

    model = sflow_jax.restore_model(workdir)
    example = sflow_jax.prepare_dataset(config.data).source("test")[0]
    picture = model.translate(example["label"], example["cg"])["picture"]

What is named here is imported when it is first used, so that importing the package stays light.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sflow_jax.configuration import default as default_config
    from sflow_jax.errors import InputError, TrainingError
    from sflow_jax.inference import TrainedModel, restore_model
    from sflow_jax.methods import create_method
    from sflow_jax.ops.forms import plain_forms
    from sflow_jax.ops.laplacian import laplacian_edges
    from sflow_jax.ops.optical_flow import farneback
    from sflow_jax.prepare import prepare as prepare_dataset
    from sflow_jax.training.loop import train

_PLACES = {
    "InputError": "errors:InputError",
    "TrainedModel": "inference:TrainedModel",
    "TrainingError": "errors:TrainingError",
    "create_method": "methods:create_method",
    "default_config": "configuration:default",
    "farneback": "ops.optical_flow:farneback",
    "laplacian_edges": "ops.laplacian:laplacian_edges",
    "plain_forms": "ops.forms:plain_forms",
    "prepare_dataset": "prepare:prepare",
    "restore_model": "inference:restore_model",
    "train": "training.loop:train",
}
__all__ = [
    "InputError",
    "TrainedModel",
    "TrainingError",
    "create_method",
    "default_config",
    "farneback",
    "laplacian_edges",
    "plain_forms",
    "prepare_dataset",
    "restore_model",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
