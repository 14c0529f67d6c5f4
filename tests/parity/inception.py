"""Inception-v3 and the distances on its features: our cases, and the references on them.

The references are checkouts of mseitzer/pytorch-fid (which imports torchvision),
toshas/torch-fidelity and GaParmar/clean-fid.
"""

import contextlib
import functools
import importlib
import importlib.util
import pathlib
import sys
import tempfile

import numpy as np
from flax import traverse_util

from sflow_jax.pretrained import inception_v3
from tests.parity import cases
from tests.random_weights import random_params

# An odd size above the network's least; every pool and every VALID convolution drops pixels.
SIZE = (107, 91)
IMAGE_SIZES = {"shrunk": (367, 310), "enlarged": (53, 41)}
CLASSES = 1008

# Numbers of real and generated features, and their dimension; `few` are fewer than dimensions.
CASES = {"many": ((600, 500), 64), "few": ((90, 110), 192)}
SUBSETS = {"num_subsets": 10, "subset_size": 80}


@functools.cache
def random_variables():
    """He-initialized kernels, batch-norm scales around 1, variances in 0.5 to 1.5."""
    shapes = inception_v3.conversion().shapes
    structure = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    return random_params(traverse_util.unflatten_dict(structure, sep="/"))


def checkpoint():
    """The random weights under the published checkpoint's keys, with a classifier."""
    flat = traverse_util.flatten_dict(random_variables(), sep="/")
    tensors = {}
    for path, key in inception_v3.conversion().keys.items():
        is_kernel = path.endswith("kernel")
        tensors[key] = np.transpose(flat[path], (3, 2, 0, 1)) if is_kernel else flat[path]
    classifier = {
        "fc.weight": cases.noise(CLASSES, 2048) / 45,
        "fc.bias": cases.noise(CLASSES),
    }
    return {key: np.ascontiguousarray(tensor) for key, tensor in (tensors | classifier).items()}


def normalized_images(size=SIZE):
    """What the network sees: float32 [2, H, W, 3] in [-1, 1]."""
    return np.tanh(cases.noise(2, *size, 3, seed=5))


def uint8_images(size, count=2):
    """Blocks of 4x4 pixels with noise: resizing has both smooth and rough places to work on."""
    random = np.random.RandomState(7)
    height, width = size
    blocks = random.randint(0, 256, (count, -(-height // 4), -(-width // 4), 3))
    blocks = blocks.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    return np.clip(blocks + random.randint(-40, 41, blocks.shape), 0, 255).astype(np.uint8)


def features(case):
    """Real and generated features, float32, correlated and one-sided as a ReLU's are."""
    (num_real, num_fake), depth = CASES[case]
    mixing = cases.noise(depth, depth, seed=1) / np.float32(np.sqrt(depth))
    real = np.maximum(cases.noise(num_real, depth, seed=2) @ mixing, -0.5)
    fake = np.maximum(cases.noise(num_fake, depth, seed=3) @ mixing * 1.1 + 0.2, -0.5)
    return real, fake


def _load(path):
    """A single file of a checkout as a module."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _channels_first(images):
    import torch

    return torch.from_numpy(np.moveaxis(images, -1, 1).copy())


def _channels_last(tensor):
    return np.moveaxis(tensor.numpy(), 1, -1)


def pytorch_fid_network(checkout, **options):
    """pytorch-fid's network with the random weights, giving all four blocks."""
    import torch

    module = _load(pathlib.Path(checkout) / "src" / "pytorch_fid" / "inception.py")
    tensors = {key: torch.from_numpy(tensor) for key, tensor in checkpoint().items()}
    module.load_state_dict_from_url = lambda *_, **__: tensors
    return module.InceptionV3(output_blocks=(0, 1, 2, 3), **options).eval()


def pytorch_fid_maps(network, images):
    """The outputs of the four blocks, [B, H, W, C] each; the last one is averaged over pixels."""
    import torch

    with torch.no_grad():
        return [_channels_last(x) for x in network(_channels_first(images))]


def pytorch_fid_input(network, images):
    """What its first convolution sees of uint8 images."""
    images = _channels_first(images).to(next(network.parameters()).dtype) / 255
    return _seen(network.blocks[0][0], lambda: network(images))


@contextlib.contextmanager
def torch_fidelity(checkout):
    """The package `torch_fidelity`, importable until the end of the block."""
    sys.path.insert(0, str(checkout))
    try:
        yield importlib.import_module("torch_fidelity")
    finally:
        sys.path.remove(str(checkout))


def torch_fidelity_network(dtype="float32"):
    """torch-fidelity's network with the random weights; its preprocessing is part of it."""
    import torch

    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    depths = [str(depth) for depth in inception_v3.DEPTHS]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "inception.pth"
        torch.save({key: torch.from_numpy(x) for key, x in checkpoint().items()}, path)
        return module.FeatureExtractorInceptionV3("random", depths, str(path), dtype)


def torch_fidelity_features(network, images):
    """Features [B, C] of uint8 images at the four depths, from the network's preprocessing on."""
    return [x.numpy() for x in network(_channels_first(images))]


def torch_fidelity_input(network, images):
    """What its first convolution sees of uint8 images."""
    return _seen(network.Conv2d_1a_3x3, lambda: network(_channels_first(images)))


def _seen(layer, run):
    import torch

    seen = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        run()
    hook.remove()
    return _channels_last(seen[0])


def torch_fidelity_scores(case):
    """FID, KID, precision and recall of a case's features, computed in float64."""
    import torch

    real, fake = (torch.from_numpy(x.astype(np.float64)) for x in features(case))
    names = ("fid", "kid", "prc")
    fid, kid, prc = (importlib.import_module(f"torch_fidelity.metric_{name}") for name in names)
    statistics = map(fid.fid_features_to_statistics, (real, fake))
    options = {"kid_subsets": SUBSETS["num_subsets"], "kid_subset_size": SUBSETS["subset_size"]}
    scores = fid.fid_statistics_to_metric(*statistics, verbose=False)
    scores |= kid.kid_features_to_metric(real, fake, verbose=False, **options)
    scores |= prc.prc_features_to_metric(fake, real, verbose=False)
    return {
        "fid": scores["frechet_inception_distance"],
        "kid": scores["kernel_inception_distance_mean"],
        "kid_std": scores["kernel_inception_distance_std"],
        "precision": scores["precision"],
        "recall": scores["recall"],
    }


def clean_fid_input(checkout, images):
    """What clean-fid's network sees of uint8 images, scaled as its wrapper does."""
    resizer = _load(pathlib.Path(checkout) / "cleanfid" / "resize.py").build_resizer("clean")
    return np.stack([(resizer(image) - 128) / 128 for image in images])
