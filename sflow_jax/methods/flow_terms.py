"""The temporal terms of the video stage: eqs. 8 and 9."""

import jax
import ml_collections

from sflow_jax import losses
from sflow_jax.methods.base import Scalars
from sflow_jax.metrics import temporal
from sflow_jax.ops.image_flow import image_flow
from sflow_jax.ops.warp import consistency_mask


def split_pairs(frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First and second frames [B, H, W, C] of the pairs in [2 B, H, W, C]."""
    return frames[0::2], frames[1::2]


def flow_terms(
    fake: jax.Array, real: jax.Array, real_flow: jax.Array, options: ml_collections.ConfigDict
) -> tuple[Scalars, Scalars]:
    """The weighted terms that eq. 9 adds to the image losses, and what else is logged.

    Args:
        fake: both generated frames of each pair, [2 B, H, W, 3] in [-1, 1].
        real: the real frames of the same pairs.
        real_flow: the precomputed flow between these, [B, H, W, 2], pixels, x first.
        options: `config.flow`, which selects the terms.

    Returns:
        Terms by name, none if `flow.loss` is 'none'; and, whatever it is, `flow/farneback`, eq. 8
        without weight and mask, pixels, and `warping_error`.
    """
    first, second = split_pairs(fake)
    fake_flow, visible = image_flow(first, second), visible_mask(real, real_flow)
    mask = visible if options.mask != "none" else None
    terms = {}
    if options.loss in ("farneback", "both"):
        terms["generator/flow"] = options.farneback_weight * losses.flow(
            real_flow, fake_flow, mask if options.mask == "both" else None
        )
    if options.loss in ("warp", "both"):
        terms["generator/warping"] = options.warp_weight * losses.warping(
            first, second, real_flow, mask
        )
    return terms, {
        "flow/farneback": losses.flow(real_flow, fake_flow),
        "warping_error": pair_warping_error(fake, real_flow, visible),
    }


def visible_mask(real: jax.Array, real_flow: jax.Array) -> jax.Array:
    """Where real points are seen in both frames, by forward-backward consistency; [B, H, W, 1]."""
    first, second = split_pairs(real)
    return consistency_mask(real_flow, image_flow(second, first))


def pair_warping_error(fake: jax.Array, real_flow: jax.Array, visible: jax.Array) -> jax.Array:
    """The mean over pairs of what `metrics.temporal` calls so, of frames in [-1, 1].

    Every pair counts alike, however much of it is visible, so that the mean over devices is the
    mean over the whole batch.
    """
    arrays = (*split_pairs((fake + 1) / 2), real_flow, visible)
    return jax.vmap(temporal.warping_error)(*(x[:, None] for x in arrays)).mean()
