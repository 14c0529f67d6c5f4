"""VGG19's slices against PyTorch; the golden values from that comparison are checked always."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from sflow_jax.pretrained import conversion, vgg19, weights
from sflow_jax.pretrained.perceptual import load_perceptual_network

# torchvision's configuration E: channels of 3x3 convolutions, each with a ReLU; "M" is a max pool.
CONFIGURATION_E = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")
SLICE_INDICES = (1, 6, 11, 20, 29)

# `summary` of PyTorch 2.13's slices in float64 on the weights and images below.
GOLDEN = {
    "imagenet": [
        [0.696329, 1.053295, -0.554056],
        [1.198183, 1.727453, 0.072644],
        [1.360500, 2.000268, 0.306718],
        [1.177845, 1.798886, 1.108189],
        [0.884072, 1.329790, -3.474655],
    ],
    "raw": [
        [0.333135, 0.484178, -0.258839],
        [0.547456, 0.795248, -0.085800],
        [0.618071, 0.906966, 0.391394],
        [0.538504, 0.821812, 0.560865],
        [0.408951, 0.615206, -1.618347],
    ],
}


def random_checkpoint():
    """He-initialized weights under torchvision's keys; RandomState never changes its stream."""
    random = np.random.RandomState(19)
    tensors, channels = {}, 3
    for index, width in enumerate(layers()):
        if isinstance(width, int):
            scale = np.sqrt(2 / (9 * channels))
            kernel = random.standard_normal((width, channels, 3, 3)) * scale
            tensors[f"features.{index}.weight"] = kernel.astype(np.float32)
            bias = random.standard_normal(width) * 0.1
            tensors[f"features.{index}.bias"] = bias.astype(np.float32)
            channels = width
    return tensors


def layers():
    """One entry per module of `vgg19().features`: convolution width, "relu" or "M"."""
    for entry in CONFIGURATION_E:
        yield from (entry,) if entry == "M" else (entry, "relu")


@pytest.fixture(scope="module")
def checkpoint():
    return random_checkpoint()


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(5).uniform(-1, 1, (2, 50, 37, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torch_slices(torch, tensors, images, normalize, dtype):
    modules, channels = [], 3
    for entry in layers():
        if entry == "M":
            modules.append(torch.nn.MaxPool2d(2, 2))
        elif entry == "relu":
            modules.append(torch.nn.ReLU())
        else:
            modules.append(torch.nn.Conv2d(channels, entry, 3, padding=1))
            channels = entry
    network = torch.nn.ModuleDict({"features": torch.nn.Sequential(*modules)})
    network.load_state_dict({key: torch.from_numpy(tensor) for key, tensor in tensors.items()})
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    if normalize == "imagenet":
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        x = ((x + 1) / 2 - mean) / std
    x, slices = x.to(dtype), []
    with torch.no_grad():
        for index, module in enumerate(network.to(dtype)["features"]):
            x = module(x)
            if index in SLICE_INDICES:
                slices.append(x.permute(0, 2, 3, 1).numpy())
    return slices


@pytest.fixture(scope="module")
def variables(checkpoint):
    return conversion.convert_tensors(checkpoint, vgg19.conversion(), "random weights")


@pytest.mark.parametrize("normalize", ["imagenet", "raw"])
def test_slices_equal_pytorch(torch, checkpoint, variables, images, normalize):
    expected = torch_slices(torch, checkpoint, images, normalize, torch.float32)
    found = vgg19.VGG19Features(normalize).apply(variables, images)
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected, strict=True):
        assert b.std() > 1e-2
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_published_file_format_is_converted(torch, checkpoint, images, tmp_path):
    classifier = {f"classifier.{i}.{kind}" for i in (0, 3, 6) for kind in ("weight", "bias")}
    tensors = checkpoint | {key: np.zeros(3, np.float32) for key in classifier}
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save({key: torch.from_numpy(tensor) for key, tensor in tensors.items()}, path)
    weights.main(["convert", "vgg19", "--from", str(path), "--cache_dir", str(tmp_path)])
    expected = torch_slices(torch, checkpoint, images, "imagenet", torch.float32)
    found = vgg19.VGG19Features().apply(vgg19.load(tmp_path), images)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


class NotATensor:
    pass


def test_pickled_code_is_refused(torch, tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": NotATensor()}, path)
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["convert", "vgg19", "--from", str(path), "--cache_dir", str(tmp_path)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1


def summary(slices):
    """Per slice: mean, standard deviation, and a random projection that no two pixels share."""
    rows = []
    for x in map(np.asarray, slices):
        directions = np.random.RandomState(0).standard_normal(x.shape)
        rows.append([x.mean(), x.std(), (x * directions).sum() / np.sqrt(x.size)])
    return np.array(rows)


@pytest.mark.parametrize(("options", "name"), [({}, "imagenet"), ({"normalize": "raw"}, "raw")])
def test_golden_values(variables, images, options, name):
    found = vgg19.VGG19Features(**options).apply(variables, images)
    np.testing.assert_allclose(summary(found), GOLDEN[name], atol=1e-4)


@pytest.mark.parametrize("choice", [None, "raw"])
def test_a_run_normalizes_unless_its_config_says_otherwise(monkeypatch, variables, images, choice):
    monkeypatch.setattr(vgg19, "load", lambda: variables)
    config = default.get_config()
    config.loss.perceptual_input = choice or config.loss.perceptual_input
    network = load_perceptual_network(config)
    found = network.features(network.params, images)
    np.testing.assert_allclose(summary(found), GOLDEN[choice or "imagenet"], atol=1e-4)


def test_bfloat16_stays_close(variables, images):
    exact = vgg19.VGG19Features().apply(variables, images)
    coarse = vgg19.VGG19Features(dtype=jnp.bfloat16).apply(variables, images)
    for a, b in zip(coarse, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        assert 0 < jnp.abs(a.astype(jnp.float32) - b).mean() < 0.02 * b.std()


def test_unknown_normalization_is_refused(variables, images):
    with pytest.raises(ValueError, match="'caffe'; expected one of"):
        vgg19.VGG19Features("caffe").apply(variables, images)
