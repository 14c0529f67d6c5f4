import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops import augment


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


def test_blur_mixes_in_the_binomial_mean_of_the_neighbours(keys):
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
