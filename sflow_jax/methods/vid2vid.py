"""vid2vid, label maps to video, each frame from the two before: a baseline of the paper.

Wang et al., "Video-to-Video Synthesis" (2018). Where this differs from its official code,
docs/baselines.md says why.
"""

import dataclasses
import functools
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
from sflow_jax.methods.base import Batch, Params, Scalars, apply, map_spec
from sflow_jax.methods.clip_method import ClipMethod
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.methods.image_method import Judged
from sflow_jax.methods.moments import (
    NUM_PREVIOUS,
    Clip,
    Moment,
    first_memory,
    make_clip,
    moment_at,
    remember,
)
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.vid2vid import SequentialGenerator, SequentialOutput
from sflow_jax.ops.instances import instance_boundaries
from sflow_jax.ops.pixels import to_float, to_uint8
from sflow_jax.ops.warp import warp
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule

_MOST_DOUBLINGS = 20  # more frames than any clip has
_WIDEST = 64  # channels of the first layer of a discriminator


@dataclasses.dataclass(frozen=True, eq=False)  # its functions are compiled, known by identity
class Vid2Vid(ClipMethod[Clip, Moment, SequentialOutput]):
    """See `Method`; `params` are `{'generator': ...}`.

    Attributes:
        config: the whole config.
        num_classes: channels of the one-hot label map.
        schedule: the run in steps, by which clips get longer.
        generator: G, which sees three label maps and the two frames before.
        discriminator: what all of `discriminators` are: D_I, which sees a frame under its label
            map, and D_V, which see three frames and the flows between them.
        perceptual_network: VGG19, in training.
    """

    config: ml_collections.ConfigDict
    num_classes: int
    schedule: Schedule
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
    ) -> "Vid2Vid":
        """See `Method`."""
        dtype = jnp.dtype(config.train.compute_dtype)
        generator, discriminator = config.generator, config.discriminator
        return cls(
            config,
            class_table.num_classes,
            schedule,
            SequentialGenerator(
                generator.width, generator.num_downsamplings, generator.num_blocks, dtype
            ),
            MultiScaleDiscriminator(
                discriminator.num_scales,
                discriminator.width,
                discriminator.num_layers,
                dtype,
                affine=True,
                widest=_WIDEST,
            ),
            perceptual_network,
        )

    @classmethod
    def why_impossible(cls, config: ml_collections.ConfigDict) -> str:
        """See `Method`."""
        least = NUM_PREVIOUS + 1
        if config.data.frames < least:
            return (
                f"config.data.frames: found {config.data.frames}, expected clips of at least "
                f"{least} frames for vid2vid"
            )
        return ""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """G."""
        return {"generator": self.generator}

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """D_I, and D_V for every spacing of its frames."""
        return dict.fromkeys(["discriminator_image", *self.scales], self.discriminator)

    @property
    def scales(self) -> dict[str, int]:
        """The temporal discriminators' scales of `frame_skips`, by name."""
        scales = range(self.config.vid2vid.num_temporal_scales)
        return {f"discriminator_temporal_{scale}": scale for scale in scales}

    @property
    def input_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("instance",) if self.config.vid2vid.boundaries else ()

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """See `Method`."""
        return ("image", "label", *self.input_keys)

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""
        maps = functools.partial(map_spec, size)

        condition = self.num_classes + self.config.vid2vid.boundaries
        num_frames = NUM_PREVIOUS + 1
        temporal = dict.fromkeys(self.scales, (maps(2 * NUM_PREVIOUS), maps(3 * num_frames)))
        return {
            "generator": (maps(num_frames * condition), maps(3 * NUM_PREVIOUS)),
            "discriminator_image": (maps(condition), maps(3)),
            **temporal,
        }

    def decays(self, discriminator: str) -> bool:
        """See `ClipMethod`: the code leaves the temporal discriminators' rates as they are."""
        return discriminator not in self.scales

    def clip(self, batch: Batch, keys: jax.Array) -> Clip:
        """See `ClipMethod`; the frames of a clip change in the same way."""
        num_frames = batch["image"].shape[1]
        flip_keys, zoom_keys = keys_per_frame(keys, num_frames, 2)
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        condition = self._condition(frames.label, frames.instance)
        return make_clip(condition, frames.image, num_frames, self.scales.values())

    def frames_to_make(self, step: int) -> tuple[int, int]:
        """See `ClipMethod`: clips of `first_length`, twice as many every so many epochs."""
        options, first = self.config.vid2vid, self._num_given
        longest = self.config.data.frames - first
        epoch = step / self.schedule.steps_per_epoch
        doublings = min(int(epoch // options.epochs_per_length), _MOST_DOUBLINGS)
        return first, first + min(options.first_length * 2**doublings, longest)

    def first_memory(self, clip: Clip) -> jax.Array:
        """See `moments.first_memory`."""
        return first_memory(clip, self._num_given)

    def remember(
        self, memory: jax.Array, time: jax.Array, generated: SequentialOutput
    ) -> jax.Array:
        """See `ClipMethod`."""
        return remember(memory, time, generated.image)

    def moment(self, clip: Clip, memory: jax.Array, time: jax.Array) -> Moment:
        """See `ClipMethod`."""
        return moment_at(clip, memory, time, self.scales, self._num_given)

    def generate(self, params: Params, moment: Moment) -> SequentialOutput:
        """See `ClipMethod`."""
        return self._generate(params, moment.conditions, moment.previous, moment.is_start)

    def judged(self, moment: Moment, generated: SequentialOutput) -> dict[str, Judged]:
        """D_I of the frame and of what it is blended of; D_V of triples of frames."""
        condition, real = (jnp.concatenate([x, x]) for x in (moment.condition, moment.image))
        fake = jnp.concatenate([generated.image, generated.raw])
        judged = {"discriminator_image": Judged(condition, real, fake)}
        for name, triple in moment.triples.items():
            judged[name] = Judged(
                triple.flow,
                jnp.concatenate([triple.real, moment.image], -1),
                jnp.concatenate([triple.fake, generated.image], -1),
            )
        return judged

    def shares(self, moment: Moment) -> dict[str, float | jax.Array]:
        """See `ClipMethod`: the code sums D_I's losses of the frame and of what it is made of."""
        ready = {
            name: triple.is_ready.astype(jnp.float32) for name, triple in moment.triples.items()
        }
        return {"discriminator_image": 2.0, **ready}

    def terms(
        self,
        moment: Moment,
        generated: SequentialOutput,
        real_scores: Mapping[str, DiscriminatorOutput],
        fake_scores: Mapping[str, DiscriminatorOutput],
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """What images are to look like, and how they are to move (eqs. 4 and 8 of the paper)."""
        weights, terms = self.config.loss, {}
        for name, share in self.shares(moment).items():
            kind = name.removeprefix("discriminator_")
            fake = fake_scores[name]
            adversarial = losses.adversarial_generator(fake, weights.adversarial)
            matching = losses.feature_matching(real_scores[name], fake, weights.feature_weighting)
            terms[f"generator/adversarial_{kind}"] = share * adversarial
            terms[f"generator/feature_matching_{kind}"] = (
                share * weights.feature_matching_weight * matching
            )
        if self.perceptual_network is not None:
            features = self.perceptual_network.features
            real = features(frozen_params, moment.image)
            terms["generator/perceptual"] = weights.perceptual_weight * losses.total(
                losses.perceptual(real, features(frozen_params, x), weights.perceptual_weighting)
                for x in (generated.image, generated.raw)
            )
        measures = {"l1": losses.l1(generated.image, moment.image)}
        return terms | self._motion_terms(moment, generated), measures

    def _motion_terms(self, moment: Moment, generated: SequentialOutput) -> Scalars:
        """The generator's flow is that of the real frames, and its frames follow it."""
        options, confidence = self.config.vid2vid, moment.confidence
        last = moment.previous[..., -3:]
        moved_real = warp(moment.real_before, generated.flow)
        moved_last = jax.lax.stop_gradient(warp(last, moment.flow))
        terms = {
            "generator/flow": options.flow_weight
            * losses.weighted_l1(generated.flow, moment.flow, confidence),
            "generator/flow_warping": options.warp_weight
            * losses.weighted_l1(moved_real, moment.image, confidence),
            "generator/warping": options.warp_weight
            * losses.weighted_l1(generated.image, moved_last, confidence),
        }
        if not self._num_given:  # what can be taken from the frame before is to be
            terms["generator/mask"] = losses.weighted_l1(
                generated.mask, jnp.zeros_like(generated.mask), confidence
            )
        return terms

    def controls(self, step: int) -> dict[str, Any]:
        """See `Method`."""
        return {}

    def notes(self, controls: Mapping[str, Any]) -> list[str]:
        """See `Method`."""
        if not self._num_given:
            return []
        return [
            "Clips begin after the frame that is given with the first label map: the CG frame, or "
            "where there is none the real one, whose colors the first frames then have."
        ]

    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        instance: jax.Array | None = None,
        memory: Mapping[str, jax.Array] | None = None,
    ) -> dict[str, Any]:
        """Translates a frame of each of B clips.

        Args:
            params: `{'generator': ...}`.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3]; with `vid2vid.first_frames` 'given' a clip begins
                after it, as if it had stood still; otherwise not used.
            instance: uint16 [B, H, W, 1], ids of instances; needed where `input_keys` says so.
            memory: of the frame before; without one, clips begin.

        Returns:
            `image` and `picture`; `memory` for the next frame; `mask`, 1 where a pixel is new and
            0 where it is moved from the frame before, and `boundaries`, float32 [B, H, W, 1].
        """
        condition = self._condition(label, instance)
        is_start = memory is None and not self._num_given
        if memory is None:
            given = to_float(edge_image) if self._num_given else jnp.zeros((*label.shape[:3], 3))
            memory = {"conditions": jnp.concatenate([condition] * NUM_PREVIOUS, -1)}
            memory |= {"images": jnp.concatenate([given] * NUM_PREVIOUS, -1)}
        conditions = jnp.concatenate([memory["conditions"], condition], -1)
        made = self._generate(params, conditions, memory["images"], jnp.asarray(is_start))
        images = jnp.concatenate([memory["images"], made.image], -1)
        remembered = {
            "conditions": conditions[..., condition.shape[-1] :],
            "images": images[..., 3:],
        }
        shown = {"boundaries": condition[..., -1:]} if self.config.vid2vid.boundaries else {}
        return {
            "image": made.image,
            "picture": to_uint8(made.image),
            "mask": made.mask,
            "memory": remembered,
            **shown,
        }

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`."""
        captions = {"boundaries": "boundaries", "new": "mask"}
        return {caption: outputs[key] for caption, key in captions.items() if key in outputs}

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`."""
        networks = ("generator.width", "generator.num_downsamplings", "generator.num_blocks")
        return (*networks, "discriminator", "vid2vid.boundaries", "vid2vid.num_temporal_scales")

    @property
    def _num_given(self) -> int:
        """Frames of a clip that are not made but given."""
        return NUM_PREVIOUS if self.config.vid2vid.first_frames == "given" else 0

    def _generate(
        self, params: Params, conditions: jax.Array, previous: jax.Array, is_start: jax.Array
    ) -> SequentialOutput:
        made = apply(self.generator, params["generator"], conditions, previous)
        # There is nothing to be moved at the start.
        return made._replace(image=jnp.where(is_start, made.raw, made.image))

    def _condition(self, label: jax.Array, instance: jax.Array | None) -> jax.Array:
        """The one-hot label map and, where they are shown, the boundaries, [N, H, W, C]."""
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        if not self.config.vid2vid.boundaries:
            return label_map
        if instance is None:
            raise ValueError("instance: found None, expected the ids of instances")
        return jnp.concatenate([label_map, instance_boundaries(instance)], -1)
