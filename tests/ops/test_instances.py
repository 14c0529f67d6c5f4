"""Boundaries and means of instances."""

import jax
import numpy as np
import pytest

from sflow_jax.ops.instances import instance_boundaries, instance_means


def test_a_pixel_is_marked_where_a_neighbor_is_of_another_instance():
    """The example was computed by `get_edges` of pix2pixHD's models/pix2pixHD_model.py."""
    a, b = 26000, 26001
    instance = np.array([[5, 5, a, a], [5, 5, a, b], [5, 5, 5, b]], np.uint16)
    expected = [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]
    found = instance_boundaries(instance[None, ..., None])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, ..., 0], expected)


def test_examples_do_not_meet_and_one_instance_has_no_boundary():
    instance = np.stack([np.full((4, 5, 1), value, np.uint8) for value in (3, 7)])
    assert not np.any(instance_boundaries(instance))


def test_maps_that_are_no_ids_are_refused():
    with pytest.raises(TypeError, match="instance"):
        instance_boundaries(np.zeros((1, 4, 4, 1), np.float32))


def test_every_pixel_has_the_mean_of_its_instance_in_its_own_image():
    random = np.random.RandomState(0)
    features = random.standard_normal((2, 6, 5, 3)).astype(np.float32)
    instance = random.choice([0, 7, 26001, 65535], (2, 6, 5, 1)).astype(np.uint16)
    found = instance_means(features, instance)
    for image in range(2):
        for identity in np.unique(instance[image]):
            where = instance[image, ..., 0] == identity
            mean = features[image][where].mean(0)
            np.testing.assert_allclose(
                found[image][where], np.tile(mean, (where.sum(), 1)), atol=1e-6
            )


def test_the_gradient_to_the_features_is_that_of_the_means():
    features = np.ones((1, 1, 4, 1), np.float32)
    instance = np.array([3, 3, 3, 8], np.uint16).reshape(1, 1, 4, 1)
    weights = np.array([1, 2, 6, 5], np.float32).reshape(1, 1, 4, 1)
    gradient = jax.grad(lambda x: (weights * instance_means(x, instance)).sum())(features)
    np.testing.assert_allclose(gradient.ravel(), [3, 3, 3, 5], rtol=1e-6)
