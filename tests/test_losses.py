"""Every loss against its equation in NumPy, and its gradient against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sflow_jax import losses
from sflow_jax.ops.warp import warp
from tests.double_precision import double_precision
from tests.fast_jit import fast_jit


def outputs(seed, num_scales=2):
    """A discriminator's output: at every scale three features and a score, of several sizes."""
    random = np.random.RandomState(seed)
    shapes = [(2, 5, 4, 3), (2, 3, 3, 6), (2, 3, 2, 4), (2, 4, 3, 1)]
    return [[random.standard_normal(shape) for shape in shapes] for _ in range(num_scales)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def check_gradient(loss, tree, num_directions=3):
    """The gradient of `loss` at `tree` against central differences in float64."""
    with double_precision():
        tree = jax.tree.map(jnp.asarray, tree)
        gradient = fast_jit(jax.grad(loss))(tree)
        value = fast_jit(loss)
        random = np.random.RandomState(0)
        for _ in range(num_directions):
            direction = jax.tree.map(lambda x: random.standard_normal(x.shape), tree)
            ahead, behind = (
                value(jax.tree.map(lambda x, d, s=sign: x + s * 1e-6 * d, tree, direction))
                for sign in (1, -1)
            )
            products = jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)
            expected = sum(map(float, jax.tree.leaves(products)))
            assert abs(expected) > 1e-4
            np.testing.assert_allclose((ahead - behind) / 2e-6, expected, rtol=1e-5)


SCORE_LOSSES = {  # on real, on fake, for the generator
    "lsgan": (lambda x: (x - 1) ** 2, lambda x: x**2, lambda x: (x - 1) ** 2),
    "bce": (
        lambda x: -np.log(sigmoid(x)),
        lambda x: -np.log(1 - sigmoid(x)),
        lambda x: -np.log(sigmoid(x)),
    ),
    "hinge": (lambda x: np.maximum(0, 1 - x), lambda x: np.maximum(0, 1 + x), lambda x: -x),
}


@pytest.mark.parametrize("form", losses.ADVERSARIAL_FORMS)
def test_adversarial_losses(form):
    real, fake = outputs(0), outputs(1)
    on_real, on_fake, for_generator = SCORE_LOSSES[form]
    found = losses.adversarial_discriminator(real, fake, form)
    expected = [
        0.5 * sum(on_real(features[-1]).mean() for features in real),
        0.5 * sum(on_fake(features[-1]).mean() for features in fake),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    expected = sum(for_generator(features[-1]).mean() for features in fake)
    np.testing.assert_allclose(losses.adversarial_generator(fake, form), expected, rtol=1e-5)


@pytest.mark.parametrize("form", losses.ADVERSARIAL_FORMS)
def test_gradients_of_the_adversarial_losses(form):
    check_gradient(
        lambda pair: sum(losses.adversarial_discriminator(*pair, form)), [outputs(0), outputs(1)]
    )
    check_gradient(functools.partial(losses.adversarial_generator, form=form), outputs(1))


@pytest.mark.parametrize(("form", "boundary"), [("lsgan", 0.5), ("bce", 0.0), ("hinge", 0.0)])
def test_accuracy_counts_patches_on_the_right_side(form, boundary):
    real, fake = outputs(0), outputs(1)
    right = [(features[-1] > boundary).mean() for features in real]
    right += [(features[-1] <= boundary).mean() for features in fake]
    found = losses.discriminator_accuracy(real, fake, form)
    np.testing.assert_allclose(found, np.mean(right), rtol=1e-6)
    assert losses.discriminator_accuracy([[jnp.ones(4)]], [[jnp.zeros(4)]], form) == 1


def test_the_library_has_the_right_cross_entropy_and_gradient_at_0_and_far_from_it():
    bce = optax.sigmoid_binary_cross_entropy
    logits = jnp.array([-1e4, -3.0, 0.0, 3.0, 1e4])
    for target in (0.0, 1.0):
        sign = 1 - 2 * target
        expected = [
            max(0, sign * x) if abs(x) > 100 else np.log1p(np.exp(sign * x)) for x in logits
        ]
        np.testing.assert_allclose(bce(logits, target), expected, rtol=1e-6)
        gradient = jax.vmap(jax.grad(bce), (0, None))(logits, target)
        np.testing.assert_allclose(gradient, sigmoid(np.clip(logits, -80, 80)) - target, atol=1e-6)


@pytest.mark.parametrize("weighting", losses.FEATURE_WEIGHTINGS)
def test_feature_matching(weighting):
    real, fake = outputs(0), outputs(1)
    expected = 0.0
    for k in range(2):
        for i in range(3):  # the score is not a feature
            mean = np.abs(real[k][i] - fake[k][i]).sum() / real[k][i].size
            expected += mean if weighting == "paper" else mean * 4 / 3 / 2
    found = losses.feature_matching(real, fake, weighting)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("weighting", losses.FEATURE_WEIGHTINGS)
def test_gradient_of_feature_matching(weighting):
    real, fake = outputs(0), outputs(1)
    features = [scale[:3] for scale in fake]

    def loss(features):
        return losses.feature_matching(real, [[*scale, 0.0] for scale in features], weighting)

    check_gradient(loss, features)


def slices(seed):
    random = np.random.RandomState(seed)
    return [random.standard_normal((2, 8 >> i, 6, 3 + i)) for i in range(4)] + [
        random.standard_normal((2, 1, 1, 9))
    ]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("pix2pixhd", [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]), ("uniform", [0.2] * 5)],
)
def test_perceptual(weights, expected):
    real, fake = slices(0), slices(1)
    value = sum(w * np.abs(a - b).mean() for w, a, b in zip(expected, real, fake, strict=True))
    np.testing.assert_allclose(losses.perceptual(real, fake, weights), value, rtol=1e-5)
    check_gradient(lambda x: losses.perceptual(slices(0), x, weights), fake)


def test_the_real_side_is_detached():
    matching = fast_jit(jax.grad(losses.feature_matching, argnums=0))(outputs(0), outputs(1))
    perceptual = fast_jit(jax.grad(losses.perceptual, argnums=0))(slices(0), slices(1))
    for leaf in jax.tree.leaves((matching, perceptual)):
        np.testing.assert_array_equal(leaf, 0)


def edges(density=0.2):
    """Target edge maps of two images, the second with twice the edges of the first."""
    random = np.random.RandomState(2)
    uniform = random.uniform(size=(2, 12, 10, 1))
    return (uniform < density * np.array([1, 2]).reshape(2, 1, 1, 1)).astype(np.float32)


def logits():
    return [np.random.RandomState(i).standard_normal((2, 12, 10, 1)) * 2 for i in range(6)]


@pytest.mark.parametrize("weights", [None, (1, 0.5, 2, 0, 1, 3)])
def test_balanced_edge_bce_as_hed_has_it(weights):
    """Positives weigh negatives / total, negatives positives / total, image by image."""
    target, sides, expected = edges(), logits(), 0.0
    for a, x in zip(weights or (1,) * 6, sides, strict=True):
        for image in range(2):
            probability = sigmoid(x[image])
            positive = target[image] == 1
            share = positive.sum() / positive.size
            cost = -np.log(probability[positive]).sum() * (1 - share)
            cost -= np.log(1 - probability[~positive]).sum() * share
            expected += a * cost / positive.size / 2
    np.testing.assert_allclose(losses.edge_bce(sides, target, weights), expected, rtol=1e-5)


def test_plain_edge_bce():
    target, sides = edges(), logits()
    expected = sum(
        -(target * np.log(sigmoid(x)) + (1 - target) * np.log(1 - sigmoid(x))).mean() for x in sides
    )
    np.testing.assert_allclose(losses.edge_bce(sides, target, balanced=False), expected, rtol=1e-5)


@pytest.mark.parametrize("balanced", [True, False])
def test_gradient_of_edge_bce(balanced):
    weights = (1, 0.5, 2, 0, 1, 3)
    check_gradient(lambda x: losses.edge_bce(x, edges(), weights, balanced), logits())


def test_balanced_edge_bce_without_edges_is_zero():
    assert losses.edge_bce(logits(), np.zeros((2, 12, 10, 1), np.float32)) == 0


def test_losses_of_bfloat16_features_are_float32():
    real, fake = (
        [[jnp.asarray(x, jnp.bfloat16) for x in scale] for scale in outputs(seed)]
        for seed in (0, 1)
    )
    values = [
        losses.feature_matching(real, fake),
        losses.adversarial_generator(fake),
        *losses.adversarial_discriminator(real, fake),
        losses.adversarial_generator(fake, "hinge"),
    ]
    assert {value.dtype for value in values} == {jnp.dtype("float32")}
    expected = losses.feature_matching(outputs(0), outputs(1))
    np.testing.assert_allclose(values[0], expected, rtol=0.01)


def test_the_loss_of_a_batch_is_the_mean_over_its_parts():
    """So that a mean over devices is the loss of the whole batch."""
    real, fake, target, sides = outputs(0), outputs(1), edges(), logits()

    def all_losses(part):
        a, b = (jax.tree.map(lambda x: x[part], tree) for tree in (real, fake))
        return [
            losses.feature_matching(a, b),
            *losses.adversarial_discriminator(a, b),
            losses.adversarial_generator(b),
            losses.edge_bce([x[part] for x in sides], target[part]),
            losses.perceptual([x[part] for x in slices(0)], [x[part] for x in slices(1)]),
        ]

    halves = [all_losses(slice(0, 1)), all_losses(slice(1, 2))]
    np.testing.assert_allclose(np.mean(halves, 0), all_losses(slice(0, 2)), rtol=1e-5)


def flows(seed):
    return np.random.RandomState(seed).normal(0, 2, (3, 8, 10, 2)).astype(np.float32)


def visible():
    """A mask of which the second example has nothing."""
    mask = (np.random.RandomState(5).random((3, 8, 10, 1)) < 0.6).astype(np.float32)
    mask[1] = 0
    return mask


def test_the_flow_loss_is_the_mean_difference_of_flows():
    real, fake, mask = flows(0), flows(1), visible()
    np.testing.assert_allclose(losses.flow(real, fake), np.abs(real - fake).mean(), rtol=1e-6)
    means = [
        (mask[i] * np.abs(real[i] - fake[i])).sum() / max(2 * mask[i].sum(), 1) for i in range(3)
    ]
    np.testing.assert_allclose(losses.flow(real, fake, mask), np.mean(means), rtol=1e-6)


def test_no_gradient_flows_into_the_real_flow():
    gradient = jax.grad(lambda real: losses.flow(real, flows(1)))(flows(0))
    assert not np.any(gradient)


def test_the_warping_loss_moves_the_second_frame_back():
    second = np.random.RandomState(0).standard_normal((1, 6, 9, 3)).astype(np.float32)
    first = np.roll(second, 2, axis=2)  # the first shows at x what the second shows at x - 2
    flow = np.broadcast_to(np.float32([-2, 0]), (1, 6, 9, 2))
    seen = np.ones((1, 6, 9, 1), np.float32)
    seen[:, :, :2] = 0
    assert losses.warping(first, second, flow, seen) == 0
    assert losses.warping(first, second, flow) > 0
    np.testing.assert_allclose(
        losses.warping(first, second, 0 * flow), np.abs(first - second).mean(), rtol=1e-6
    )


def test_the_weighted_l1_is_a_mean_over_all_pixels_as_in_vid2vid():
    a = np.zeros((1, 2, 2, 3), np.float32)
    b = np.full((1, 2, 2, 3), 1.0, np.float32)
    b[0, 0, 0] = [3, -6, 0]
    mask = np.float32([1, 1, 0, 0]).reshape(1, 2, 2, 1)
    assert losses.weighted_l1(a, b, mask) == (3 + 6 + 0 + 3 * 1) / 12
    assert losses.weighted_l1(b, a, 0.5 * mask) == 0.5
    assert losses.weighted_l1(a, b, 0 * mask) == 0
    assert losses.flow(a, b, mask) == 2  # the mean over the two pixels that the mask leaves


def test_gradient_of_the_weighted_l1():
    check_gradient(lambda fake: losses.weighted_l1(fake, frames(0), visible()), frames(1))
    check_gradient(
        lambda flow: losses.weighted_l1(warp(frames(0), flow), frames(1), visible()),
        np.random.RandomState(3).uniform(0.2, 0.8, (3, 8, 10, 2)),
    )


def frames(seed):
    return np.random.RandomState(seed).uniform(-1, 1, (3, 8, 10, 3)).astype(np.float32)


def test_the_warping_loss_is_the_mean_difference_of_what_is_visible():
    first, second, mask = frames(0), frames(1), visible()
    flow = np.random.RandomState(2).randint(-3, 4, (3, 8, 10, 2)).astype(np.float32)
    means = []
    for i in range(3):
        differences = [0.0]
        for y, x in np.argwhere(mask[i, ..., 0]):
            column, row = np.clip((x, y) + flow[i, y, x], 0, (9, 7)).astype(int)
            differences.append(np.abs(second[i, row, column] - first[i, y, x]).mean())
        means.append(sum(differences) / max(mask[i].sum(), 1))
    found = fast_jit(losses.warping)(first, second, flow, mask)
    np.testing.assert_allclose(found, np.mean(means), rtol=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_gradients_of_the_flow_losses(masked):
    mask = visible() if masked else None
    check_gradient(lambda fake: losses.flow(flows(0), fake, mask), flows(1))
    pair = [frames(0), frames(1)]
    check_gradient(lambda pair: losses.warping(*pair, flows(0), mask), pair)


def test_a_pair_of_which_nothing_is_visible_has_no_loss_and_finite_gradients():
    nothing = np.zeros((3, 8, 10, 1), np.float32)
    for loss, fake in (
        (lambda fake: losses.flow(flows(0), fake, nothing), flows(1)),
        (lambda fake: losses.warping(frames(0), fake, flows(0), nothing), frames(1)),
    ):
        value, gradient = fast_jit(jax.value_and_grad(loss))(fake)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("masked", [True, False])
def test_the_loss_of_a_pair_does_not_depend_on_its_batch(masked):
    mask = visible() if masked else np.ones((3, 8, 10, 1), np.float32)
    for loss, arrays in (
        (losses.flow, (flows(0), flows(1), mask)),
        (losses.warping, (frames(0), frames(1), flows(0), mask)),
        (losses.weighted_l1, (frames(0), frames(1), mask)),
    ):
        loss = fast_jit(loss)
        alone = [loss(*(x[i : i + 1] for x in arrays)) for i in range(3)]
        np.testing.assert_allclose(loss(*arrays), np.mean(alone), rtol=1e-6)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'wgan'; expected one of"):
        losses.adversarial_generator(outputs(0), "wgan")
    with pytest.raises(ValueError, match="'wgan'; expected one of"):
        losses.adversarial_discriminator(outputs(0), outputs(0), "wgan")
    with pytest.raises(ValueError, match="'sum'; expected one of"):
        losses.feature_matching(outputs(0), outputs(0), "sum")
