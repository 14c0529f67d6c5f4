import numpy as np

from sflow_jax.methods.palette import class_colors, paint

LABEL = np.array([[0, 0, 2], [2, 2, 0]], np.uint8)
IMAGE = np.random.RandomState(0).uniform(-1, 1, (2, 3, 3)).astype(np.float32)


def test_the_colors_are_the_means_over_the_pixels_of_each_class():
    label_map = np.eye(4, dtype=np.float32)[LABEL][None]
    colors = np.asarray(class_colors(label_map, IMAGE[None]))[0]
    for index in (0, 2):
        np.testing.assert_allclose(colors[index], IMAGE[index == LABEL].mean(0), atol=1e-6)
    np.testing.assert_array_equal(colors[[1, 3]], 0)
    painted = paint(label_map, colors[None])[0]
    np.testing.assert_allclose(painted, colors[LABEL], atol=1e-6)
    np.testing.assert_array_equal(paint(label_map, colors)[0], painted)


def test_the_frames_of_a_clip_share_their_colors():
    random = np.random.RandomState(1)
    label = random.randint(0, 4, (4, 2, 3))
    images = random.uniform(-1, 1, (4, 2, 3, 3)).astype(np.float32)
    colors = np.asarray(class_colors(np.eye(4, dtype=np.float32)[label], images, num_frames=2))
    np.testing.assert_array_equal(colors[0::2], colors[1::2])
    for clip in range(2):
        ids, pixels = label[2 * clip : 2 * clip + 2], images[2 * clip : 2 * clip + 2]
        for index in np.unique(ids):
            expected = pixels[ids == index].mean(0)
            np.testing.assert_allclose(colors[2 * clip, index], expected, atol=1e-6)
