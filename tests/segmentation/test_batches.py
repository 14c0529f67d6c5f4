import numpy as np

from sflow_jax.segmentation.batches import labeled_images


def test_frames_of_clips_become_images_in_order():
    clips = {"image": np.arange(2 * 2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 2, 3, 4, 3)}
    clips["label"] = clips["image"][..., :1]
    images, label_maps = labeled_images(clips)
    np.testing.assert_array_equal(images[1], clips["image"][0, 1])
    np.testing.assert_array_equal(label_maps[2], clips["label"][1, 0, ..., 0])
