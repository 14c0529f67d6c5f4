import numpy as np

from sflow_jax.pictures import flow_to_rgb, largest_motion


def test_hue_is_the_direction_and_white_stands_still():
    flow = np.zeros((1, 5, 2), np.float32)
    flow[0, 1:] = [(4, 0), (-4, 0), (2, 0), (0, 4)]
    still, right, left, half, down = flow_to_rgb(flow, 4)[0].astype(int)
    assert still.tolist() == [255, 255, 255]
    assert right.tolist() == [255, 0, 0]
    assert left.tolist() == [0, 255, 255]
    np.testing.assert_allclose(half, [255, 128, 128], atol=1)
    assert down[1] == 255 > down[0] > down[2]  # a quarter of the wheel away from red
    np.testing.assert_array_equal(flow_to_rgb(3 * flow, 4)[0, 1:3], [right, left])


def test_the_largest_motion_leaves_out_what_is_exceptional():
    flow = np.zeros((20, 20, 2), np.float16)
    flow[..., 1] = 3
    flow[0, 0] = 1000
    np.testing.assert_allclose(largest_motion(flow), 3, rtol=1e-3)
    flow = np.zeros((1, 101, 2), np.float32)
    flow[0, :, 0] = np.arange(101)
    np.testing.assert_allclose(largest_motion(flow), 99)
