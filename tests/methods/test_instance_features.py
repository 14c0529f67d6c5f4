"""Features of instances: which are clustered, and what an instance draws."""

import numpy as np

from sflow_jax.methods.instance_features import (
    Clusters,
    class_of,
    cluster,
    draw_features,
    large_instances,
)


def test_ids_of_objects_and_of_stuff_have_their_class():
    np.testing.assert_array_equal(
        class_of(np.array([0, 7, 999, 1000, 26000, 26013])), [0, 7, 999, 1, 26, 26]
    )


def test_only_instances_of_more_than_a_64th_of_the_image_are_clustered():
    instance = np.full((16, 16), 7, np.uint16)
    instance[0, :4] = 26001  # just a 64th
    instance[2, :5] = 26002
    features = instance[..., None].astype(np.float32)
    found = {(label, float(x)) for label, (x,) in large_instances(features, instance)}
    assert found == {(7, 7.0), (26, 26002.0)}


def test_clusters_are_the_centers_of_each_class_and_at_most_ten():
    random = np.random.RandomState(0)
    centers = np.arange(12)[:, None] * np.array([1.0, -1.0])
    few = [(1, centers[k] + 0.01 * random.randn(2)) for k in (0, 5) for _ in range(20)]
    many = [(2, centers[k] + 0.01 * random.randn(2)) for k in range(12) for _ in range(5)]
    clusters = cluster([*few[:1] * 3, *many, *((3, x) for _, x in few)], 5, 2)
    assert clusters.counts.tolist() == [1, 1, 10, 10, 1]
    np.testing.assert_allclose(clusters.centers[1, 0], few[0][1], rtol=1e-6)
    assert not clusters.centers[[0, 4]].any()
    # Each of the twelve is near a center, or between two that share one.
    distances = np.abs(clusters.centers[2][:, None, 0] - centers[None, :, 0]).min(0)
    assert distances.max() < 2.6
    assert (distances < 0.1).sum() >= 6


def clusters_of(counts):
    centers = np.zeros((len(counts), 10, 1), np.float32)
    for label, count in enumerate(counts):
        centers[label, :count, 0] = 100 * label + np.arange(count)
    return Clusters(centers, np.array(counts, np.int32))


def test_an_instance_draws_one_center_of_its_class_and_keeps_it():
    clusters = clusters_of([1, 3, 10])
    columns = np.array([0, 1, 1000, 1001, 2000, 2001, 2002], np.uint16)
    instance = np.broadcast_to(columns[None, None, :, None], (3, 2, 7, 1))
    found = np.asarray(draw_features(instance, clusters, np.array([5, 5, 6], np.uint32)))[..., 0]
    assert found.shape == (3, 2, 7)
    np.testing.assert_array_equal(found // 100, np.broadcast_to([0, 1, 1, 1, 2, 2, 2], (3, 2, 7)))
    np.testing.assert_array_equal(found[0], found[1])  # the same look in all frames of a clip
    np.testing.assert_array_equal(found[:, 0], found[:, 1])  # all over an instance
    assert np.any(found[1] != found[2])


def test_all_centers_are_drawn_about_equally_often():
    clusters = clusters_of([1, 3, 10])
    instance = (2000 + np.arange(1000, dtype=np.uint16)).reshape(1, 20, 50, 1)
    found = np.asarray(draw_features(instance, clusters, np.zeros(1, np.uint32))).astype(int)
    counts = np.bincount(found.ravel() - 200, minlength=10)
    assert len(counts) == 10
    assert counts.min() > 70
    assert counts.max() < 130
