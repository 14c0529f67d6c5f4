"""S-Flow GAN, the paper's method: G(s, e) on edges that DNED re-draws (eqs. 1 to 9).

Miron and Coscas, "S-Flow GAN" (arXiv 1905.08474). The same lines draw the edges and generate the
images in training (`generate`) and in use (`translate`).
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sflow_jax import losses
from sflow_jax.data.labels import ClassTable
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Params, Scalars, apply, map_spec
from sflow_jax.methods.edges import clean_edges, dned_input
from sflow_jax.methods.flow_terms import flow_terms
from sflow_jax.methods.frames import augmented_frames, keys_per_frame
from sflow_jax.methods.image_method import Judged
from sflow_jax.methods.networks import (
    create_discriminator,
    create_generator,
    generator_params,
)
from sflow_jax.methods.palette import class_colors, paint
from sflow_jax.methods.sflow_usage import SFlowUsage
from sflow_jax.models.dned import DNED, combine, sample_ensemble_weights
from sflow_jax.ops import augment
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
        ensemble_weights: a_i of the edges that the generator sees, [N, 6].
        shifts: by which the critics see all of it moved, [N, 2].
        windows: where the part begins that the perceptual network sees, [N] in [0, 1).
        flow: F(x_t, x_t+1), float32 [B, H, W, 2], pixels, x first; None for single frames.
        palette: the colors that the generator is told, [N, C, 3]; None where it is told none.
    """

    label_map: jax.Array
    image: jax.Array
    edge_map: jax.Array
    dned_input: jax.Array
    ensemble_weights: jax.Array
    shifts: jax.Array
    windows: jax.Array
    flow: jax.Array | None = None
    palette: jax.Array | None = None


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
class SFlow(SFlowUsage[Scene, Generated]):
    """The three networks of eq. 7 and the rules by which they play.

    Attributes:
        config: the whole config.
        num_classes: channels of the one-hot label map.
        schedule: when DNED's edges take the place of the Laplacian's.
        generator: G(s, e), label and edge map to images.
        dned: the edge detector; it is trained even where the generator does not see it.
        discriminator: D_k(s, x).
        perceptual_network: the frozen network of eq. 6, or None where its weight is 0.
        palettes: the colors that the generator is told in use, [K, C, 3]; None where it is told
            none.
    """

    config: ml_collections.ConfigDict
    num_classes: int
    schedule: Schedule
    generator: nn.Module
    dned: nn.Module
    discriminator: nn.Module
    perceptual_network: PerceptualNetwork | None = None
    palettes: np.ndarray | None = None

    @classmethod
    def from_config(
        cls,
        config: ml_collections.ConfigDict,
        class_table: ClassTable,
        schedule: Schedule,
        perceptual_network: PerceptualNetwork | None = None,
        palettes: np.ndarray | None = None,
    ) -> "SFlow":
        """See `Method`."""
        dtype = jnp.dtype(config.train.compute_dtype)
        return cls(
            config,
            class_table.num_classes,
            schedule,
            create_generator(config),
            DNED(config.dned.width, dtype),
            create_discriminator(config),
            perceptual_network,
            palettes,
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """G and DNED, trained by one optimizer (the min over G of eq. 7)."""
        return {"generator": self.generator, "dned": self.dned}

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """Of single frames, or of pairs with the flow between them."""
        flow = ("flow",) if self.config.data.frames == 2 else ()
        cg = ("cg",) if self.config.augmentation.cg_edges else ()
        return ("image", "label", *flow, *cg)

    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """See `Method`."""
        images = functools.partial(map_spec, size)

        guide = self.sees_edges + 3 * self.generator_sees_colors
        label_map = images(self.num_classes)
        seen = images(self.num_classes + self.config.discriminator.sees_edges)
        return {
            "generator": (label_map, images(guide)) if guide else (label_map,),
            "dned": (images(3 if self.config.dned.input == "rgb" else 1),),
            "discriminator": (seen, images(3)),
        }

    def perceptual_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See `Method`: of the window."""
        height, width = size
        return height, augment.window_width(width, self.config.loss.perceptual_window)

    def scene(self, batch: Batch, keys: jax.Array) -> Scene:
        """See `Method`; both frames of a pair change in the same way."""
        num_frames = batch["image"].shape[1]
        keys_of = keys_per_frame(keys, num_frames, 7)
        flip_keys, corruption_keys, zoom_keys, cg_keys, ensemble_keys, *judge_keys = keys_of
        shift_keys, window_keys = judge_keys
        frames = augmented_frames(batch, flip_keys, zoom_keys, self.config)
        edge_map = clean_edges(frames.image, self.config)
        guide = frames.image
        if frames.cg is not None:
            share = self.config.augmentation.cg_edges
            guide = augment.mix_examples(cg_keys, guide, frames.cg, share)
        label_map = jax.nn.one_hot(frames.label[..., 0], self.num_classes)
        return Scene(
            label_map,
            frames.image,
            edge_map,
            dned_input(guide, self.config, corruption_keys),
            self._draw_ensemble_weights(ensemble_keys),
            augment.random_shifts(shift_keys, self.config.loss.num_shifts),
            augment.random_windows(window_keys),
            frames.flow,
            class_colors(label_map, frames.image, num_frames)
            if self.generator_sees_colors
            else None,
        )

    def generate(self, params: Params, scene: Scene, step: jax.Array) -> Generated:
        """See `Method`."""
        return self._generate(
            params,
            scene.label_map,
            scene.edge_map,
            scene.dned_input,
            scene.ensemble_weights,
            self.schedule.dned_share(step),
            scene.palette,
        )

    def judged(self, scene: Scene, generated: Generated) -> Judged:
        """D(s, x) and D(s, G(s, e)) of eqs. 2 and 3."""
        seen = scene.label_map
        if self.config.discriminator.sees_edges:
            seen = jnp.concatenate([seen, jax.lax.stop_gradient(generated.edge_map)], -1)
        return jax.tree.map(
            lambda x: augment.shift(x, scene.shifts, self.config.loss.num_shifts),
            Judged(seen, scene.image, generated.image),
        )

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
            judged = self.judged(scene, generated)
            real, fake = (
                self.perceptual_network.features(
                    frozen_params,
                    augment.cut_window(image, scene.windows, weights.perceptual_window),
                )
                for image in (judged.real, judged.fake)
            )
            terms["generator/perceptual"] = weights.perceptual_weight * losses.perceptual(
                real, fake, weights.perceptual_weighting
            )
        return terms, measures | {
            "edge_density": scene.edge_map.mean(),
            "dned_share": jnp.asarray(generated.dned_share),
        }

    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        weights: jax.Array | None = None,
        share: float | jax.Array = 1.0,
        style: int | jax.Array = 0,
        edge_map: jax.Array | None = None,
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
            style: which of the run's palettes the generator is told, or which for each frame, [B];
                nothing where it is told none.
            edge_map: another detector's edges, [B, H, W, 1] in [0, 1], in place of the
                Laplacian's, for a DNED that sees edges as well; with a share of 0 they are all
                that the generator sees.

        Returns:
            Besides `image` and `picture`: `laplacian` and `edge_map` (the edges before and after
            DNED, [B, H, W, 1] in [0, 1]) and `side_outputs` (logits [6, B, H, W, 1]).
        """
        image = to_float(edge_image)
        edges = clean_edges(image, self.config) if edge_map is None else edge_map
        label_map = jax.nn.one_hot(label[..., 0], self.num_classes)
        weights = jnp.asarray(self.config.loss.side_weights) if weights is None else weights
        palette = None if self.palettes is None else jnp.asarray(self.palettes)[style]
        seen = edges if self.config.dned.input == "edges" else dned_input(image, self.config)
        generated = self._generate(params, label_map, edges, seen, weights, share, palette)
        return {
            "image": generated.image,
            "picture": to_uint8(generated.image),
            "laplacian": edges,
            "edge_map": generated.edge_map,
            "side_outputs": jnp.stack(generated.side_outputs),
        }

    def _draw_ensemble_weights(self, keys: jax.Array) -> jax.Array:
        """a_i of each frame, [N, 6]: those of the config, or a draw like those of variants."""
        weights = jnp.asarray(self.config.loss.side_weights, jnp.float32)
        weights = jnp.broadcast_to(weights, (len(keys), len(weights)))
        if not self.config.dned.ensemble_draws:
            return weights
        keys = jax.vmap(jax.random.split)(keys)
        draws = jax.vmap(sample_ensemble_weights)(keys[:, 0])
        return augment.mix_examples(keys[:, 1], weights, draws, self.config.dned.ensemble_draws)

    def _generate(
        self,
        params: Params,
        label_map: jax.Array,
        laplacian: jax.Array,
        dned_input: jax.Array,
        weights: jax.Array,
        share: float | jax.Array,
        palette: jax.Array | None,
    ) -> Generated:
        """Draws the edges e and generates G(s, e)."""
        dned_params = params["dned"]
        if self.config.dned.frozen:
            dned_params = jax.lax.stop_gradient(dned_params)
        side_outputs = apply(self.dned, dned_params, dned_input)
        edge_map = laplacian
        if self.config.generator.edges == "dned":
            drawn = combine(side_outputs, weights)
            if self.config.dned.stop_gradient:
                drawn = jax.lax.stop_gradient(drawn)
            edge_map = share * drawn + (1 - share) * laplacian
        guides = [edge_map] if self.sees_edges else []
        if palette is not None:
            guides.append(paint(label_map, palette))
        guide = [jnp.concatenate(guides, -1)] if guides else []
        generator = generator_params(params["generator"], self.config)
        image = apply(self.generator, generator, label_map, *guide)
        return Generated(image, side_outputs, edge_map, share)
