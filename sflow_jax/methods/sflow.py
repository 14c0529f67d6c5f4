"""S-Flow GAN, the paper's method: G(s, e) on edges that DNED re-draws (eqs. 1 to 9).

Miron and Coscas, "S-Flow GAN" (arXiv 1905.08474). The same lines draw the edges and generate the
images in training (`generate`) and in use (`translate`).
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
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Judged, Method, Params, Scalars, Usage, apply
from sflow_jax.methods.flow_terms import flow_terms
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.dned import DNED, combine, sample_ensemble_weights
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.ops import augment
from sflow_jax.ops.laplacian import laplacian_edges, to_gray
from sflow_jax.ops.pixels import to_float, to_uint8
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a step knows of its examples before any network runs, N pictures of them.

    Attributes:
        label_map: s, one-hot float32 [N, H, W, C].
        image: x, the real image in [-1, 1], [N, H, W, 3].
        edge_map: E(x), the clean Laplacian edges in {0, 1}, [N, H, W, 1].
        dned_input: what DNED sees, corrupted where it is an edge map, [N, H, W, 1 or 3].
        flow: F(x_t, x_t+1), float32 [B, H, W, 2], pixels, x first; None for single frames.
    """

    label_map: jax.Array
    image: jax.Array
    edge_map: jax.Array
    dned_input: jax.Array
    flow: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Generated:
    """What the networks make of a scene.

    Attributes:
        image: G(s, e), float32 [N, H, W, 3] in [-1, 1].
        side_outputs: d_1 ... d_6 of DNED, logits [N, H, W, 1].
        edge_map: e, what the generator sees, [N, H, W, 1] in [0, 1].
        dned_share: how much of e is DNED's; the rest is the Laplacian's.
    """

    image: jax.Array
    side_outputs: list[jax.Array]
    edge_map: jax.Array
    dned_share: float | jax.Array


@dataclasses.dataclass(frozen=True, eq=False)  # its functions are compiled, known by identity
class SFlow(Method[Scene, Generated]):
    """The three networks of eq. 7 and the rules by which they play.

    Attributes:
        config: the whole config.
        num_classes: channels of the one-hot label map.
        schedule: when DNED's edges take the place of the Laplacian's.
        generator: G(s, e), label and edge map to images.
        dned: the edge detector; it is trained even where the generator does not see it.
        discriminator: D_k(s, x).
        perceptual_network: the frozen network of eq. 6, or None where its weight is 0.
    """

    config: ml_collections.ConfigDict
    num_classes: int
    schedule: Schedule
    generator: nn.Module
    dned: nn.Module
    discriminator: nn.Module
    perceptual_network: PerceptualNetwork | None = None

    @classmethod
    def from_config(
        cls,
        config: ml_collections.ConfigDict,
        num_classes: int,
        schedule: Schedule,
        perceptual_network: PerceptualNetwork | None = None,
    ) -> "SFlow":
        """See `Method`."""
        dtype = jnp.dtype(config.train.compute_dtype)
        generator, discriminator = config.generator, config.discriminator
        sizes = {
            "width": generator.width,
            "num_downsamplings": generator.num_downsamplings,
            "num_blocks": generator.num_blocks,
            "dtype": dtype,
            "remat": generator.remat,
        }
        return cls(
            config,
            num_classes,
            schedule,
            LocalEnhancer(num_local_blocks=generator.num_local_blocks, **sizes)
            if generator.kind == "local"
            else GlobalGenerator(**sizes),
            DNED(config.dned.width, dtype),
            MultiScaleDiscriminator(
                discriminator.num_scales, discriminator.width, discriminator.num_layers, dtype
            ),
            perceptual_network,
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """G and DNED, trained by one optimizer (the min over G of eq. 7)."""
        return {"generator": self.generator, "dned": self.dned}

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """Of single frames, or of pairs with the flow between them."""
        return ("image", "label", "flow") if self.config.data.frames == 2 else ("image", "label")

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""

        def images(channels: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)

        label_map, edge_map = images(self.num_classes), images(1)
        seen = images(self.num_classes + self.config.discriminator.sees_edges)
        return {
            "generator": (label_map, edge_map) if self._generator_sees_edges else (label_map,),
            "dned": (images(3 if self.config.dned.input == "rgb" else 1),),
            "discriminator": (seen, images(3)),
        }

    def scene(self, batch: Batch, keys: jax.Array) -> Scene:
        """See `Method`; both frames of a pair change in the same way."""
        num_frames = batch["image"].shape[1]
        flip_keys, corruption_keys, zoom_keys = keys_per_frame(keys, num_frames, 3)
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        edge_map = self._laplacian(frames.image)
        return Scene(
            jax.nn.one_hot(frames.label[..., 0], self.num_classes),
            frames.image,
            edge_map,
            self._dned_input(frames.image, edge_map, corruption_keys),
            frames.flow,
        )

    def generate(self, params: Params, scene: Scene, step: jax.Array) -> Generated:
        """See `Method`; a_i are those of training."""
        weights = jnp.asarray(self.config.loss.side_weights)
        share = self.schedule.dned_share(step)
        return self._generate(
            params, scene.label_map, scene.edge_map, scene.dned_input, weights, share
        )

    def judged(self, scene: Scene, generated: Generated) -> Judged:
        """D(s, x) and D(s, G(s, e)) of eqs. 2 and 3."""
        seen = scene.label_map
        if self.config.discriminator.sees_edges:
            seen = jnp.concatenate([seen, jax.lax.stop_gradient(generated.edge_map)], -1)
        return Judged(seen, scene.image, generated.image)

    def terms(
        self,
        scene: Scene,
        generated: Generated,
        real_scores: DiscriminatorOutput,
        fake_scores: DiscriminatorOutput,
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """Eq. 7, `L_GAN + l1 L_FM + l3 L_DNED + l2 L_percep`, and for pairs eq. 9, `+ L_flow`."""
        weights = self.config.loss
        measures: Scalars = {}
        terms = {
            "generator/adversarial": losses.adversarial_generator(fake_scores, weights.adversarial),
            "generator/feature_matching": weights.feature_matching_weight
            * losses.feature_matching(real_scores, fake_scores, weights.feature_weighting),
            "generator/dned": weights.dned_weight
            * losses.edge_bce(
                generated.side_outputs,
                scene.edge_map,
                weights.side_weights,
                self.config.dned.balanced,
            ),
        }
        if scene.flow is not None:
            temporal_terms, measures = flow_terms(
                generated.image, scene.image, scene.flow, self.config.flow
            )
            terms |= temporal_terms
        if self.perceptual_network is not None:
            terms["generator/perceptual"] = weights.perceptual_weight * losses.perceptual(
                self.perceptual_network.features(frozen_params, scene.image),
                self.perceptual_network.features(frozen_params, generated.image),
                weights.perceptual_weighting,
            )
        return terms, measures | {
            "edge_density": scene.edge_map.mean(),
            "dned_share": jnp.asarray(generated.dned_share),
        }

    def controls(self, step: int) -> dict[str, Any]:
        """The share of DNED's edges that the generator knows at this step."""
        return {"share": float(self.schedule.dned_share(step))}

    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        weights: jax.Array | None = None,
        share: float | jax.Array = 1.0,
    ) -> dict[str, jax.Array]:
        """Translates frames, guided by the edges of a CG or real frame.

        Args:
            params: `{'generator': ..., 'dned': ...}`.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3] whose edges guide the generator; a frame of one
                color has no edges.
            weights: ensemble weights [6] or [B, 6] for DNED's side outputs, by default those of
                training (`loss.side_weights`).
            share: of DNED's edges in the generator's edge map: 1 after training, less during the
                first stages.

        Returns:
            Besides `image` and `picture`: `laplacian` and `edge_map` (the edges before and after
            DNED, [B, H, W, 1] in [0, 1]) and `side_outputs` (logits [6, B, H, W, 1]).
        """
        image = to_float(edge_image)
        laplacian = self._laplacian(image)
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        weights = jnp.asarray(self.config.loss.side_weights) if weights is None else weights
        generated = self._generate(
            params, label_map, laplacian, self._dned_input(image, laplacian), weights, share
        )
        return {
            "image": generated.image,
            "picture": to_uint8(generated.image),
            "laplacian": laplacian,
            "edge_map": generated.edge_map,
            "side_outputs": jnp.stack(generated.side_outputs),
        }

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`: Laplacian edges, the six side outputs and what the generator sees."""
        sides = jax.nn.sigmoid(outputs["side_outputs"])
        names = [f"d{side}" for side in range(1, len(sides))] + ["fusion"]
        drawn = dict(zip(names, sides, strict=True))
        return {"Laplacian": outputs["laplacian"], **drawn, "edges into G": outputs["edge_map"]}

    def usages(self, controls: Mapping[str, Any]) -> dict[str, Usage]:
        """DNED's edges, Laplacian ones and none, as far as the generator has learned them."""
        usages = {}
        if self._sees_dned(controls):
            usages["DNED edges"] = Usage(controls)
        # The others not through DNED, which draws something even where there is no edge.
        laplacian = {**controls, "share": 0.0}
        if self._generator_sees_edges:
            usages["Laplacian, no DNED"] = Usage(laplacian)
        return usages | {"labels only, no edges": Usage(laplacian, sees_edge_image=False)}

    def variants(self, num_variants: int, seed: int | None) -> list[dict[str, Any]]:
        """Ensemble weights, float32 [6] of sum 1: those of training, or Dirichlet draws."""
        if seed is None:
            weights = np.asarray(self.config.loss.side_weights, np.float32)
            return [{"weights": weights / weights.sum()}] * num_variants
        keys = [jax.random.fold_in(jax.random.key(seed), k) for k in range(num_variants)]
        return [{"weights": np.asarray(sample_ensemble_weights(key))} for key in keys]

    def why_no_variants(self, controls: Mapping[str, Any]) -> str:
        """See `Method`: variants differ in the edges that DNED draws."""
        if self._sees_dned(controls):
            return ""
        return (
            "variants come from DNED, and the generator has not seen its edges (generator.edges = "
            f"{self.config.generator.edges!r}, share of DNED {controls['share']:g})"
        )

    def notes(self, controls: Mapping[str, Any]) -> list[str]:
        """See `Method`: whether the run has come to its last stage."""
        if self.config.generator.edges != "dned" or controls["share"] == 1:
            return []
        return [
            "The run has not reached its last stage: the generator's edges are "
            f"{100 * controls['share']:.0f} % DNED's and otherwise Laplacian."
        ]

    def describe_stages(self) -> list[str]:
        """See `Method`: when DNED's edges take over."""
        first, last = self.schedule.laplacian_steps, self.schedule.ramp_steps
        return [f"Laplacian edges to step {first}, DNED edges from step {first + last}"]

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`; the ensemble too, where the generator sees DNED's edges."""
        ensemble = ("loss.side_weights",) if config.generator.edges == "dned" else ()
        return ("edges", "generator", "discriminator", "dned.width", "dned.input", *ensemble)

    @classmethod
    def why_not_ready(
        cls, config: ml_collections.ConfigDict, source: Schedule, source_step: int
    ) -> str:
        """See `Method`: the generator would be given edges that it has not seen alone."""
        share = float(source.dned_share(source_step))
        has_stages = config.train.laplacian_epochs or config.train.ramp_epochs
        if config.generator.edges != "dned" or has_stages or share == 1:
            return ""
        return (
            f"is at step {source_step}, where the generator's edges are DNED's by {share:.0%}; "
            f"expected step {source.laplacian_steps + source.ramp_steps} or later, or "
            "config.train.laplacian_epochs and ramp_epochs that lead there"
        )

    def _sees_dned(self, controls: Mapping[str, Any]) -> bool:
        """Whether DNED's edges reach the generator, so that ensemble weights make a difference."""
        return self.config.generator.edges == "dned" and controls["share"] > 0

    @property
    def _generator_sees_edges(self) -> bool:
        return self.config.generator.edges != "none"

    def _laplacian(self, image: jax.Array) -> jax.Array:
        """E(x) of images [N, H, W, 3] in [-1, 1]."""
        return laplacian_edges(image, self.config.edges.threshold, self.config.edges.quantile)

    def _dned_input(
        self, image: jax.Array, edge_map: jax.Array, corruption_keys: jax.Array | None = None
    ) -> jax.Array:
        """What DNED sees of an image: its edges, gray or RGB.

        In training, edges are corrupted with a random key for each of them, so that the first side
        output cannot just copy them.
        """
        kind, augmentation = self.config.dned.input, self.config.augmentation
        if kind == "rgb":
            return image
        if kind == "gray":
            return 2 * to_gray(image) - 1
        if corruption_keys is None:
            return edge_map
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(corruption_keys)
        scales = augment.random_threshold_scales(keys[:, 0], augmentation.threshold_jitter)
        edges = self.config.edges
        corrupted = laplacian_edges(image, edges.threshold, edges.quantile, scales)
        corrupted = augment.drop_edges(keys[:, 1], corrupted, augmentation.edge_dropout)
        return augment.blur_edges(keys[:, 2], corrupted, augmentation.edge_blur)

    def _generate(
        self,
        params: Params,
        label_map: jax.Array,
        laplacian: jax.Array,
        dned_input: jax.Array,
        weights: jax.Array,
        share: float | jax.Array,
    ) -> Generated:
        """Draws the edges e and generates G(s, e)."""
        side_outputs = apply(self.dned, params["dned"], dned_input)
        edge_map = laplacian
        if self.config.generator.edges == "dned":
            drawn = combine(side_outputs, weights)
            if self.config.dned.stop_gradient:
                drawn = jax.lax.stop_gradient(drawn)
            edge_map = share * drawn + (1 - share) * laplacian
        inputs = (label_map, edge_map) if self._generator_sees_edges else (label_map,)
        image = apply(self.generator, params["generator"], *inputs)
        return Generated(image, side_outputs, edge_map, share)
