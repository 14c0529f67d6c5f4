"""PSPNet and semseg's test protocol: our cases, and hszhao/semseg on them.

The reference's channel numbers are written into its source. Divided by eight there, and with fewer
blocks, it gives golden values that a test can check in seconds.
"""

import contextlib
import functools
import logging
import os
import pathlib
import re
import sys
import tempfile
import types

import cv2
import jax
import numpy as np
import pytest
from flax import traverse_util

from sflow_jax.pretrained.conversion import torch_keys
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.sliding_window import SlidingWindow
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import random_params, zeros

CLASSES = 19
# 12 and 13 pixels on the map: bins that divide, and windows that overlap.
SIZES = ((89, 89), (97, 97), (97, 89))
SMALL = {"blocks": (2, 2, 2, 2), "width": 8}
FULL = {depth: {"blocks": blocks, "width": 64} for depth, blocks in BLOCKS.items()}

# Parts of the network whose training is recorded: stem, a level of the pyramid, both heads.
RECORDED = re.compile(r"layer0\.[034]|ppm\.features\.[03]|(cls|aux)\.[014]")

# Two windows high and three wide at scale 1, one window with padding at scale 0.5.
IMAGE_SIZE = (75, 120)
PROTOCOL = SlidingWindow(base_size=160, crop=89, scales=(0.5, 1.0))


def images(size, count=2):
    """Normalized images [count, H, W, 3]: blocks of 8x8 pixels, and noise."""
    height, width = size
    blocks = cases.noise(count, -(-height // 8), -(-width // 8), 3, seed=1)
    blocks = blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return blocks + 0.3 * cases.noise(count, height, width, 3, seed=2)


def label_maps(size, count=2):
    """Label maps [count, H, W] in blocks, one of them void."""
    height, width = size
    random = np.random.RandomState(3)
    cells = random.randint(0, CLASSES, (count, -(-height // 16), -(-width // 16)))
    cells[:, 1, 1] = 255
    return cells.repeat(16, 1).repeat(16, 2)[:, :height, :width]


def training_batch():
    """Images and label maps, float64, of a size where averages are over overlapping windows."""
    return images((97, 89)).astype(np.float64), label_maps((97, 89))


def photograph(size=IMAGE_SIZE):
    """A uint8 RGB image with smooth and rough places."""
    pixels = 128 + 60 * images(size, 1)[0]
    return np.clip(pixels, 0, 255).astype(np.uint8)


@functools.cache
def random_variables(blocks, width):
    """He-initialized kernels, batch-norm scales around 1, variances in 0.5 to 1.5.

    The last norm of each bottleneck is scaled down, or activations would grow with every block.
    The classifiers see differences between channels only: they are all positive, and their common
    mean would make the whole image one class.
    """
    network = PSPNet(CLASSES, blocks, width, training=True)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    structure = zeros(network.init, keys, np.zeros((2, 9, 9, 3), np.float32))
    flat = traverse_util.flatten_dict(random_params(structure), sep="/")
    for path, values in flat.items():
        if path.endswith("bn3/scale"):
            values /= np.sqrt(sum(blocks))
        elif path.endswith(".4/kernel"):
            values -= values.mean(-2, keepdims=True)
    return traverse_util.unflatten_dict(flat, sep="/")


@functools.cache
def our_network(**sizes):
    """Our logits as a function of images, compiled once per shape."""
    apply = fast_jit(PSPNet(CLASSES, **sizes).apply)
    return functools.partial(apply, random_variables(**sizes))


def named_checkout():
    """The reference's folder; skips the test where there is none."""
    if not os.environ.get("SFLOW_SEMSEG"):
        pytest.skip("SFLOW_SEMSEG does not name a checkout")
    return os.environ["SFLOW_SEMSEG"]


def checkpoint(blocks, width):
    """The random weights under the checkpoint's keys."""
    return to_tensors(random_variables(blocks, width))


def to_tensors(variables):
    """Variables under the checkpoint's keys, in PyTorch's order of axes."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    tensors = {}
    for path, key in torch_keys(flat).items():
        value = np.asarray(flat[path])
        tensors[key] = np.transpose(value, (3, 2, 0, 1)) if value.ndim == 4 else value
    return {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}


def _execute(path, name, replace=str):
    """A file of the checkout as a module, its text changed by `replace`."""
    module = types.ModuleType(name)
    exec(compile(replace(path.read_text()), str(path), "exec"), module.__dict__)
    return module


def _narrow(width):
    """Rescales every channel number in a source text."""
    pattern = r"\b(64|128|256|512|1024|2048)\b"
    return lambda text: re.sub(pattern, lambda number: str(int(number[0]) * width // 64), text)


@contextlib.contextmanager
def _modules(**modules):
    """Importable for a while: the reference's names are too common to stay."""
    before = dict(sys.modules)
    sys.modules.update({name.replace("__", "."): module for name, module in modules.items()})
    try:
        yield
    finally:
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]
        sys.modules.update(before)


def create_network(checkout, blocks, width):
    """semseg's PSPNet with the random weights, in evaluation mode and without dropout."""
    import torch

    folder = pathlib.Path(checkout) / "model"
    resnet = _execute(folder / "resnet.py", "model.resnet", _narrow(width))
    package = types.ModuleType("model")
    package.resnet = resnet
    depth = next((depth for depth, counts in BLOCKS.items() if counts == blocks), None)
    if depth is None:  # none that the reference has: by its own parts
        depth, resnet.resnet50 = 50, lambda **_: resnet.ResNet(resnet.Bottleneck, blocks)
    with _modules(model=package, model__resnet=resnet):
        module = _execute(folder / "pspnet.py", "model.pspnet", _narrow(width))
        network = module.PSPNet(depth, dropout=0.0, classes=CLASSES, pretrained=False)
    tensors = {key: torch.from_numpy(x) for key, x in checkpoint(blocks, width).items()}
    missing, left_over = network.load_state_dict(tensors, strict=False)
    assert not left_over
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.eval()


def _channels_first(x, network):
    import torch

    return torch.from_numpy(np.moveaxis(x, -1, 1).copy()).to(next(network.parameters()).dtype)


def logits(network, x):
    """Logits [B, H, W, C] of normalized images."""
    import torch

    with torch.no_grad():
        return np.moveaxis(network(_channels_first(x, network)).numpy(), 1, -1)


def train_once(network, x, labels):
    """Both losses, and by key the gradients of their weighted sum and the running statistics."""
    import torch

    network.train()
    _, loss, auxiliary_loss = network(_channels_first(x, network), torch.from_numpy(labels))
    (loss + 0.4 * auxiliary_loss).backward()
    network.eval()
    gradients = {key: x.grad.numpy() for key, x in network.named_parameters()}
    statistics = {key: x.numpy() for key, x in network.named_buffers() if "running" in key}
    losses = [loss.item(), auxiliary_loss.item()]
    return {"losses": losses, "tensors": gradients | statistics}


def recorded(result):
    """What a golden file holds of `train_once`."""
    tensors = {k: cases.summary(x) for k, x in result["tensors"].items() if RECORDED.match(k)}
    return {"losses": result["losses"], "tensors": tensors}


@contextlib.contextmanager
def _test_program(checkout):
    """semseg's tool/test.py as a module whose networks stay on the CPU."""
    import torch

    ours = torch.Tensor.cuda
    torch.Tensor.cuda = lambda self, *_, **__: self
    sys.path.insert(0, str(checkout))
    try:
        with _modules():
            module = _execute(pathlib.Path(checkout) / "tool" / "test.py", "semseg_test")
            module.logger = logging.getLogger("semseg")
            yield module
    finally:
        sys.path.remove(str(checkout))
        torch.Tensor.cuda = ours


def label(checkout, network, image, protocol=PROTOCOL):
    """What semseg's test program finds: probabilities [H, W, C], and the labels that it writes."""
    import torch

    loader = [(torch.from_numpy(np.moveaxis(image, -1, 0)[None].astype(np.float32)), None)]
    found = []
    with _test_program(checkout) as module, tempfile.TemporaryDirectory() as folder:
        process = module.scale_process
        module.scale_process = lambda *arguments: found.append(process(*arguments)) or found[-1]
        module.test(
            *(loader, [("image.png", None)], network, CLASSES),
            *(list(protocol.mean), list(protocol.std), protocol.base_size),
            *(protocol.crop, protocol.crop, list(protocol.scales)),
            *(folder, folder + "/color", [0] * 3 * CLASSES),
        )
        labels = cv2.imread(f"{folder}/image.png", cv2.IMREAD_GRAYSCALE)
    return np.mean(found, axis=0), labels
