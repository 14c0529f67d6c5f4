import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data.labels import VOID, ClassTable, LabelClass
from sflow_jax.errors import InputError, TrainingError
from sflow_jax.models.pspnet import BatchNorm, PSPNet, normalize
from sflow_jax.training import pspnet, segmenter
from sflow_jax.training.progress import Progress
from tests.fast_jit import FAST

TABLE = ClassTable(
    "shades", (LabelClass(3, "dark", (0, 0, 0), 0), LabelClass(4, "bright", (255, 255, 255), 1))
)
NETWORK = PSPNet(2, blocks=(1, 1, 1, 1), width=4)


@pytest.fixture(autouse=True)
def compile_fast(monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(segmenter.jax, "jit", lambda f: jit(f, compiler_options=FAST))


@pytest.mark.parametrize(
    ("sides", "expected"), [((64, 32), 25), ((2048, 1024), 1017), ((713, 800), 713), ((9,), 9)]
)
def test_crop_is_the_largest_that_fits(sides, expected):
    assert pspnet.crop_side(*sides) == expected


def random_views(label_map, side, count=200):
    """Of an image whose color is its label."""
    keys = jax.random.split(jax.random.key(0), count)
    image = jnp.asarray(label_map, jnp.float32)[..., None]
    look = functools.partial(pspnet._random_view, side=side)
    views = jax.jit(jax.vmap(look, (0, None, None)))
    return map(np.asarray, views(keys, image, jnp.asarray(label_map)))


def test_unscaled_unturned_views_are_crops_of_everywhere(monkeypatch):
    monkeypatch.setattr(pspnet, "_SCALES", (1.0, 1.0))
    monkeypatch.setattr(pspnet, "_MAX_ANGLE", 0)
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
    optimizer = pspnet.make_optimizer(num_steps)
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


def batches(first=0):
    """Images of which one half is bright, and their label maps; batch k is always the same."""
    for index in itertools.count(first):
        random = np.random.RandomState(index)
        is_bright = np.zeros((2, 24, 40), bool)
        is_bright[:, :, random.randint(10, 30) :] = True
        is_bright ^= random.rand(2, 1, 1) < 0.5
        images = 60 + 120 * is_bright[..., None] + random.randint(0, 30, (2, 24, 40, 3))
        yield images.astype(np.uint8), (3 + is_bright).astype(np.uint8)


def train(path, num_steps=6, every_steps=500, stop_after=None):
    """Trains a network that compiles fast, with batch norm and dropout as PSPNet has them."""
    progress = Progress(path, {"num_steps": num_steps}, every_steps)
    return segmenter.fit(
        Small(),
        jnp.zeros((2, 8, 8, 3)),
        pspnet.make_optimizer(num_steps),
        lambda logits, targets: segmenter.cross_entropy(logits, targets, jnp.ones(2)),
        [itertools.islice(batches(progress.step), stop_after)],
        TABLE,
        num_steps=num_steps,
        seed=0,
        progress=progress,
    )


class Small(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(BatchNorm(True, name="norm")(nn.Conv(8, (1, 1))(images)))
        return nn.Conv(2, (1, 1))(nn.Dropout(0.5, (1, 2), deterministic=False)(x))


def test_interrupted_training_continues_bitwise(tmp_path):
    whole = train(tmp_path / "whole.state")
    path = tmp_path / "part.state"
    with pytest.raises(StopIteration):  # no more data after five steps, the last save after four
        train(path, every_steps=2, stop_after=5)
    assert Progress(path, {"num_steps": 6}).step == 4
    jax.tree.map(np.testing.assert_array_equal, train(path, every_steps=2), whole)


def test_pspnet_learns(tmp_path):
    """From random weights, and its running statistics are then good for new images."""
    trained = pspnet.train(
        [batches()],
        TABLE,
        NETWORK,
        17,
        num_steps=150,
        seed=0,
        progress=Progress(tmp_path / "a", {}),
    )
    images, label_maps = next(batches(1000))
    images, truth = images[:, :17, :33], label_maps[:, :17, :33] - 3
    predicted = jax.jit(NETWORK.apply)(trained, normalize(images / 127.5 - 1)).argmax(-1)
    assert 0.2 < truth.mean() < 0.8
    assert (predicted == truth).mean() > 0.8


def test_state_of_another_training_is_refused(tmp_path):
    path = tmp_path / "a.state"
    Progress(path, {"seed": 0}, 1).save(1, {"x": np.ones(2)})
    assert Progress(path, {"seed": 0}).step == 1
    with pytest.raises(InputError, match=r'a\.state: found a training with {"seed": 0}, expected'):
        Progress(path, {"seed": 1})
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"a\.state: .*expected the state of a training"):
        Progress(path, {"seed": 0})
    progress = Progress(tmp_path / "b.state", {})
    progress.remove()
    assert progress.restore(3) == 3


def test_loss_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "cross_entropy", lambda logits, *_: logits.sum() * jnp.nan)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        train(tmp_path / "a.state")
