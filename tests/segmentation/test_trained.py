import json

import jax
import numpy as np
import pytest

from sflow_jax import variables
from sflow_jax.errors import InputError
from sflow_jax.segmentation import trained
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.scores import score_matrix
from sflow_jax.segmentation.unet import UNet
from tests.random_weights import random_params, zeros

NETWORK = PSPNet(3, BLOCKS[50], width=4)
SETTINGS = {"network": "pspnet", "num_classes": 3, "layers": 50, "width": 4, "crop": 25}


@pytest.fixture
def written(tmp_path):
    """A network as the command writes it: the file and its variables."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    structure = zeros(NETWORK.clone(training=True).init, keys, np.zeros((2, 9, 9, 3), np.float32))
    path, network_variables = tmp_path / "own.safetensors", random_params(structure)
    variables.write_variables(path, network_variables, {}, np.float32)
    path.with_suffix(".json").write_text(json.dumps({"settings": SETTINGS}))
    return path, network_variables


def test_trained_network_is_loaded_as_it_was_written(written):
    path, expected = written
    network, found, crop = trained.read_segmenter(path, 3)
    assert (network, crop) == (NETWORK, 25)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, r"own\.json: FileNotFound.*expected the settings of a segmenter"),
        ({"layers": 50}, r"own\.json: KeyError\('num_classes'\)"),
        ({"num_steps": 3}, r"own\.safetensors: not the expected weights"),  # of a small network
        ({**SETTINGS, "width": 8}, r"own\.safetensors: not the expected weights; .*another shape"),
    ],
)
def test_files_that_do_not_fit_are_refused(written, settings, message):
    path, _ = written
    report = path.with_suffix(".json")
    report.unlink() if settings is None else report.write_text(json.dumps({"settings": settings}))
    with pytest.raises(InputError, match=message):
        trained.read_segmenter(path, 3)


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nofile: not found; expected the weights"):
        trained.read_segmenter(tmp_path / "nofile", 3)


def test_a_network_of_other_classes_is_refused(written):
    path, _ = written
    with pytest.raises(InputError, match="found 3 classes, expected the dataset's 5"):
        trained.read_segmenter(path, 5)


def test_the_small_network_is_read_as_it_was_scored(tmp_path):
    network, path = UNet(4), tmp_path / "own.safetensors"
    network_variables = random_params(
        zeros(network.init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    )
    settings = {"dataset": "a", "num_steps": 3}
    trained.write_segmenter(path, network_variables, settings, {}, [])
    found_network, found, crop = trained.read_segmenter(path, 4)
    assert (found_network, crop) == (network, 0)
    jax.tree.map(np.testing.assert_array_equal, found, trained.as_stored(network_variables))
    with pytest.raises(InputError, match="not the expected weights"):
        trained.read_segmenter(path, 5)


def test_a_written_network_is_read_as_it_was_scored(written, tmp_path):
    _, network_variables = written
    matrix = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0], [1, 0, 0]])  # the last class is absent
    path = tmp_path / "new" / "own.safetensors"
    scores = {"8x8": score_matrix(matrix)}
    trained.write_segmenter(path, network_variables, SETTINGS, scores, ["road", "car", "sky"])
    _, found, _ = trained.read_segmenter(path, 3)
    jax.tree.map(np.testing.assert_array_equal, found, trained.as_stored(network_variables))
    report = json.loads(path.with_suffix(".json").read_text())["scores"]["8x8"]
    assert report["class_iou"] == {"road": 0.75, "car": 0.6667, "sky": None}
    assert report["pixel_accuracy"] == 0.8333
    assert not list(path.parent.glob("*.part"))
