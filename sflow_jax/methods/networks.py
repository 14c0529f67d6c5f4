"""The networks of pix2pixHD as a config describes them, for the methods that build on it."""

import flax.linen as nn
import jax.numpy as jnp
import ml_collections

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


def create_discriminator(config: ml_collections.ConfigDict) -> nn.Module:
    """PatchGANs at one or several scales, of `config.discriminator`."""
    options = config.discriminator
    dtype = jnp.dtype(config.train.compute_dtype)
    return MultiScaleDiscriminator(options.num_scales, options.width, options.num_layers, dtype)
