"""pix2pixHD, label maps and boundaries of instances to images: a baseline of the paper.

Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs"
(2018). Where this differs from its official code, docs/baselines.md says why.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sflow_jax import losses
from sflow_jax.data.labels import ClassTable
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Judged, Method, Params, Scalars, apply
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.methods.networks import (
    create_discriminator,
    create_generator,
    generator_params,
)
from sflow_jax.ops.boundaries import instance_boundaries
from sflow_jax.ops.pixels import to_uint8
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step knows of its examples before any network runs, N pictures of them.

    Attributes:
        label_map: one-hot float32 [N, H, W, C].
        boundaries: of the instances, in {0, 1}, [N, H, W, 1]; None where they are not shown.
        image: the real image in [-1, 1], [N, H, W, 3].
    """

    label_map: jax.Array
    boundaries: jax.Array | None
    image: jax.Array


@dataclasses.dataclass(frozen=True)
class Pix2PixHD(Method[Scene, jax.Array]):
    """See `Method`; `params` are `{'generator': ...}`.

    Attributes:
        config: the whole config.
        num_classes: channels of the one-hot label map.
        generator: the global generator or the local enhancer.
        discriminator: PatchGANs at two or three scales.
        perceptual_network: VGG19, in training.
    """

    config: ml_collections.ConfigDict
    num_classes: int
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
    ) -> "Pix2PixHD":
        """See `Method`."""
        networks = create_generator(config), create_discriminator(config)
        return cls(config, class_table.num_classes, *networks, perceptual_network)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """G."""
        return {"generator": self.generator}

    @property
    def input_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("instance",) if self.config.pix2pixhd.boundaries else ()

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("image", "label", *self.input_keys)

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""

        def images(channels: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)

        boundaries = (images(1),) if self.config.pix2pixhd.boundaries else ()
        condition = images(self.num_classes + len(boundaries))
        return {
            "generator": (images(self.num_classes), *boundaries),
            "discriminator": (condition, images(3)),
        }

    def scene(self, batch: Batch, keys: jax.Array) -> Scene:
        """See `Method`; the frames of an example change in the same way."""
        flip_keys, zoom_keys = keys_per_frame(keys, batch["image"].shape[1], 2)
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        return Scene(*self._condition(frames.label, frames.instance), frames.image)

    def generate(self, params: Params, scene: Scene, step: jax.Array) -> jax.Array:
        """See `Method`: float32 [N, H, W, 3] in [-1, 1]."""
        return self._generate(params, scene.label_map, scene.boundaries)

    def judged(self, scene: Scene, generated: jax.Array) -> Judged:
        """D(s, x) and D(s, G(s)), the boundaries being part of s."""
        seen = [x for x in (scene.label_map, scene.boundaries) if x is not None]
        return Judged(jnp.concatenate(seen, -1), scene.image, generated)

    def terms(
        self,
        scene: Scene,
        generated: jax.Array,
        real_scores: DiscriminatorOutput,
        fake_scores: DiscriminatorOutput,
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """The adversarial loss, feature matching and, in its code, the perceptual loss."""
        weights = self.config.loss
        terms = {
            "generator/adversarial": losses.adversarial_generator(fake_scores, weights.adversarial),
            "generator/feature_matching": weights.feature_matching_weight
            * losses.feature_matching(real_scores, fake_scores, weights.feature_weighting),
        }
        if self.perceptual_network is not None:
            terms["generator/perceptual"] = weights.perceptual_weight * losses.perceptual(
                self.perceptual_network.features(frozen_params, scene.image),
                self.perceptual_network.features(frozen_params, generated),
                weights.perceptual_weighting,
            )
        return terms, {}

    def controls(self, step: int) -> dict[str, Any]:
        """See `Method`."""
        return {}

    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        instance: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Translates label maps and the boundaries of their instances.

        Args:
            params: `{'generator': ...}`.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: not used.
            instance: uint16 [B, H, W, 1], ids of instances; needed where `pix2pixhd.boundaries`.

        Returns:
            `image` and `picture`, and `boundaries`, float32 [B, H, W, 1], where they are shown.
        """
        label_map, boundaries = self._condition(label, instance)
        image = self._generate(params, label_map, boundaries)
        shown = {} if boundaries is None else {"boundaries": boundaries}
        return {"image": image, "picture": to_uint8(image), **shown}

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`."""
        return {key: outputs[key] for key in ("boundaries",) if key in outputs}

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`."""
        return ("generator", "discriminator", "pix2pixhd")

    def _generate(
        self, params: Params, label_map: jax.Array, boundaries: jax.Array | None
    ) -> jax.Array:
        generator = generator_params(params["generator"], self.config)
        return apply(self.generator, generator, label_map, boundaries)

    def _condition(
        self, label: jax.Array, instance: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The one-hot label map and the boundaries."""
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        if not self.config.pix2pixhd.boundaries:
            return label_map, None
        if instance is None:
            raise ValueError("instance: found None, expected ids, as pix2pixhd.boundaries is set")
        return label_map, instance_boundaries(instance)
