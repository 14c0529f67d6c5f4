import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data.streets import render_clip
from sflow_jax.ops import augment
from sflow_jax.ops.warp import warp
from tests.fast_jit import fast_jit


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(0), 500)


def test_keys_do_not_depend_on_how_the_batch_is_split():
    key = jax.random.key(3)
    whole = jax.random.key_data(augment.example_keys(key, 8, None))
    assert len(np.unique(whole, axis=0)) == 8
    for devices in (2, 8):
        split = jax.pmap(
            lambda _, n=8 // devices: jax.random.key_data(augment.example_keys(key, n, "batch")),
            axis_name="batch",
            devices=jax.devices()[:devices],
        )(np.arange(devices))
        np.testing.assert_array_equal(split.reshape(whole.shape), whole)


def test_examples_are_mixed_at_the_rate_that_was_asked_for(keys):
    x, other = np.zeros((500, 2, 3, 1)), np.ones((500, 2, 3, 1))
    mixed = np.asarray(augment.mix_examples(keys, x, other, 0.3))
    assert set(mixed.mean((1, 2, 3))) == {0.0, 1.0}
    assert 0.25 < mixed.mean() < 0.35
    np.testing.assert_array_equal(augment.mix_examples(keys, x, other, 0.0), x)
    np.testing.assert_array_equal(augment.mix_examples(keys, x, other, 1.0), other)
    with pytest.raises(ValueError, match=r"found x \[500, 2, 3, 1\] and other \[500, 2\]"):
        augment.mix_examples(keys, x, other[:, :, 0, 0], 0.5)


def test_shifts_move_each_example_and_reflect_its_borders(keys):
    shifts = np.asarray(augment.random_shifts(keys, 4))
    assert [set(column) for column in shifts.T] == [{0, 1, 2, 3}] * 2
    x = np.random.RandomState(0).standard_normal((4, 6, 7, 2)).astype(np.float32)
    chosen = np.array([[2, 2], [0, 3], [3, 0], [1, 2]])
    found = augment.shift(x, jnp.asarray(chosen), 4)
    for example, moved, (row, column) in zip(x, found, chosen, strict=True):
        padded = np.pad(example, ((2, 1), (2, 1), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(moved, padded[row : row + 6, column : column + 7])
    np.testing.assert_array_equal(found[0], x[0])
    assert augment.shift(x, jnp.zeros((4, 2), int), 1) is x


def test_windows_cut_columns_that_are_drawn_evenly(keys):
    x = np.random.RandomState(0).standard_normal((3, 6, 80, 2)).astype(np.float32)
    found = augment.cut_window(x, jnp.array([0.0, 0.5, 0.999]), 0.5)
    for example, part, first in zip(x, found, (0, 20, 40), strict=True):
        np.testing.assert_array_equal(part, example[:, first : first + 40])
    assert augment.cut_window(x, jnp.zeros(3), 1.0) is x
    # Four halvings of the perceptual network need 16 columns.
    assert augment.cut_window(x, jnp.zeros(3), 0.1).shape == (3, 6, 16, 2)
    assert augment.cut_window(x[:, :, :12], jnp.zeros(3), 0.1).shape == (3, 6, 12, 2)

    begins = np.asarray(augment.random_windows(keys))
    assert all(0.25 < (np.floor(begins * 3) == third).mean() < 0.42 for third in range(3))


def test_flips_mirror_the_chosen_examples(keys):
    flips = augment.random_flips(keys)
    assert 0.4 < flips.mean() < 0.6
    x = np.random.RandomState(0).standard_normal((3, 4, 5, 2)).astype(np.float32)
    found = augment.flip_horizontally(x, jnp.array([True, False, True]))
    np.testing.assert_array_equal(found, np.stack([x[0, :, ::-1], x[1], x[2, :, ::-1]]))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_threshold_scales_are_log_uniform_around_one(keys, jitter):
    scales = augment.random_threshold_scales(keys, jitter)
    assert scales.shape == (500, 1, 1, 1)
    logs = np.log(scales).ravel()
    limit = np.log1p(jitter)
    assert np.abs(logs).max() <= limit + 1e-6
    np.testing.assert_allclose(logs.mean(), 0, atol=0.1 * limit + 1e-6)
    np.testing.assert_allclose(logs.std(), limit / np.sqrt(3), rtol=0.1, atol=1e-6)


def test_dropout_removes_whole_cells_at_a_rate_of_each_image(keys):
    edges = np.ones((500, 19, 22, 1), np.float32)
    found = np.asarray(augment.drop_edges(keys, edges, 0.4))
    assert set(np.unique(found)) == {0.0, 1.0}
    cells = found[:, ::4, ::4]
    whole = cells.repeat(4, 1).repeat(4, 2)[:, :19, :22]
    np.testing.assert_array_equal(found, whole)
    rates = 1 - cells.mean((1, 2, 3))
    np.testing.assert_allclose(rates.mean(), 0.2, atol=0.03)
    # A uniform rate in [0, 0.4], and a binomial spread over 30 cells around it.
    spread = np.sqrt(0.4**2 / 12 + (0.2 - 0.4**2 / 3) / cells[0].size)
    np.testing.assert_allclose(rates.std(), spread, rtol=0.1)
    np.testing.assert_array_equal(augment.drop_edges(keys, edges, 0.0), edges)


def test_dropout_only_removes(keys):
    edges = (np.random.RandomState(0).uniform(size=(500, 16, 16, 1)) < 0.2).astype(np.float32)
    assert (augment.drop_edges(keys, edges, 0.9) <= edges).all()


def test_blur_mixes_in_the_binomial_mean_of_the_neighbors(keys):
    edges = np.zeros((500, 5, 7, 1), np.float32)
    edges[:, 2, 3] = 1
    found = np.asarray(augment.blur_edges(keys, edges, 0.5))
    amount = (1 - found[:, 2, 3, 0]) / (1 - 4 / 16)
    np.testing.assert_allclose(
        [amount.min(), amount.mean(), amount.max()], [0, 0.25, 0.5], atol=0.02
    )
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = edges.copy()
    expected[:, 1:4, 2:5, 0] += amount[:, None, None] * (kernel - edges[:, 1:4, 2:5, 0])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum((1, 2, 3)), 1, atol=1e-5)


def test_blur_keeps_a_full_map_full_at_the_border(keys):
    edges = np.ones((500, 4, 4, 1), np.float32)
    np.testing.assert_allclose(augment.blur_edges(keys, edges, 1.0), edges, atol=1e-6)


@pytest.fixture(scope="module")
def pair():
    """Two frames [1, H, W, 3] in [0, 255], their exact flow and what is seen in both."""
    clip = render_clip(5, num_frames=2, height=64, width=128)
    first, second = clip["image"].astype(np.float32)[:, None]
    return first, second, clip["exact_flow"], 1.0 - clip["occlusion"]


def warping_difference(first, second, flow, seen):
    """Of the second frame, moved back, to the first: the mean where both see the same."""
    difference = np.abs(warp(jnp.asarray(second), jnp.asarray(flow)) - first).mean(-1)
    return float((difference * seen[..., 0]).sum() / seen.sum())


def test_flow_is_mirrored_with_its_frames(pair):
    first, second, flow, seen = pair
    flips = jnp.array([True])
    mirrored = [augment.flip_horizontally(x, flips) for x in (first, second)]
    mirrored_seen = np.asarray(augment.flip_horizontally(seen, flips))
    before = warping_difference(*pair)
    after = warping_difference(*mirrored, augment.flip_flow(flow, flips), mirrored_seen)
    np.testing.assert_allclose(after, before, rtol=1e-3)
    wrong = warping_difference(
        *mirrored, augment.flip_horizontally(jnp.asarray(flow), flips), mirrored_seen
    )
    assert wrong > 2 * before
    kept = augment.flip_flow(flow, jnp.array([False]))
    np.testing.assert_array_equal(kept, flow)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, 0.8), (1.0, 1.0)])
def test_flow_is_cropped_and_resized_with_its_frames(offset):
    noise = np.random.RandomState(0).uniform(0, 255, (68, 132, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)[None]
    # What the first frame shows at x, y the second shows at x + 4, y - 2.
    first, second = texture[:, 1:65, 4:], texture[:, 3:67, :-4]
    flow = np.broadcast_to(np.float32([4, -2]), (1, 64, 128, 2))
    zoom = augment.Zoom(jnp.array([1.6]), jnp.array([offset]))
    zoomed = [augment.zoom_image(x, zoom) for x in (first, second)]
    inside = np.zeros((1, 64, 128, 1))  # near the border things move out of the crop
    inside[:, 8:-8, 8:-8] = 1
    right = warping_difference(*zoomed, augment.zoom_flow(flow, zoom), inside)
    assert right < 0.5
    wrong = warping_difference(*zoomed, augment.zoom_image(flow, zoom), inside)
    assert wrong > 10 * right


def coordinates(height, width):
    """Images [1, H, W, 1] of the row and of the column of each pixel."""
    return [x[None, ..., None].astype(np.float32) for x in np.mgrid[:height, :width]]


def test_zooming_is_opencvs_resizing_of_a_crop(pair):
    first = pair[0]
    zoom = augment.Zoom(jnp.array([2.0]), jnp.array([[0.25, 0.75]]))
    crop = first[0, 8:40, 48:112]  # a quarter of the 32 rows, three quarters of the 64 columns
    expected = cv2.resize(crop, (128, 64), interpolation=cv2.INTER_LINEAR)
    found = np.asarray(fast_jit(augment.zoom_image)(first, zoom))[0]
    # At its border OpenCV knows nothing of what is around the crop.
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-3)


def test_labels_stay_ids_and_follow_their_image():
    zoom = augment.Zoom(jnp.array([1.7]), jnp.array([[0.2, 0.6]]))
    rows, columns = (augment.zoom_image(x, zoom) for x in coordinates(48, 80))
    ids = np.arange(48 * 80).reshape(1, 48, 80, 1)  # every pixel its own
    found = np.asarray(augment.zoom_labels(ids, zoom))
    assert np.abs(found // 80 - rows).max() < 0.501
    assert np.abs(found % 80 - columns).max() < 0.501


def test_no_zoom_changes_nothing_and_draws_stay_in_range(keys, pair):
    first, _, flow, _ = pair
    still = augment.Zoom(jnp.ones(1), jnp.full((1, 2), 0.7))
    np.testing.assert_allclose(augment.zoom_image(first, still), first, atol=1e-3)
    np.testing.assert_allclose(augment.zoom_flow(flow, still), flow, atol=1e-3)
    zooms = augment.random_zooms(keys, 0.4)
    assert 1 <= zooms.factor.min() < 1.05 < 1.35 < zooms.factor.max() <= 1.4
    assert 0 <= zooms.offset.min() < 0.05 < 0.95 < zooms.offset.max() <= 1
    draws = np.column_stack([zooms.factor, zooms.offset])
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.15  # 500 draws, independent
