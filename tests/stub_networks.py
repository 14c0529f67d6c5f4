"""The smallest networks that a train step takes: one layer each, compiled in no time.

For what a step does with its networks, whatever they are; the networks have their own tests.
"""

import flax.linen as nn
import jax.numpy as jnp

from sflow_jax.methods.sflow import SFlow
from sflow_jax.models.dned import NUM_SIDE_OUTPUTS


class StubGenerator(nn.Module):
    """Sees each pixel of its condition and the one above."""

    @nn.compact
    def __call__(self, label_map, edge_map=None):
        parts = [label_map] if edge_map is None else [label_map, edge_map]
        condition = jnp.concatenate(parts, -1)
        return jnp.tanh(nn.Conv(3, (2, 1), name="conv")(condition).astype(jnp.float32))


class StubDNED(nn.Module):
    """Six logits from each pixel."""

    @nn.compact
    def __call__(self, x):
        logits = nn.Conv(NUM_SIDE_OUTPUTS, (1, 1), name="conv")(x)
        return jnp.split(logits, NUM_SIDE_OUTPUTS, axis=-1)


class StubDiscriminator(nn.Module):
    """One feature layer and a score at each of its scales, which all have the same size."""

    num_scales: int = 1

    @nn.compact
    def __call__(self, condition, image):
        pair = jnp.concatenate([condition, image], axis=-1)
        outputs = []
        for scale in range(self.num_scales):
            feature = nn.leaky_relu(nn.Conv(2, (2, 2), strides=2, name=f"feature_{scale}")(pair))
            outputs.append([feature, nn.Conv(1, (1, 1), name=f"score_{scale}")(feature)])
        return outputs


def stub_method(config, class_table, schedule, perceptual_network=None):
    """S-Flow GAN with a generator, DNED and discriminators of one or two layers each."""
    discriminator = StubDiscriminator(config.discriminator.num_scales)
    networks = StubGenerator(), StubDNED(), discriminator
    return SFlow(config, class_table.num_classes, schedule, *networks, perceptual_network)
