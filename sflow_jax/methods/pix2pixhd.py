"""pix2pixHD, label maps and boundaries of instances to images: a baseline of the paper.

Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs"
(2018). Where this differs from its official code, docs/baselines.md says why.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm

from sflow_jax import losses
from sflow_jax.data.labels import ClassTable
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Params, Scalars, apply, map_spec
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.methods.image_method import ImageMethod, Judged
from sflow_jax.methods.instance_features import (
    Clusters,
    cluster,
    draw_features,
    large_instances,
)
from sflow_jax.methods.networks import (
    create_discriminator,
    create_generator,
    generator_params,
)
from sflow_jax.models.pix2pixhd import InstanceEncoder
from sflow_jax.ops.instances import instance_boundaries
from sflow_jax.ops.pixels import to_float, to_uint8
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule

if TYPE_CHECKING:
    from sflow_jax.data.pipeline import Source


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step knows of its examples before any network runs, N pictures of them.

    Attributes:
        label_map: one-hot float32 [N, H, W, C].
        boundaries: of the instances, in {0, 1}, [N, H, W, 1]; None where they are not shown.
        image: the real image in [-1, 1], [N, H, W, 3].
        instance: ids of the instances, uint16 [N, H, W, 1]; None where they are not needed.
    """

    label_map: jax.Array
    boundaries: jax.Array | None
    image: jax.Array
    instance: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Pix2PixHD(ImageMethod[Scene, jax.Array]):
    """See `Method`; `params` are `{'generator': ...}`, with `pix2pixhd.num_features` and `encoder`.

    Attributes:
        config: the whole config.
        num_classes: channels of the one-hot label map.
        generator: the global generator or the local enhancer.
        discriminator: PatchGANs at two or three scales.
        perceptual_network: VGG19, in training.
        clusters: of the features of training images, which instances draw in use; without them
            the encoder sees the edge image.
    """

    config: ml_collections.ConfigDict
    num_classes: int
    generator: nn.Module
    discriminator: nn.Module
    perceptual_network: PerceptualNetwork | None = None
    clusters: Clusters | None = None

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
        """G, and E, which is trained with it."""
        encoder = {"encoder": self.encoder} if self.encoder else {}
        return {"generator": self.generator, **encoder}

    @functools.cached_property
    def encoder(self) -> InstanceEncoder | None:
        """E, of instance features; None without any."""
        count = self.config.pix2pixhd.num_features
        dtype = jnp.dtype(self.config.train.compute_dtype)
        return InstanceEncoder(count, dtype=dtype) if count else None

    @property
    def input_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("instance",) if self.config.pix2pixhd.boundaries or self.encoder else ()

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("image", "label", *self.input_keys)

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""
        images = functools.partial(map_spec, size)

        num_boundaries = int(self.config.pix2pixhd.boundaries)
        guide = num_boundaries + self.config.pix2pixhd.num_features
        instance = jax.ShapeDtypeStruct((1, *size, 1), jnp.uint16)
        return {
            "generator": (images(self.num_classes), *([images(guide)] if guide else [])),
            "encoder": (images(3), instance),
            "discriminator": (images(self.num_classes + num_boundaries), images(3)),
        }

    def scene(self, batch: Batch, keys: jax.Array) -> Scene:
        """See `Method`; the frames of an example change in the same way."""
        flip_keys, zoom_keys = keys_per_frame(keys, batch["image"].shape[1], 2)
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        label_map, boundaries = self._condition(frames.label, frames.instance)
        return Scene(label_map, boundaries, frames.image, frames.instance)

    def generate(self, params: Params, scene: Scene, step: jax.Array) -> jax.Array:
        """See `Method`: float32 [N, H, W, 3] in [-1, 1]."""
        features = self._encode(params, scene.image, scene.instance)
        return self._generate(params, scene.label_map, scene.boundaries, features)

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
        look: int | jax.Array = 0,
    ) -> dict[str, jax.Array]:
        """Translates label maps and the boundaries of their instances.

        Args:
            params: `{'generator': ...}`, and `encoder`.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3], from which instances have their features where there
                are no clusters; otherwise not used.
            instance: uint16 [B, H, W, 1], ids of instances; needed where `input_keys` says so.
            look: seed of the clusters that instances draw, for all frames or for each, [B].

        Returns:
            `image` and `picture`, and `boundaries`, float32 [B, H, W, 1], where they are shown.
        """
        label_map, boundaries = self._condition(label, instance)
        if self.clusters is None or instance is None:
            features = self._encode(params, to_float(edge_image), instance)
        else:
            looks = jnp.broadcast_to(jnp.asarray(look, jnp.uint32), label.shape[0])
            features = draw_features(instance, self.clusters, looks)
        image = self._generate(params, label_map, boundaries, features)
        shown = {} if boundaries is None else {"boundaries": boundaries}
        return {"image": image, "picture": to_uint8(image), **shown}

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`."""
        return {key: outputs[key] for key in ("boundaries",) if key in outputs}

    def styles(self, names: Sequence[str], variant: int = 0) -> dict[str, Any]:
        """See `Method`: `look`, uint32 [B], a seed that the name and the variant decide."""
        if self.encoder is None:
            return {}
        seeds = [zlib.crc32(f"{name}/{variant}".encode()) for name in names]
        return {"look": np.array(seeds, np.uint32)}

    @property
    def learns_use(self) -> bool:
        """See `Method`: instances draw features where there is an encoder."""
        return self.encoder is not None

    def learn_use(self, params: Params, source: "Source") -> Clusters | None:
        """See `Method`: the clusters of the features of training images."""
        if self.encoder is None:
            return None
        encode = jax.jit(self._encode)

        def large() -> Iterator[tuple[int, np.ndarray]]:
            for index in tqdm.trange(len(source), desc="encoding", unit="image", leave=False):
                example = source[index]
                image, instance = example["image"][:1], example["instance"][:1]
                features = encode(params, to_float(image), instance)
                yield from large_instances(np.asarray(features)[0], instance[0, ..., 0])

        return cluster(large(), self.num_classes, self.encoder.num_features)

    def with_learned(self, learned: Sequence[np.ndarray]) -> "Pix2PixHD":
        """See `Method`."""
        return dataclasses.replace(self, clusters=Clusters(*learned))

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`."""
        return ("generator", "discriminator", "pix2pixhd")

    def _encode(
        self, params: Params, image: jax.Array, instance: jax.Array | None
    ) -> jax.Array | None:
        """Features of the instances of images in [-1, 1]; None without an encoder."""
        if self.encoder is None:
            return None
        return apply(self.encoder, params["encoder"], image, instance)

    def _generate(
        self,
        params: Params,
        label_map: jax.Array,
        boundaries: jax.Array | None,
        features: jax.Array | None,
    ) -> jax.Array:
        guides = [x for x in (boundaries, features) if x is not None]
        guide = [jnp.concatenate(guides, -1)] if guides else []
        generator = generator_params(params["generator"], self.config)
        return apply(self.generator, generator, label_map, *guide)

    def _condition(
        self, label: jax.Array, instance: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The one-hot label map and the boundaries."""
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        if instance is None and self.input_keys:
            raise ValueError("instance: found None, expected the ids of instances")
        if instance is None or not self.config.pix2pixhd.boundaries:
            return label_map, None
        return label_map, instance_boundaries(instance)
