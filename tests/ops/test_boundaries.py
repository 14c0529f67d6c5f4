"""Boundaries of instances."""

import numpy as np
import pytest

from sflow_jax.ops.boundaries import instance_boundaries


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
