"""PSPNet against hszhao/semseg: evaluation, training, checkpoints.

The live comparisons run where SFLOW_SEMSEG names a checkout and PyTorch is installed; the golden
values that it gave are checked always, on a network of an eighth of the width.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.ops import resize
from sflow_jax.pretrained import conversion, weights
from sflow_jax.pretrained import semseg as published
from sflow_jax.segmentation import pspnet as model
from sflow_jax.segmentation.fitting import cross_entropy
from sflow_jax.segmentation.pspnet import PSPNet
from tests.double_precision import double_precision, widen
from tests.fast_jit import fast_jit
from tests.parity import cases, pspnet
from tests.parity.pspnet import CLASSES, SMALL

TOLERANCE = 1e-4
TRAINING_TOLERANCE = 1e-6  # it is compared in float64
ODD = (97, 97)  # 13 pixels on the map, which no pyramid level divides

GOLDEN = cases.load_golden("pspnet")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def semseg(torch):
    return pspnet.named_checkout()


@pytest.mark.parametrize("depth", pspnet.FULL)
def test_logits_equal_semseg(semseg, depth):
    sizes = pspnet.FULL[depth]
    network, reference = pspnet.our_network(**sizes), pspnet.create_network(semseg, **sizes)
    for size in pspnet.SIZES:
        images = pspnet.images(size)
        expected = pspnet.logits(reference, images)
        assert 1 < expected.std() < 10
        np.testing.assert_allclose(network(images), expected, atol=TOLERANCE)


def train_once():
    """As `pspnet.train_once`, by our network and loss, in float64."""
    images, labels = pspnet.training_batch()
    variables = widen(pspnet.random_variables(**SMALL))
    network = PSPNet(CLASSES, **SMALL, dropout=0.0, training=True)

    def loss_of(params):
        both = {**variables, "params": params}
        logits, changed = network.apply(both, images, mutable=["batch_stats"])
        main, auxiliary = (cross_entropy(x, labels, jnp.ones(CLASSES)) for x in logits)
        return main + 0.4 * auxiliary, ([main, auxiliary], changed)

    with double_precision():
        compute = fast_jit(jax.grad(loss_of, has_aux=True))
        gradients, (losses, changed) = compute(variables["params"])
    tensors = pspnet.to_tensors({"params": gradients, **changed})
    return {"losses": [float(loss) for loss in losses], "tensors": tensors}


def test_training_equals_semseg(semseg):
    reference = pspnet.create_network(semseg, **SMALL).double()
    expected, found = pspnet.train_once(reference, *pspnet.training_batch()), train_once()
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-9)
    assert found["tensors"].keys() == expected["tensors"].keys()
    for key, tensor in expected["tensors"].items():
        scale = np.abs(tensor).max()
        assert scale > 1e-6
        np.testing.assert_allclose(found["tensors"][key], tensor, atol=1e-8 * scale, err_msg=key)


def difference_in_training():
    """The largest difference to the golden values, per value."""
    found, expected = pspnet.recorded(train_once()), GOLDEN["training"]
    assert found["tensors"].keys() == expected["tensors"].keys()
    differences = [
        np.subtract(found["tensors"][key], values) for key, values in expected["tensors"].items()
    ]
    return np.abs([*np.ravel(differences), *np.subtract(found["losses"], expected["losses"])])


def test_training_has_its_golden_values():
    assert difference_in_training().max() < TRAINING_TOLERANCE


TRAINING_TRAPS = {
    "Linen's biased running variance": ("_unbiased", lambda var, count: var),
    "Linen's momentum": ("_MOMENTUM", 0.01),
}


@pytest.mark.parametrize("trap", TRAINING_TRAPS)
def test_golden_running_statistics_notice(monkeypatch, trap):
    monkeypatch.setattr(model, *TRAINING_TRAPS[trap])
    network = PSPNet(CLASSES, **SMALL, dropout=0.0, training=True)
    _, changed = fast_jit(lambda x: network.apply(*x, mutable=["batch_stats"]))(
        (pspnet.random_variables(**SMALL), np.float32(pspnet.training_batch()[0]))
    )
    differences = [
        np.subtract(cases.summary(tensor), GOLDEN["training"]["tensors"][key])
        for key, tensor in pspnet.to_tensors(changed).items()
        if pspnet.RECORDED.match(key)
    ]
    assert np.abs(differences).max() > 100 * TRAINING_TOLERANCE


@pytest.mark.parametrize("size", pspnet.SIZES)
def test_logits_have_their_golden_values(size):
    found = cases.summary(pspnet.our_network(**SMALL)(pspnet.images(size)))
    expected = GOLDEN["logits"]["{}x{}".format(*size)]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def stride_in_conv1(x, *arguments, conv=model._conv, **options):
    """A strided 1x1 convolution before conv2 is the same as skipping pixels before conv2."""
    if options["name"] == "conv2" and options["strides"] == 2:
        x, options = x[:, ::2, ::2], {**options, "strides": 1}
    return conv(x, *arguments, **options)


def undilated_first_block(channels, stride, dilation, training, name, block=model._Bottleneck):
    """As torchvision dilates: the first block of a layer has the dilation of the layer before."""
    dilation = max(1, dilation // 2) if name.endswith(".0") else dilation
    return block(channels, stride, dilation, training, name=name)


def plain_pool(maps, bins):
    """Windows of equal size, from the top left; what is left over is left out."""
    rows, columns = maps.shape[1] // bins, maps.shape[2] // bins
    maps = maps[:, : rows * bins, : columns * bins]
    shape = (maps.shape[0], bins, rows, bins, columns, maps.shape[-1])
    return maps.reshape(shape).mean((2, 4))


def resize_half_pixel(maps, height, width):
    """align_corners=False."""
    shape = (maps.shape[0], height, width, maps.shape[-1])
    return jax.image.resize(maps, shape, "linear", antialias=False)


NETWORK_TRAPS = {
    "the stride is in conv1": (model, "_conv", stride_in_conv1),
    "first blocks are dilated less": (model, "_Bottleneck", undilated_first_block),
    "layer 4 is dilated by 2": (model, "_DILATIONS", (1, 1, 2, 2)),
    "layer 4 has a stride": (model, "_STRIDES", (1, 2, 1, 2)),
    "other bins": (model, "BINS", (1, 2, 3, 4)),
    "windows of equal size": (resize, "adaptive_average_pool", plain_pool),
    "corners are not aligned": (resize, "resize_align_corners", resize_half_pixel),
    "another epsilon": (model, "_EPSILON", 1e-3),
}


@pytest.mark.parametrize("trap", NETWORK_TRAPS)
def test_golden_logits_notice(monkeypatch, trap):
    monkeypatch.setattr(*NETWORK_TRAPS[trap])
    network = PSPNet(CLASSES, **SMALL)
    logits = fast_jit(lambda *arguments: network.apply(*arguments))(  # a new function: no cache
        pspnet.random_variables(**SMALL), pspnet.images(ODD)
    )
    difference = np.abs(np.subtract(cases.summary(logits), GOLDEN["logits"]["97x97"]))
    assert difference.max() > 100 * TOLERANCE


def test_windows_of_equal_size_are_right_where_the_side_divides():
    maps = cases.noise(2, 12, 12, 3)
    for bins in model.BINS:
        np.testing.assert_allclose(
            resize.adaptive_average_pool(maps, bins), plain_pool(maps, bins), atol=1e-6
        )


def test_nothing_is_multiplied_in_a_coarser_type(monkeypatch):
    """GPU and TPU would do so by default; no CPU shows the difference."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    images = jax.ShapeDtypeStruct((1, 9, 9, 3), jnp.float32)
    network = PSPNet(CLASSES, **SMALL)
    text = jax.jit(network.apply).lower(pspnet.random_variables(**SMALL), images).as_text()
    lines = [x for x in text.splitlines() if "stablehlo.convolution" in x or "dot_general" in x]
    # 8 blocks of 3, 4 shortcuts, stem 3, head 2, 4 levels of 1 and the 2 of their pools.
    assert len(lines) == 24 + 4 + 3 + 2 + 4 * 3
    assert all(line.count("HIGHEST") == 2 for line in lines)


def test_batch_1_equals_batch_n():
    network, images = pspnet.our_network(**SMALL), pspnet.images(ODD)
    both = network(images)
    assert np.abs(both[0] - both[1]).max() > 1
    for index in range(2):
        alone = network(images[index : index + 1])
        np.testing.assert_allclose(alone[0], both[index], atol=TOLERANCE)


def test_sides_that_do_not_fit_are_refused():
    images = jax.ShapeDtypeStruct((1, 96, 97, 3), jnp.float32)
    with pytest.raises(ValueError, match="expected sides of 8 k \\+ 1 pixels"):
        jax.eval_shape(PSPNet(**SMALL).init, jax.random.key(0), images)


def test_training_on_one_image_is_refused():
    images = jax.ShapeDtypeStruct((1, 97, 97, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    with pytest.raises(ValueError, match="found one image, expected two"):
        jax.eval_shape(PSPNet(**SMALL, training=True).init, keys, images)


def test_dropout_takes_whole_channels():
    images = pspnet.images((17, 17))
    network = PSPNet(CLASSES, **SMALL, dropout=0.5, training=True)
    _, found = fast_jit(
        lambda variables, key: network.apply(
            variables,
            images,
            rngs={"dropout": key},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, model.nn.Dropout),
        )
    )(pspnet.random_variables(**SMALL), jax.random.key(0))
    outputs = jax.tree.leaves(found["intermediates"])
    assert [x.shape for x in outputs] == [(2, 3, 3, 64), (2, 3, 3, 32)]
    for x in outputs:
        assert 0.3 < np.mean(x.max((1, 2)) == 0) < 0.8


def published_tensors(depth):
    """Zeros in the shapes that semseg's checkpoint has, by key."""
    rules = published.conversion(depth)
    shapes = {key: conversion._stored_shape(path, rules) for path, key in rules.keys.items()}
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def test_keys_of_the_published_files():
    tensors = published_tensors(50)
    assert len(tensors) == 309
    known = {
        "layer0.0.weight": (64, 3, 3, 3),
        "layer0.7.running_var": (128,),
        "layer1.0.downsample.1.bias": (256,),
        "layer4.2.conv2.weight": (512, 512, 3, 3),
        "ppm.features.3.1.weight": (512, 2048, 1, 1),
        "cls.0.weight": (512, 4096, 3, 3),
        "cls.4.bias": (19,),
        "aux.0.weight": (256, 1024, 3, 3),
    }
    assert known == {key: tensors[key].shape for key in known}
    assert published_tensors(101).keys() - tensors.keys() == {
        f"layer3.{block}.{unit}{index}.{leaf}"
        for block in range(6, 23)
        for index in (1, 2, 3)
        for unit, leaves in {
            "conv": ["weight"],
            "bn": ["weight", "bias", "running_mean", "running_var"],
        }.items()
        for leaf in leaves
    }


def test_every_key_of_the_checkpoint_counts():
    tensors = published_tensors(50)
    tensors["layer0.1.num_batches_tracked"] = np.zeros(())
    conversion.convert_tensors(tensors, published.conversion(50), "x.pth")
    tensors["layer3.6.bn1.bias"] = tensors.pop("aux.4.bias")
    message = r"x\.pth: .*1 missing: aux\.4\.bias; 1 left over: layer3\.6\.bn1\.bias"
    with pytest.raises(InputError, match=message):
        conversion.convert_tensors(tensors, published.conversion(50), "x.pth")


def test_published_file_format_is_converted(torch, tmp_path):
    """A dict with the weights under `state_dict`, each key with the prefix of `DataParallel`."""
    tensors = pspnet.checkpoint(**pspnet.FULL[50])
    state = {f"module.{key}": torch.from_numpy(x) for key, x in tensors.items()}
    for key in [key for key in state if key.endswith("running_mean")]:
        state[key.replace("running_mean", "num_batches_tracked")] = torch.tensor(1)
    path = tmp_path / "train_epoch_200.pth"
    torch.save({"epoch": 200, "state_dict": state, "optimizer": {"param_groups": []}}, path)
    name = "pspnet50_cityscapes"
    weights.main(["convert", name, "--from", str(path), "--cache_dir", str(tmp_path)])
    found, expected = published.load(50, tmp_path), pspnet.random_variables(**pspnet.FULL[50])
    jax.tree.map(np.testing.assert_array_equal, found, expected)
