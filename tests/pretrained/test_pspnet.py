import json

import cv2
import jax
import numpy as np
import pytest

from sflow_jax import segmenter
from sflow_jax.errors import InputError
from sflow_jax.metrics import semseg_protocol
from sflow_jax.models.pspnet import BLOCKS, PSPNet
from sflow_jax.pretrained import pspnet, variables
from tests.fast_jit import FAST
from tests.random_weights import random_params, zeros

NETWORK = PSPNet(3, BLOCKS[50], width=4)
SETTINGS = {"network": "pspnet", "num_classes": 3, "layers": 50, "width": 4, "crop": 25}


@pytest.fixture
def written(tmp_path):
    """A network as the command writes it: the file and its variables."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    structure = zeros(NETWORK.clone(training=True).init, keys, np.zeros((2, 9, 9, 3), np.float32))
    path, network_variables = tmp_path / "own.safetensors", random_params(structure)
    variables.write(path, network_variables, {}, np.float32)
    path.with_suffix(".json").write_text(json.dumps({"settings": SETTINGS}))
    return path, network_variables


def test_trained_network_is_loaded_as_it_was_written(written):
    path, expected = written
    network, found, crop = pspnet.load_trained(path)
    assert (network, crop) == (NETWORK, 25)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, r"own\.json: FileNotFound.*expected the settings of a PSPNet"),
        ({"num_steps": 3}, r"own\.json: KeyError\('layers'\)"),
        ({**SETTINGS, "width": 8}, r"own\.safetensors: not the expected weights; .*another shape"),
    ],
)
def test_files_that_do_not_fit_are_refused(written, settings, message):
    path, _ = written
    report = path.with_suffix(".json")
    report.unlink() if settings is None else report.write_text(json.dumps({"settings": settings}))
    with pytest.raises(InputError, match=message):
        pspnet.load_trained(path)


def test_images_are_labeled_by_the_protocol_at_their_own_size(written, monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(segmenter.jax, "jit", lambda f: jit(f, compiler_options=FAST))
    network, network_variables, crop = pspnet.load_trained(written[0])
    images = np.random.RandomState(0).randint(0, 256, (2, 5, 8, 3)).astype(np.uint8)
    images = np.stack([cv2.resize(image, (40, 30)) for image in images])
    found = segmenter.pspnet_predictor(network, crop)(network_variables, images)
    apply = jit(network.apply, compiler_options=FAST)
    protocol = semseg_protocol.Protocol(base_size=40, crop=25)
    for image, labels in zip(images, found, strict=True):
        probabilities = semseg_protocol.probabilities(
            lambda x: apply(network_variables, x), image, protocol
        )
        assert probabilities.shape == (30, 40, 3)
        np.testing.assert_array_equal(labels, probabilities.argmax(-1))


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nofile: not found; expected the weights of a PSPNet$"):
        pspnet.load_trained(tmp_path / "nofile")
