"""Inception-v3, what it sees and the distances on its features, against the published programs.

The live comparisons run where SFLOW_PYTORCH_FID, SFLOW_TORCH_FIDELITY and SFLOW_CLEAN_FID name
checkouts and what they import is installed: PyTorch, for the first two also torchvision. The golden
values that they gave are checked always.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics.frechet import GaussianStream, frechet_distance
from sflow_jax.metrics.inception_input import PROTOCOLS
from sflow_jax.metrics.kernel_distance import kernel_distance
from sflow_jax.metrics.precision_recall import precision_recall
from sflow_jax.pretrained import conversion, inception_v3, weights
from tests.fast_jit import fast_jit
from tests.parity import cases, inception

TOLERANCE = 1e-4
SEEN = 10 * TOLERANCE  # by so much a mistake has to move a golden value

GOLDEN = cases.load_golden("inception")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def checkout(variable):
    """The reference's folder; skips the test where there is none."""
    if not os.environ.get(variable):
        pytest.skip(f"{variable} does not name a checkout")
    return os.environ[variable]


@pytest.fixture(scope="module")
def torchvision(torch):
    try:
        return pytest.importorskip("torchvision")
    except RuntimeError as error:  # its operators are missing
        pytest.skip(f"torchvision does not fit PyTorch {torch.__version__}: {error}")


@pytest.fixture(scope="module")
def pytorch_fid(torchvision):
    folder = checkout("SFLOW_PYTORCH_FID")
    return functools.partial(inception.pytorch_fid_network, folder)


@pytest.fixture(scope="module")
def torch_fidelity(torchvision):
    with inception.torch_fidelity(checkout("SFLOW_TORCH_FIDELITY")):
        yield


def compute_maps(images):
    """Our maps of the four depths; the last is averaged over pixels, as pytorch-fid gives it."""
    network = inception_v3.InceptionV3()
    maps = fast_jit(lambda *arguments: network.apply(*arguments))(  # a new function: no cache
        inception.random_variables(), images
    )
    return [maps[64], maps[192], maps[768], maps[2048].mean((1, 2), keepdims=True)]


@pytest.fixture(scope="module")
def maps():
    return compute_maps(inception.normalized_images())


def test_maps_equal_pytorch_fid(pytorch_fid, maps):
    network = pytorch_fid(resize_input=False, normalize_input=False)
    expected = inception.pytorch_fid_maps(network, inception.normalized_images())
    for ours, theirs in zip(maps, expected, strict=True):
        assert theirs.std() > 1e-2
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_maps_have_their_golden_values(maps):
    found = [cases.summary(x) for x in maps]
    np.testing.assert_allclose(found, GOLDEN["maps"], atol=TOLERANCE)


def test_batch_1_equals_batch_n(maps):
    images = inception.normalized_images()
    for ours, one in zip(maps, compute_maps(images[1:]), strict=True):
        assert np.abs(ours[1] - ours[0]).max() > 1e-2
        np.testing.assert_allclose(one[0], ours[1], atol=TOLERANCE)


NETWORK_TRAPS = {
    "average pools count their padding": (
        "_average_pool",
        lambda x: inception_v3.nn.avg_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1))),
    ),
    "the last block has an average pool": ("_max_pool", inception_v3._average_pool),
    "batch norms have torch's default epsilon": ("_EPSILON", 1e-5),
    "halving pools pad, and so start a pixel earlier": (
        "_halving_pool",
        lambda x: inception_v3.nn.max_pool(
            jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1], (3, 3), (2, 2)
        ),
    ),
}


@pytest.mark.parametrize("trap", NETWORK_TRAPS)
def test_golden_maps_notice(monkeypatch, trap):
    monkeypatch.setattr(inception_v3, *NETWORK_TRAPS[trap])
    found = [cases.summary(x) for x in compute_maps(inception.normalized_images())]
    assert np.abs(np.subtract(found, GOLDEN["maps"])).max() > SEEN


def products(function, *arguments):
    """The compiler's input: its lines with convolutions and matrix products."""
    lines = jax.jit(function).lower(*arguments).as_text().splitlines()
    return [line for line in lines if "stablehlo.convolution" in line or "dot_general" in line]


def test_nothing_is_multiplied_in_a_coarser_type(monkeypatch):
    """GPU and TPU would do so by default; no CPU shows the difference."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    images = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    found = products(inception_v3.features, inception.random_variables(), images)
    assert len(found) == 94
    for protocol in PROTOCOLS.values():
        found += products(protocol.on_device, images)
    assert all(line.count("HIGHEST") == 2 for line in found)


@pytest.mark.parametrize("size", inception.IMAGE_SIZES.values(), ids=inception.IMAGE_SIZES)
def test_input_equals_pytorch_fid(pytorch_fid, size):
    images = inception.uint8_images(size)
    expected = inception.pytorch_fid_input(pytorch_fid(), images)
    np.testing.assert_allclose(PROTOCOLS["pytorch-fid"](images), expected, atol=1e-5)


@pytest.mark.parametrize("size", inception.IMAGE_SIZES.values(), ids=inception.IMAGE_SIZES)
def test_input_equals_clean_fid(torch, size):
    images = inception.uint8_images(size)
    expected = inception.clean_fid_input(checkout("SFLOW_CLEAN_FID"), images)
    np.testing.assert_allclose(PROTOCOLS["clean-fid"](images), expected, atol=1e-5)


def test_features_of_images_equal_torch_fidelity(torch_fidelity):
    """At all depths, resizing included."""
    network = inception.torch_fidelity_network()
    protocol = PROTOCOLS["torch-fidelity"]
    maps = fast_jit(inception_v3.InceptionV3().apply)
    for size in inception.IMAGE_SIZES.values():
        images = inception.uint8_images(size)
        expected = inception.torch_fidelity_features(network, images)
        prepared = protocol(images)
        np.testing.assert_allclose(
            prepared, inception.torch_fidelity_input(network, images), atol=1e-5
        )
        found = maps(inception.random_variables(), prepared)
        for ours, theirs in zip(found.values(), expected, strict=True):
            assert theirs.std() > 1e-2
            np.testing.assert_allclose(ours.mean((1, 2)), theirs, atol=TOLERANCE)


@pytest.mark.parametrize("size", inception.IMAGE_SIZES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_inputs_have_their_golden_values(protocol, size):
    prepared = PROTOCOLS[protocol](inception.uint8_images(inception.IMAGE_SIZES[size]))
    assert prepared.dtype == jnp.float32
    assert prepared.shape == (2, 299, 299, 3)
    expected = GOLDEN["inputs"][size][protocol]
    np.testing.assert_allclose(cases.summary(prepared), expected, atol=TOLERANCE)


def resized(images, method, antialias):
    images = jnp.asarray(images, jnp.float32)
    return jax.image.resize(images, (2, 299, 299, 3), method, antialias=antialias)


INPUT_TRAPS = {
    "antialiasing": ("pytorch-fid", lambda x: resized(x, "linear", True) / 127.5 - 1),
    "a range of [0, 1]": ("pytorch-fid", lambda x: resized(x, "linear", False) / 255),
    "TensorFlow's coordinates": (
        "pytorch-fid",
        lambda x: PROTOCOLS["torch-fidelity"](x) * 128 / 127.5 + 0.5 / 127.5,
    ),
    "half-pixel centers": ("torch-fidelity", lambda x: (resized(x, "linear", False) - 128) / 128),
    "2 x / 255 - 1": (
        "torch-fidelity",
        lambda x: PROTOCOLS["torch-fidelity"](x) * 128 / 127.5 + 0.5 / 127.5,
    ),
    "no antialiasing": ("clean-fid", lambda x: (resized(x, "cubic", False) - 128) / 128),
    "bilinear": ("clean-fid", lambda x: (resized(x, "linear", True) - 128) / 128),
}


@pytest.mark.parametrize("trap", INPUT_TRAPS)
def test_golden_inputs_notice(trap):
    protocol, mistaken = INPUT_TRAPS[trap]
    found = cases.summary(mistaken(inception.uint8_images(inception.IMAGE_SIZES["shrunk"])))
    assert np.abs(np.subtract(found, GOLDEN["inputs"]["shrunk"][protocol])).max() > SEEN


def our_scores(case):
    real, fake = inception.features(case)
    streams = GaussianStream(), GaussianStream()
    for stream, features in zip(streams, (real, fake), strict=True):
        stream.update(features)
    kernel = kernel_distance(real, fake, **inception.SUBSETS)
    shares = precision_recall(real, fake)
    return {
        "fid": frechet_distance(*(stream.gaussian() for stream in streams)),
        "kid": kernel.mean,
        "kid_std": kernel.std,
        "precision": shares.precision,
        "recall": shares.recall,
    }


@pytest.mark.parametrize("case", inception.CASES)
def test_scores_equal_torch_fidelity(torch_fidelity, case):
    expected, found = inception.torch_fidelity_scores(case), our_scores(case)
    np.testing.assert_allclose(
        [found[name] for name in expected], list(expected.values()), rtol=1e-5
    )


@pytest.mark.parametrize("case", inception.CASES)
def test_scores_have_their_golden_values(case):
    expected, found = GOLDEN["scores"][case], our_scores(case)
    np.testing.assert_allclose(
        [found[name] for name in expected], list(expected.values()), rtol=1e-5
    )


def test_published_file_format_is_converted(torch, tmp_path):
    tensors = {key: torch.from_numpy(x) for key, x in inception.checkpoint().items()}
    for key in [key for key in tensors if key.endswith("running_mean")]:
        counter = key.replace("running_mean", "num_batches_tracked")
        tensors[counter] = torch.tensor(1)
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(tensors, path)
    weights.main(["convert", "inception_v3", "--from", str(path), "--cache_dir", str(tmp_path)])
    found = inception_v3.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found, inception.random_variables())


def test_the_checkpoint_is_as_large_as_the_published_one():
    """With 1008 classes and without an auxiliary head."""
    tensors = inception.checkpoint()
    assert len(tensors) == 472
    assert sum(x.size for x in tensors.values()) == 23885392
    assert tensors["Mixed_7c.branch3x3dbl_3a.conv.weight"].shape == (384, 384, 1, 3)
    assert tensors["fc.weight"].shape == (1008, 2048)


def test_every_key_of_the_checkpoint_counts():
    tensors = inception.checkpoint()
    converted = conversion.convert_tensors(tensors, inception_v3.conversion(), "x.pth")
    jax.tree.map(np.testing.assert_array_equal, converted, inception.random_variables())
    tensors["Mixed_7c.attention.weight"] = np.zeros(3)
    del tensors["Mixed_5b.branch1x1.bn.running_var"]
    message = (
        r"x\.pth: .*1 missing: Mixed_5b\.branch1x1\.bn\.running_var; "
        r"1 left over: Mixed_7c\.attention\.weight"
    )
    with pytest.raises(InputError, match=message):
        conversion.convert_tensors(tensors, inception_v3.conversion(), "x.pth")


def test_too_small_images_are_refused():
    images = jax.ShapeDtypeStruct((1, 74, 299, 3), jnp.float32)
    with pytest.raises(ValueError, match="at least 75 pixels"):
        jax.eval_shape(inception_v3.InceptionV3().init, jax.random.key(0), images)
