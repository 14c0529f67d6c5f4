import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data.labels import ClassTable, LabelClass
from sflow_jax.training import segmenter

TABLE = ClassTable(
    "shapes",
    (
        LabelClass(2, "void", (0, 0, 0), None),
        LabelClass(5, "ground", (0, 0, 0), 0),
        LabelClass(7, "box", (0, 0, 0), 1),
        LabelClass(9, "sky", (0, 0, 0), 2),
    ),
)


def test_cross_entropy_is_the_weighted_mean_over_the_pixels_that_are_not_void():
    random = np.random.RandomState(0)
    logits = random.normal(0, 3, (2, 4, 5, 7)).astype(np.float32)
    eval_ids = random.randint(0, 7, (2, 4, 5)).astype(np.uint8)
    eval_ids[0, :2] = 255
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weights = random.uniform(0.5, 3, 7).astype(np.float32)
    total = total_weight = 0
    for index in np.ndindex(eval_ids.shape):
        if eval_ids[index] != 255:
            weight = weights[eval_ids[index]]
            total -= weight * np.log(probabilities[index][eval_ids[index]])
            total_weight += weight
    found = segmenter.cross_entropy(logits, eval_ids, jnp.asarray(weights))
    assert found == pytest.approx(total / total_weight, rel=1e-5)


def test_cross_entropy_of_void_alone_is_zero_with_zero_gradient():
    void = jnp.full((1, 2, 2), 255, jnp.uint8)
    loss, gradient = jax.value_and_grad(segmenter.cross_entropy)(
        jnp.ones((1, 2, 2, 3)), void, jnp.ones(3)
    )
    assert loss == 0
    assert not gradient.any()


class FewFrames:
    """A prepared dataset of 300 label maps: a half void, 9/20 ground, 1/20 sky; no box."""

    class_table = TABLE

    def source(self, split):
        assert split == "train"
        label_map = np.full((1, 10, 4, 1), 2, np.uint8)
        label_map[:, :, 2:] = 5
        label_map[:, :2, 2] = 9
        return [{"label": label_map}] * 300


def test_class_weights_are_the_inverse_root_of_the_share_of_scored_pixels():
    ground, box, sky = segmenter.class_weights(FewFrames())
    assert sky / ground == pytest.approx(np.sqrt(0.9 / 0.1), rel=1e-5)
    assert 0.9 * ground + 0.1 * sky + 1e-4 * box == pytest.approx(1, rel=1e-5)
    assert box / sky == pytest.approx(np.sqrt(0.1 / 1e-4), rel=1e-5)


def test_rebalancing_moves_decisions_half_way_back_to_the_unweighted_posterior():
    weights = np.array([0.5, 1, 8], np.float32)
    posterior = np.array([0.6, 0.3, 0.1])
    bias = np.log(weights * posterior)  # what training with these weights tends to
    network_variables = {"params": {"encoder": {}, "classifier": {"kernel": 3, "bias": bias}}}
    params = segmenter.rebalance(network_variables, weights)["params"]
    np.testing.assert_allclose(
        params["classifier"]["bias"], np.log(np.sqrt(weights) * posterior), rtol=1e-6
    )
    assert params["classifier"]["kernel"] == 3
    assert "encoder" in params


def test_variations_differ_between_examples_and_keep_the_scene():
    images = jnp.broadcast_to(
        jnp.asarray(np.random.RandomState(1).uniform(-0.8, 0.5, (1, 32, 32, 3)), jnp.float32),
        (64, 32, 32, 3),
    )
    varied = np.asarray(jax.jit(segmenter.vary_images)(jax.random.key(0), images))
    brightness = (varied.mean((1, 2, 3)) + 1) / (np.asarray(images).mean() + 1)
    assert 0.75 < brightness.min() < 0.9
    assert 1.1 < brightness.max() < 1.35
    tint = (varied.mean((1, 2)) + 1) / (varied.mean((1, 2, 3)) + 1)[:, None]
    assert tint.std(0).min() > 0.02
    correlation = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(varied, images, strict=True)
    ]
    assert min(correlation) > 0.5
