import numpy as np
import pytest

from sflow_jax.data.labels import ClassTable, LabelClass
from sflow_jax.segmentation import unet_training

TABLE = ClassTable(
    "shapes",
    (
        LabelClass(2, "void", (0, 0, 0), None),
        LabelClass(5, "ground", (0, 0, 0), 0),
        LabelClass(7, "box", (0, 0, 0), 1),
        LabelClass(9, "sky", (0, 0, 0), 2),
    ),
)


def few_label_maps():
    """300 label maps: a half void, 9/20 ground, 1/20 sky; no box."""
    label_map = np.full((1, 10, 4, 1), 2, np.uint8)
    label_map[:, :, 2:] = 5
    label_map[:, :2, 2] = 9
    return [{"label": label_map}] * 300


def test_class_weights_are_the_inverse_root_of_the_share_of_scored_pixels():
    ground, box, sky = unet_training.class_weights(TABLE, few_label_maps())
    assert sky / ground == pytest.approx(np.sqrt(0.9 / 0.1), rel=1e-5)
    assert 0.9 * ground + 0.1 * sky + 1e-4 * box == pytest.approx(1, rel=1e-5)
    assert box / sky == pytest.approx(np.sqrt(0.1 / 1e-4), rel=1e-5)


def test_rebalancing_moves_decisions_half_way_back_to_the_unweighted_posterior():
    weights = np.array([0.5, 1, 8], np.float32)
    posterior = np.array([0.6, 0.3, 0.1])
    bias = np.log(weights * posterior)  # what training with these weights tends to
    network_variables = {"params": {"encoder": {}, "classifier": {"kernel": 3, "bias": bias}}}
    params = unet_training.rebalance(network_variables, weights)["params"]
    np.testing.assert_allclose(
        params["classifier"]["bias"], np.log(np.sqrt(weights) * posterior), rtol=1e-6
    )
    assert params["classifier"]["kernel"] == 3
    assert "encoder" in params
