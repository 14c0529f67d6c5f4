import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.errors import TrainingError
from sflow_jax.segmentation import fitting
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.pspnet import TorchBatchNorm
from sflow_jax.segmentation.pspnet_training import make_pspnet_optimizer
from tests.fast_jit import FAST
from tests.shades import SHADES, shade_batches


@pytest.fixture(autouse=True)
def compile_fast(monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f: jit(f, compiler_options=FAST))


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
    found = fitting.cross_entropy(logits, eval_ids, jnp.asarray(weights))
    assert found == pytest.approx(total / total_weight, rel=1e-5)


def test_cross_entropy_of_void_alone_is_zero_with_zero_gradient():
    void = jnp.full((1, 2, 2), 255, jnp.uint8)
    loss, gradient = jax.value_and_grad(fitting.cross_entropy)(
        jnp.ones((1, 2, 2, 3)), void, jnp.ones(3)
    )
    assert loss == 0
    assert not gradient.any()


def test_variations_differ_between_examples_and_keep_the_scene():
    images = jnp.broadcast_to(
        jnp.asarray(np.random.RandomState(1).uniform(-0.8, 0.5, (1, 32, 32, 3)), jnp.float32),
        (64, 32, 32, 3),
    )
    varied = np.asarray(jax.jit(fitting.vary_images)(jax.random.key(0), images))
    brightness = (varied.mean((1, 2, 3)) + 1) / (np.asarray(images).mean() + 1)
    assert 0.75 < brightness.min() < 0.9
    assert 1.1 < brightness.max() < 1.35
    tint = (varied.mean((1, 2)) + 1) / (varied.mean((1, 2, 3)) + 1)[:, None]
    assert tint.std(0).min() > 0.02
    correlation = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(varied, images, strict=True)
    ]
    assert min(correlation) > 0.5


def train(path, num_steps=6, every_steps=500, stop_after=None):
    """Trains a network that compiles fast, with batch norm and dropout as PSPNet has them."""
    recipe = fitting.Recipe(
        Small(),
        jnp.zeros((2, 8, 8, 3)),
        make_pspnet_optimizer(num_steps),
        lambda logits, targets: fitting.cross_entropy(logits, targets, jnp.ones(2)),
    )
    with Progress(path, {"num_steps": num_steps}, every_steps) as progress:
        return fitting.fit(
            recipe,
            [itertools.islice(shade_batches(progress.step), stop_after)],
            SHADES,
            num_steps=num_steps,
            seed=0,
            progress=progress,
        )


class Small(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(TorchBatchNorm(True, name="norm")(nn.Conv(8, (1, 1))(images)))
        return nn.Conv(2, (1, 1))(nn.Dropout(0.5, (1, 2), deterministic=False)(x))


def test_interrupted_training_continues_bitwise(tmp_path):
    whole = train(tmp_path / "whole.state")
    path = tmp_path / "part.state"
    with pytest.raises(StopIteration):  # no more data after five steps, the last save after four
        train(path, every_steps=2, stop_after=5)
    assert Progress(path, {"num_steps": 6}).step == 4
    jax.tree.map(np.testing.assert_array_equal, train(path, every_steps=2), whole)


def test_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "cross_entropy", lambda logits, *_: logits.sum() * jnp.nan)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        train(tmp_path / "a.state")
