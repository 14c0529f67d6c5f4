"""pix2pix, label maps to images by a U-Net: a baseline of the paper.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017). Where this
differs from its official code, docs/baselines.md says why.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sflow_jax import losses
from sflow_jax.data.labels import ClassTable
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Params, Scalars, apply, map_spec
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.methods.image_method import ImageMethod, Judged
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.pix2pix import UNetGenerator
from sflow_jax.ops.pixels import to_float, to_uint8
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step knows of its examples before any network runs, N pictures of them.

    Attributes:
        condition: the label map as `pix2pix.labels` says, [N, H, W, C].
        image: the real image in [-1, 1], [N, H, W, 3].
        noise: keys of the generator's dropout, [N].
    """

    condition: jax.Array
    image: jax.Array
    noise: jax.Array


@dataclasses.dataclass(frozen=True)
class Pix2Pix(ImageMethod[Scene, jax.Array]):
    """See `Method`; `params` are `{'generator': ...}`.

    Attributes:
        config: the whole config.
        class_table: its colors and the channels of its one-hot label map.
        generator: the U-Net.
        discriminator: one PatchGAN.
        perceptual_network: None: the method has no such loss.
    """

    config: ml_collections.ConfigDict
    class_table: ClassTable
    generator: nn.Module
    discriminator: nn.Module
    perceptual_network: PerceptualNetwork | None = None

    @classmethod
    def from_config(
        cls,
        config: ml_collections.ConfigDict,
        class_table: ClassTable,
        schedule: Schedule,
        perceptual_network: PerceptualNetwork | None = None,
        palettes: np.ndarray | None = None,
    ) -> "Pix2Pix":
        """See `Method`."""
        dtype = jnp.dtype(config.train.compute_dtype)
        generator, discriminator = config.generator, config.discriminator
        return cls(
            config,
            class_table,
            UNetGenerator(generator.width, generator.num_downsamplings, dtype),
            MultiScaleDiscriminator(
                1, discriminator.width, discriminator.num_layers, dtype, padding=1, affine=True
            ),
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """G."""
        return {"generator": self.generator}

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("image", "label")

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""
        channels = 3 if self._sees_colors else self.class_table.num_classes
        condition, image = map_spec(size, channels), map_spec(size, 3)
        return {"generator": (condition,), "discriminator": (condition, image)}

    def scene(self, batch: Batch, keys: jax.Array) -> Scene:
        """See `Method`; the frames of an example change in the same way and share their noise."""
        num_frames = batch["image"].shape[1]
        flip_keys, zoom_keys, noise = keys_per_frame(keys, num_frames, 3)
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        return Scene(self._condition(frames.label), frames.image, noise)

    def generate(self, params: Params, scene: Scene, step: jax.Array) -> jax.Array:
        """See `Method`: float32 [N, H, W, 3] in [-1, 1]."""
        return apply(self.generator, params["generator"], scene.condition, scene.noise)

    def judged(self, scene: Scene, generated: jax.Array) -> Judged:
        """D(s, x) and D(s, G(s, z))."""
        return Judged(scene.condition, scene.image, generated)

    def terms(
        self,
        scene: Scene,
        generated: jax.Array,
        real_scores: DiscriminatorOutput,
        fake_scores: DiscriminatorOutput,
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """The paper's eq. 4: the adversarial loss and lambda times the L1 distance."""
        return {
            "generator/adversarial": losses.adversarial_generator(
                fake_scores, self.config.loss.adversarial
            ),
            "generator/l1": self.config.pix2pix.l1_weight * losses.l1(generated, scene.image),
        }, {}

    def controls(self, step: int) -> dict[str, Any]:
        """See `Method`."""
        return {}

    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        noise: int | jax.Array = 0,
    ) -> dict[str, jax.Array]:
        """Translates label maps, with dropout as in training.

        Args:
            params: `{'generator': ...}`.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: not used.
            noise: seed of the dropout for all frames, or for each, [B].
        """
        seeds = jnp.broadcast_to(jnp.asarray(noise, jnp.uint32), label.shape[0])
        keys = jax.vmap(jax.random.key)(seeds)
        image = apply(self.generator, params["generator"], self._condition(label), keys)
        return {"image": image, "picture": to_uint8(image)}

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`: there is nothing between label map and image."""
        return {}

    def styles(self, names: Sequence[str], variant: int = 0) -> dict[str, Any]:
        """See `Method`: `noise`, uint32 [B], a seed that the name and the variant decide."""
        seeds = [zlib.crc32(f"{name}/{variant}".encode()) for name in names]
        return {"noise": np.array(seeds, np.uint32)}

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`."""
        networks = ("generator.width", "generator.num_downsamplings", "pix2pix.labels")
        return (*networks, "discriminator.width", "discriminator.num_layers")

    @property
    def _sees_colors(self) -> bool:
        return self.config.pix2pix.labels == "colors"

    def _condition(self, label: jax.Array) -> jax.Array:
        """The label map [N, H, W, 1] as both networks see it."""
        if self._sees_colors:
            return to_float(jnp.asarray(self.class_table.palette)[label[..., 0]])
        return jax.nn.one_hot(label[..., 0], self.class_table.num_classes)
