"""The smallest other method: labels to colors, without edges, DNED, stages or variants."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax import losses
from sflow_jax.methods.frames import Frames, augmented_frames, keys_per_frame
from sflow_jax.methods.image_method import ImageMethod, Judged
from sflow_jax.ops.pixels import to_uint8
from tests.stub_networks import StubDiscriminator, StubGenerator


@dataclasses.dataclass(frozen=True, eq=False)
class Toy(ImageMethod[Frames, jax.Array]):
    config: Any
    num_classes: int
    discriminator: nn.Module
    generator: nn.Module
    perceptual_network: Any = None

    @classmethod
    def from_config(cls, config, class_table, schedule, perceptual_network=None, palettes=None):
        return cls(config, class_table.num_classes, StubDiscriminator(), StubGenerator())

    @property
    def networks(self):
        return {"generator": self.generator}

    @property
    def batch_keys(self):
        return ("image", "label")

    def example_inputs(self, size):
        label_map = jax.ShapeDtypeStruct((1, *size, self.num_classes), jnp.float32)
        image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        return {"generator": (label_map,), "discriminator": (label_map, image)}

    def scene(self, batch, keys):
        return augmented_frames(batch, *keys_per_frame(keys, 1, 2), self.config)

    def generate(self, params, scene, step):
        return self._draw(params, scene.label)

    def _draw(self, params, label):
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        return self.generator.apply(params["generator"], label_map)

    def judged(self, scene, generated):
        label_map = jax.nn.one_hot(scene.label[..., 0], self.num_classes)
        return Judged(label_map, scene.image, generated)

    def terms(self, scene, generated, real_scores, fake_scores, frozen_params):
        adversarial = losses.adversarial_generator(fake_scores)
        return {"generator/adversarial": adversarial}, {"darkness": -generated.mean()}

    def controls(self, step):
        return {}

    def translate(self, params, label, edge_image):
        image = self._draw(params, label)
        return {"image": image, "picture": to_uint8(image)}

    def maps(self, outputs):
        return {}
