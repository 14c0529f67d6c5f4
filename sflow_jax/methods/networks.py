"""The networks of pix2pixHD as a config describes them, for the methods that build on it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.methods.base import Params
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer


def create_generator(config: ml_collections.ConfigDict) -> nn.Module:
    """The global generator or the local enhancer, of `config.generator`."""
    options = config.generator
    sizes = {
        "width": options.width,
        "num_downsamplings": options.num_downsamplings,
        "num_blocks": options.num_blocks,
        "upsampling": options.upsampling,
        "dtype": jnp.dtype(config.train.compute_dtype),
        "remat": options.remat,
    }
    if options.kind == "local":
        return LocalEnhancer(num_local_blocks=options.num_local_blocks, **sizes)
    return GlobalGenerator(**sizes)


def generator_params(params: Params, config: ml_collections.ConfigDict) -> Params:
    """The parameters to apply a generator with: of a fixed trunk, such that no gradient reaches."""
    if not config.generator.fixed_trunk:
        return params
    layers = params["params"]
    return {"params": {**layers, "trunk": jax.lax.stop_gradient(layers["trunk"])}}


def create_discriminator(config: ml_collections.ConfigDict) -> nn.Module:
    """PatchGANs at one or several scales, of `config.discriminator`."""
    options = config.discriminator
    dtype = jnp.dtype(config.train.compute_dtype)
    return MultiScaleDiscriminator(options.num_scales, options.width, options.num_layers, dtype)
