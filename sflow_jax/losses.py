"""The loss terms of the paper, equation by equation.

Every loss averages over the examples of its batch, so the mean over devices of per-device losses is
the loss of the whole batch. A discriminator's output is a list over scales of lists of features,
the last of which is the score (`models/discriminator.py`).
"""

import functools
import operator
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import optax

from sflow_jax.ops.warp import warp

ADVERSARIAL_FORMS = ("lsgan", "bce", "hinge")
FEATURE_WEIGHTINGS = ("paper", "pix2pixhd")
PERCEPTUAL_WEIGHTS = {
    "pix2pixhd": (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0),
    "uniform": (1 / 5,) * 5,  # 1 / P of eq. 6
}

DiscriminatorOutput = Sequence[Sequence[jax.Array]]


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean absolute difference, in float32 whatever the features were computed in."""
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean()


def weighted_l1(a: jax.Array, b: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean over all pixels and channels of the weighted absolute difference: vid2vid's masked L1.

    Unlike the mean over those pixels alone that a mask leaves, it falls with their share.

    Args:
        a: float [B, H, W, C].
        b: likewise.
        weights: of every pixel, [B, H, W, 1], at least 0.

    Returns:
        A scalar, float32.
    """
    return (weights * jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32))).mean()


def total(terms: Iterable[jax.Array]) -> jax.Array:
    """Sum of one or more terms, an array: Python's `sum` would begin with a number."""
    return functools.reduce(operator.add, terms)


def _score_loss(scores: jax.Array, is_real: bool, form: str) -> jax.Array:
    scores = scores.astype(jnp.float32)
    target = float(is_real)
    if form == "lsgan":
        return jnp.square(scores - target).mean()
    if form == "bce":
        return optax.sigmoid_binary_cross_entropy(scores, target).mean()
    if form == "hinge":
        return jax.nn.relu(1 - scores if is_real else 1 + scores).mean()
    raise ValueError(f"unknown adversarial form {form!r}; expected one of {ADVERSARIAL_FORMS}")


def adversarial_discriminator(
    real: DiscriminatorOutput, fake: DiscriminatorOutput, form: str = "lsgan"
) -> tuple[jax.Array, jax.Array]:
    """What the discriminators minimize in eqs. 2 and 3, summed over scales.

    Args:
        real: outputs of D(s, x).
        fake: outputs of D(s, G(s, e)).
        form: `lsgan` (least squares), `bce` (eq. 2) or `hinge`.

    Returns:
        The loss on the real pairs and the loss on the fake pairs, each halved as in pix2pixHD.
    """
    real_loss = total(_score_loss(features[-1], True, form) for features in real)
    fake_loss = total(_score_loss(features[-1], False, form) for features in fake)
    return 0.5 * real_loss, 0.5 * fake_loss


def adversarial_generator(fake: DiscriminatorOutput, form: str = "lsgan") -> jax.Array:
    """What the generator minimizes in eqs. 2 and 3, summed over scales.

    For `bce` this is the non-saturating `-log D(s, G(s, e))` in place of eq. 2's
    `log(1 - D(s, G(s, e)))`, whose gradient vanishes where D is sure; for `hinge` it is
    `-D(s, G(s, e))`.
    """
    if form == "hinge":
        return total(-features[-1].astype(jnp.float32).mean() for features in fake)
    return total(_score_loss(features[-1], True, form) for features in fake)


def discriminator_accuracy(
    real: DiscriminatorOutput, fake: DiscriminatorOutput, form: str = "lsgan"
) -> jax.Array:
    """Share of patches, real and fake alike, that the discriminators judge rightly."""
    boundary = 0.5 if form == "lsgan" else 0.0
    right = [(features[-1] > boundary).mean() for features in real]
    right += [(features[-1] <= boundary).mean() for features in fake]
    return total(right) / len(right)


def feature_matching(
    real: DiscriminatorOutput, fake: DiscriminatorOutput, weighting: str = "paper"
) -> jax.Array:
    """Feature matching over the T layers of every discriminator k (eq. 5).

    Args:
        real: outputs of D(s, x); no gradient flows into them.
        fake: outputs of D(s, G(s, e)).
        weighting: `paper` sums the layers' mean L1 (1 / N_i, N_i elements) over layers and scales;
            `pix2pixhd` weighs each layer with 4 / T and each scale with 1 / number of scales.
            They agree for one scale and the default four feature layers.

    Returns:
        A scalar.
    """
    if weighting not in FEATURE_WEIGHTINGS:
        raise ValueError(f"unknown weighting {weighting!r}; expected one of {FEATURE_WEIGHTINGS}")
    distances = []
    for real_features, fake_features in zip(real, fake, strict=True):
        num_layers = len(real_features) - 1  # the last one is the score, not a feature
        weight = 1.0 if weighting == "paper" else 4 / num_layers / len(real)
        for i in range(num_layers):
            distance = l1(fake_features[i], jax.lax.stop_gradient(real_features[i]))
            distances.append(weight * distance)
    return total(distances)


def perceptual(
    real_features: Sequence[jax.Array],
    fake_features: Sequence[jax.Array],
    weights: str = "pix2pixhd",
) -> jax.Array:
    """Perceptual distance over the P = 5 slices of a frozen network (eq. 6).

    Args:
        real_features: slices of the real image; no gradient flows into them.
        fake_features: slices of the generated image.
        weights: `pix2pixhd` (1/32, 1/16, 1/8, 1/4, 1) or `uniform` (1 / P, eq. 6 literally).

    Returns:
        A scalar.
    """
    slices = zip(PERCEPTUAL_WEIGHTS[weights], real_features, fake_features, strict=True)
    return total(weight * l1(fake, jax.lax.stop_gradient(real)) for weight, real, fake in slices)


def edge_bce(
    side_outputs: Sequence[jax.Array],
    target: jax.Array,
    weights: Sequence[float] | None = None,
    balanced: bool = True,
) -> jax.Array:
    """`L_DNED = sum_i a_i BCE(d_i, E(x))` (eq. 4).

    Args:
        side_outputs: N logits [B, H, W, 1].
        target: the clean edge map E(x), [B, H, W, 1] in {0, 1}.
        weights: the N weights a_i; all 1 by default.
        balanced: weigh edge pixels with the share of the others in their image and the others with
            the share of edge pixels, as HED does; a plain mean otherwise.

    Returns:
        A scalar.
    """
    weights = (1.0,) * len(side_outputs) if weights is None else weights
    balance: jax.Array | float = 1.0
    if balanced:
        edge_share = target.mean((1, 2, 3), keepdims=True)
        balance = target * (1 - edge_share) + (1 - target) * edge_share
    pairs = zip(weights, side_outputs, strict=True)
    bce = optax.sigmoid_binary_cross_entropy
    return total(a * (balance * bce(logits, target)).mean() for a, logits in pairs)


def flow(real_flow: jax.Array, fake_flow: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """`L_flow = |F(x_t, x_t+1) - F(G_t, G_t+1)|_1` (eq. 8), the mean over pixels and both axes.

    Args:
        real_flow: flow between the real frames, [B, H, W, 2], pixels; no gradient flows into it.
        fake_flow: flow between the generated frames, likewise.
        mask: weight of each pixel, [B, H, W, 1]; all 1 by default.

    Returns:
        A scalar, pixels.
    """
    return _masked_l1(fake_flow, jax.lax.stop_gradient(real_flow), mask)


def warping(
    first: jax.Array, second: jax.Array, real_flow: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """`|G_t - G_t+1 moved back along F(x_t, x_t+1)|_1`, the flow loss that vid2vid's users know.

    Args:
        first: generated frame, [B, H, W, 3] in [-1, 1].
        second: the next generated frame.
        real_flow: between the real frames, [B, H, W, 2], pixels.
        mask: where the flow can be trusted, [B, H, W, 1]; everywhere by default.

    Returns:
        A scalar, the mean over pixels and channels.
    """
    return _masked_l1(warp(second, real_flow), first, mask)


def _masked_l1(a: jax.Array, b: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Mean over the pixels that the mask leaves of each example, then over examples."""
    if mask is None:
        return l1(a, b)
    difference = jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean(-1, keepdims=True)
    return ((mask * difference).sum((1, 2, 3)) / jnp.maximum(mask.sum((1, 2, 3)), 1)).mean()
