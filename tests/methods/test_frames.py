import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets
from sflow_jax.ops import augment
from sflow_jax.ops.laplacian import laplacian_edges, to_gray
from sflow_jax.ops.pixels import to_float
from sflow_jax.ops.warp import stays_inside, warp
from sflow_jax.runs.schedule import Schedule
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import EDGE_THRESHOLD, random_batch
from tests.stub_networks import stub_method

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SIZE = (12, 16)
SCHEDULE = Schedule(1, 1, 1, 10, 20, 20)
KEYS = jax.random.split(jax.random.key(0), 16)


def make_config(**changes):
    config = streets.get_test_config()
    config.edges.threshold = EDGE_THRESHOLD
    config.edges.quantile = None
    config.update_from_flattened_dict(changes)
    return config


def scene_of(batch, keys=KEYS, **changes):
    """The fields of a scene by name."""
    return fast_jit(lambda b, k: fields_of(b, k, make_config(**changes)))(batch, keys)


def fields_of(batch, keys, config):
    scene = vars(stub_method(config, CLASSES, SCHEDULE).scene(batch, keys))
    return {name: values for name, values in scene.items() if values is not None}


@pytest.fixture(scope="module")
def batch():
    """Noise, but for the red channel, which tells label and column of each pixel."""
    batch = random_batch(SIZE, 16, NUM_CLASSES)
    batch["image"][..., 0] = 60 * batch["label"][..., 0] + np.arange(SIZE[1])
    return batch


@pytest.fixture(scope="module")
def scene(batch):
    return scene_of(batch)


def test_pixels_and_labels_keep_their_values(batch):
    scene = scene_of(batch, **{"augmentation.flip": False})
    np.testing.assert_array_equal(scene["label_map"].argmax(-1), batch["label"][:, 0, ..., 0])
    np.testing.assert_array_equal(scene["label_map"].sum(-1), 1)
    np.testing.assert_allclose(127.5 * (scene["image"] + 1), batch["image"][:, 0], atol=1e-4)
    assert to_float(np.array([0, 255], np.uint8)).tolist() == [-1, 1]


def test_image_and_labels_are_mirrored_together(batch, scene):
    red = np.round(127.5 * (scene["image"][..., 0] + 1)).astype(int)
    np.testing.assert_array_equal(red // 60, scene["label_map"].argmax(-1))
    columns = red % 60
    mirrored = columns[:, 0, 0] > 0
    assert 0 < mirrored.sum() < 16
    for example, flip in enumerate(mirrored):
        expected = np.arange(SIZE[1])[:: -1 if flip else 1]
        np.testing.assert_array_equal(columns[example], np.tile(expected, (SIZE[0], 1)))


def test_the_target_is_the_clean_edge_map_of_the_mirrored_image(scene):
    expected = laplacian_edges(scene["image"], EDGE_THRESHOLD)
    np.testing.assert_array_equal(scene["edge_map"], expected)
    assert 0.05 < expected.mean() < 0.95


def test_corruption_touches_the_input_of_dned_only(batch, scene):
    options = ("threshold_jitter", "edge_dropout", "edge_blur")
    clean = scene_of(batch, **{f"augmentation.{option}": 0.0 for option in options})
    for field in ("image", "label_map", "edge_map"):
        np.testing.assert_array_equal(scene[field], clean[field])
    np.testing.assert_array_equal(clean["dned_input"], clean["edge_map"])
    corrupted = scene["dned_input"]
    assert np.abs(corrupted - scene["edge_map"]).mean((1, 2, 3)).min() > 0
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1


@pytest.mark.parametrize("option", ["threshold_jitter", "edge_dropout", "edge_blur"])
def test_every_corruption_has_its_own_strength(batch, option):
    others = {"threshold_jitter", "edge_dropout", "edge_blur"} - {option}
    scene = scene_of(batch, **{f"augmentation.{other}": 0.0 for other in others})
    assert np.abs(scene["dned_input"] - scene["edge_map"]).mean() > 0.01


def test_each_example_is_corrupted_in_its_own_way(batch):
    same = {key: np.repeat(values[:1], 16, 0) for key, values in batch.items()}
    inputs = scene_of(same, **{"augmentation.flip": False})["dned_input"]
    assert len(np.unique(inputs.reshape(16, -1), axis=0)) == 16


def test_examples_do_not_depend_on_how_the_batch_is_split(batch):
    key = jax.random.key(5)
    whole = scene_of(batch, augment.example_keys(key, 16, None))

    def part(index, example):
        keys = augment.example_keys(key, 2, "batch")
        return fields_of(example, keys, make_config())

    split = {name: values.reshape(8, 2, *values.shape[1:]) for name, values in batch.items()}
    parts = jax.pmap(part, axis_name="batch")(np.arange(8), split)
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name].reshape(values.shape), values, atol=1e-6)


@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_dned_may_see_the_image_instead(batch, kind):
    scene = scene_of(batch, **{"dned.input": kind})
    image = scene["image"]
    expected = image if kind == "rgb" else 2 * to_gray(image) - 1
    np.testing.assert_allclose(scene["dned_input"], expected, atol=1e-6)


def test_flow_leads_from_frame_to_frame_after_every_random_change():
    """Smooth frames whose motion is known: the second, moved back, is the first, as before."""
    frames, flow = smooth_pair(SIZE[0] * 2, SIZE[1] * 2)
    batch = {
        "image": np.repeat(np.rint(frames[None]), 16, 0).astype(np.uint8),
        "label": np.zeros((16, 2, *frames.shape[1:3], 1), np.uint8),
        "flow": np.repeat(flow[None], 16, 0).astype(np.float16),
    }
    scene = scene_of(batch, **{"augmentation.flip": True, "augmentation.zoom": 0.5})

    def difference(second, first, flow):
        error = np.abs(warp(jnp.asarray(second), jnp.asarray(flow)) - first)
        return np.where(stays_inside(jnp.asarray(flow)), error, 0).max((1, 2, 3))

    first, second = scene["image"][0::2], scene["image"][1::2]
    original = frames.astype(np.float32)[:, None] / 127.5 - 1
    before = difference(original[1], original[0], flow[None])
    # Resizing and warping interpolate, each with its error.
    assert difference(second, first, scene["flow"]).max() < 3 * before
    unscaled = scene["flow"] / np.linalg.norm(scene["flow"], axis=-1, keepdims=True)
    for wrong in (0 * scene["flow"], scene["flow"] * np.array([-1, 1]), unscaled):
        assert difference(second, first, wrong).min() > 10 * before
    # Examples of both kinds: mirrored, whose motion in x has changed its sign, and not.
    assert 0 < (scene["flow"].mean((1, 2))[:, 0] < 0).sum() < 16
    factors = scene["flow"].mean((1, 2))[:, 1] / flow[..., 1].mean()
    assert factors.min() < 1.2
    assert factors.max() > 1.3


def smooth_pair(height, width):
    """Two frames [2, H, W, 3] in 0..255 and the flow [H, W, 2] between them, which varies."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height))

    def picture(x, y):
        waves = [np.sin(0.22 * x + 0.1 * y), np.cos(0.2 * y - 0.05 * x), np.sin(0.15 * (x + y))]
        return 127.5 + 120 * np.stack(waves, -1)

    flow = np.stack([2.5 + np.sin(y / 5), -1.5 + 0.5 * np.cos(x / 6)], -1)
    return np.stack([picture(x + flow[..., 0], y + flow[..., 1]), picture(x, y)]), flow
