import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data.labels import VOID
from sflow_jax.segmentation import pspnet_training
from sflow_jax.segmentation.progress import Progress
from sflow_jax.segmentation.pspnet import PSPNet, normalize
from tests.fast_jit import FAST
from tests.shades import SHADES, shade_batches

NETWORK = PSPNet(2, blocks=(1, 1, 1, 1), width=4)


@pytest.fixture(autouse=True)
def compile_fast(monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f: jit(f, compiler_options=FAST))


@pytest.mark.parametrize(
    ("sides", "expected"), [((64, 32), 25), ((2048, 1024), 1017), ((713, 800), 713), ((9,), 9)]
)
def test_crop_is_the_largest_that_fits(sides, expected):
    assert pspnet_training.crop_side(*sides) == expected


def random_views(label_map, side, count=200):
    """Of an image whose color is its label."""
    keys = jax.random.split(jax.random.key(0), count)
    image = jnp.asarray(label_map, jnp.float32)[..., None]
    look = functools.partial(pspnet_training._random_view, side=side)
    views = jax.jit(jax.vmap(look, (0, None, None)))
    return map(np.asarray, views(keys, image, jnp.asarray(label_map)))


def test_unscaled_unturned_views_are_crops_of_everywhere(monkeypatch):
    monkeypatch.setattr(pspnet_training, "_SCALES", (1.0, 1.0))
    monkeypatch.setattr(pspnet_training, "_MAX_ANGLE", 0)
    images, targets = random_views(np.arange(12 * 20).reshape(12, 20), 9, 400)
    corners = set(targets[:, 0, 0])
    assert corners == {20 * top + left for top in range(4) for left in range(12)}
    steps = 20 * np.arange(9)[:, None] + np.arange(9)
    np.testing.assert_array_equal(targets, targets[:, :1, :1] + steps)
    # Between pixels: labels are those of the nearest, colors are interpolated.
    shift = images[..., 0] - targets
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, 4:5, 4:5], shift.shape), atol=1e-3)


def test_image_and_labels_are_rescaled_and_turned_alike():
    """A bright rectangle: its size in the view is the scale, its slope the angle."""
    label_map = np.zeros((40, 60), int)
    label_map[10:30, 15:45] = 1
    images, targets = random_views(label_map, 121)
    assert not images[targets == VOID].any()
    scored = targets != VOID
    # At a corner of the rectangle, a quarter of the nearest pixel's color.
    assert np.abs(images[..., 0] - targets)[scored].max() <= 0.75 + 1e-4
    scales = np.sqrt((targets == 1).sum((1, 2)) / (20 * 30))
    assert 0.5 <= scales.min() < 0.6
    assert 1.9 < scales.max() <= 2.01
    np.testing.assert_allclose(scales, np.sqrt(scored.sum((1, 2)) / (40 * 60)), rtol=0.06)
    slopes = []
    for target in targets:
        y, x = np.nonzero(target == 1)
        slopes.append(np.degrees(np.cov(x, y)[0, 1] / (np.var(x) - np.var(y))))
    slopes = np.abs(slopes)
    assert 8 < slopes.max() < 11
    assert 0.4 < (slopes < 0.1).mean() < 0.6  # half of them are not turned


def test_optimizer_is_torch_sgd_with_the_poly_schedule():
    """By its definition: v = 0.9 v + g + decay p; p -= rate v."""
    num_steps, random = 5, np.random.RandomState(0)
    gradients = random.normal(size=(num_steps, 2))
    params = {"layer1.0": jnp.float32(1.0), "cls.4": jnp.float32(1.0)}
    expected, velocity = np.ones(2), np.zeros(2)
    optimizer = pspnet_training.make_pspnet_optimizer(num_steps)
    state = optimizer.init(params)
    for step, (body, head) in enumerate(gradients):
        given = {"layer1.0": jnp.float32(body), "cls.4": jnp.float32(head)}
        updates, state = optimizer.update(given, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        velocity = 0.9 * velocity + gradients[step] + 1e-4 * expected
        rate = 0.01 * (1 - step / num_steps) ** 0.9
        expected = expected - rate * np.array([1, 10]) * velocity
        found = [params["layer1.0"], params["cls.4"]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pspnet_learns(tmp_path):
    """From random weights, and its running statistics are then good for new images."""
    trained = pspnet_training.train_pspnet(
        [shade_batches()],
        SHADES,
        NETWORK,
        17,
        num_steps=150,
        seed=0,
        progress=Progress(tmp_path / "a", {}),
    )
    images, label_maps = next(shade_batches(1000))
    images, truth = images[:, :17, :33], label_maps[:, :17, :33] - 3
    predicted = jax.jit(NETWORK.apply)(trained, normalize(images / 127.5 - 1)).argmax(-1)
    assert 0.2 < truth.mean() < 0.8
    assert (predicted == truth).mean() > 0.8
