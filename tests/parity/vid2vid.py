"""NVIDIA/vid2vid as a reference: loading it from a checkout, and its names for our parameters."""

import contextlib
import functools
import io
import types
from unittest import mock

import jax
import numpy as np

from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.vid2vid import SequentialGenerator
from sflow_jax.ops.warp import warp
from tests.parity import cases
from tests.parity.pix2pixhd import from_reference, load, modules_of, nchw, nhwc
from tests.random_weights import init_random

OUTPUTS = ("image", "raw", "flow", "mask")
CONDITION = 3 * (cases.NUM_CLASSES + 1)  # labels and boundary of three frames
GENERATORS = {
    "two halvings, five blocks": ((24, 32), {"width": 4, "num_downsamplings": 2, "num_blocks": 5}),
    "one halving, two blocks": ((18, 40), {"width": 8, "num_downsamplings": 1, "num_blocks": 2}),
}
DISCRIMINATORS = {  # channels of the condition and of the image
    "of images": ((cases.NUM_CLASSES + 1, 3), {"num_scales": 3, "width": 4, "num_layers": 2}),
    "of triples": ((4, 9), {"num_scales": 2, "width": 8, "num_layers": 3}),
}


@contextlib.contextmanager
def imported(checkout):
    """Imports the reference's networks, both models and wrapper of FlowNet2.

    It was written for a PyTorch whose `grid_sample` took the corners of an image for the centers of
    its corner pixels, and for a GPU. All of it is undone afterwards.
    """
    import torch

    sample = functools.partial(torch.nn.functional.grid_sample, align_corners=True)
    with (
        modules_of(
            checkout,
            networks="models.networks",
            generating="models.vid2vid_model_G",
            model="models.vid2vid_model_D",
            flow="models.flownet",
        ) as modules,
        mock.patch.object(torch.nn.functional, "grid_sample", sample),
        mock.patch.object(torch.nn.Module, "cuda", lambda module, *_: module),
        mock.patch.object(torch.cuda, "FloatTensor", torch.Tensor),
    ):
        yield modules


def generator_names(num_downsamplings, num_blocks):
    """Our layers of `SequentialGenerator`, by path, and the reference's names for them."""
    names = {}
    for ours, theirs in (("label_encoder", "seg"), ("image_encoder", "img")):
        theirs = f"model_down_{theirs}"
        names |= _normed(f"{ours}/stem", "Conv_0", theirs, 1)
        for level in range(num_downsamplings):
            names |= _normed(f"{ours}/down_{level + 1}", "Conv_0", theirs, 4 + 3 * level)
        for block in range(num_blocks - num_blocks // 2):
            place = 4 + 3 * num_downsamplings + block
            names |= _block_names(f"{ours}/block_{block}", f"{theirs}.{place}")
    for ours, theirs in (("image_decoder", "img"), ("flow_decoder", "flow")):
        for block in range(num_blocks // 2):
            names |= _block_names(f"{ours}/block_{block}", f"model_res_{theirs}.{block}")
        for step in range(num_downsamplings):
            level = num_downsamplings - 1 - step
            up = f"model_up_{theirs}"
            names |= _normed(f"{ours}/up_{level}", "UpsampleConv_0", up, 3 * step)
    heads = {"to_image": "img", "to_flow": "flow", "to_mask": "w"}
    return names | {f"{ours}/Conv_0": f"model_final_{theirs}.1" for ours, theirs in heads.items()}


def _normed(ours, convolution, theirs, place):
    """A convolution at a place of a sequence, and the norm that follows it there."""
    return {
        f"{ours}/{convolution}": f"{theirs}.{place}",
        f"{ours}/AffineInstanceNorm_0": f"{theirs}.{place + 1}",
    }


def _block_names(ours, theirs):
    names = {}
    for index, place in enumerate((1, 5)):
        names[f"{ours}/ReflectConv_{index}/Conv_0"] = f"{theirs}.conv_block.{place}"
        names[f"{ours}/AffineInstanceNorm_{index}"] = f"{theirs}.conv_block.{place + 1}"
    return names


def discriminator_names(num_scales, num_layers):
    """Our layers of `MultiScaleDiscriminator`, by path, and the reference's names for them."""
    return {
        f"scale_{scale}/{kind}_{layer}": f"scale{num_scales - 1 - scale}_layer{layer}.{place}"
        for scale in range(num_scales)
        for layer in range(num_layers + 2)
        for place, kind in enumerate(("conv", "norm"))
    }


def create_model(model, **options):
    """A model of the reference that trains on one device: an instance of its class, initialized."""
    common = {
        "isTrain": True,
        "gpu_ids": [0],  # the first one, which a tensor in memory is not on
        "n_gpus_gen": 1,
        "batchSize": 1,
        "checkpoints_dir": "",
        "name": "",
        "debug": True,
        "continue_train": False,
        "load_pretrain": "",
        "label_nc": cases.NUM_CLASSES,
        "use_instance": True,
        "output_nc": 3,
        "norm": "batch",
        "n_scales_spatial": 1,
        "fp16": False,
        "TTUR": False,
        "lr": 2e-4,
        "beta1": 0.5,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its networks
        model.initialize(types.SimpleNamespace(**common | options))
    return model


def create_judge(reference, sizes, weight, **options):
    """`Vid2VidModelD` with discriminators of these sizes; all terms but the first have a weight."""
    judging = {
        "n_frames_D": 3,
        "ndf": sizes["width"],
        "n_layers_D": sizes["num_layers"],
        "num_D": sizes["num_scales"],
        "no_ganFeat": False,
        "add_face_disc": False,
        "gan_mode": "ls",
        "no_vgg": True,
        "lambda_feat": weight,
        "lambda_F": weight,
        "lambda_T": weight,
    }
    return create_model(reference.model.Vid2VidModelD(), **judging | options)


def frames_first(params):
    """A temporal discriminator's parameters in the order of the reference's input channels.

    Its first ones are the three frames, the last ones the two flows; here flows come first.
    """
    return _roll_channels(params, -4)


def flows_first(params):
    """The opposite of `frames_first`."""
    return _roll_channels(params, 4)


def _roll_channels(params, by):
    params = jax.tree.map(np.array, params)
    for scale in params["params"].values():
        scale["conv_0"]["kernel"] = np.roll(scale["conv_0"]["kernel"], by, axis=2)
    return params


def generator(size, sizes, channels=CONDITION):
    """The generator, its parameters, conditions and the images before."""
    module = SequentialGenerator(**sizes)
    condition = cases.noise(2, *size, channels)
    previous = np.tanh(cases.noise(2, *size, 6, seed=1))
    return module, init_random(module, condition, previous), condition, previous


def generate(reference, sizes, params, condition, previous):
    """By the names of `OUTPUTS` what the reference generates, one at a time, as officially."""
    import torch

    module = _create_generator(reference, sizes, params, condition.shape[-1])
    with torch.no_grad():
        pairs = zip(condition[:, None], previous[:, None], strict=True)
        found = [_outputs(module, *pair) for pair in pairs]
    return {name: np.concatenate([nhwc(x[name]) for x in found]) for name in OUTPUTS}


def objective(outputs):
    """A number that all our outputs take part in."""
    total = 0.0
    for seed, name in enumerate(OUTPUTS):
        x = getattr(outputs, name)
        total += (x * cases.noise(*x.shape, seed=seed)).sum()
    return total


def generator_gradients(reference, sizes, params, condition, previous):
    """The gradient of `objective` of the reference's first frame, with our names."""
    module = _create_generator(reference, sizes, params, condition.shape[-1])
    outputs = _outputs(module, condition[:1], previous[:1])
    total = sum(
        (x * nchw(cases.noise(*nhwc(x).shape, seed=seed))).sum()
        for seed, x in enumerate(outputs.values())
    )
    total.backward()
    gradients = {key: x.grad.numpy() for key, x in module.named_parameters()}
    names = generator_names(sizes["num_downsamplings"], sizes["num_blocks"])
    return from_reference(gradients, names, params)


def _create_generator(reference, sizes, params, channels):
    blocks = sizes["num_downsamplings"], sizes["num_blocks"]
    module = reference.networks.CompositeGenerator(
        types.SimpleNamespace(fp16=False),
        channels,
        3,
        6,
        sizes["width"],
        *blocks,
        norm_layer=reference.networks.get_norm_layer("batch"),
    )
    return load(module, params, generator_names(*blocks))


def _outputs(module, condition, previous):
    features_and_mask = [None] * 4  # of a coarser scale, and of the foreground
    image, flow, mask, raw, *_ = module(
        nchw(condition), nchw(previous), *features_and_mask, use_raw_only=False
    )
    return dict(zip(OUTPUTS, (image, raw, flow, mask), strict=True))


def discriminator(channels, sizes, size=(37, 48)):
    """The discriminators, their parameters, and pairs of condition and image."""
    module = MultiScaleDiscriminator(**sizes, affine=True, widest=64)
    condition = cases.noise(2, *size, channels[0])
    image = np.tanh(cases.noise(2, *size, channels[1], seed=1))
    return module, init_random(module, condition, image), condition, image


def discriminate(reference, sizes, params, condition, image):
    """The features of the reference's discriminators, full size first, one pair at a time."""
    import torch

    scales, layers = sizes["num_scales"], sizes["num_layers"]
    pairs = np.concatenate([condition, image], -1)
    module = reference.networks.MultiscaleDiscriminator(
        pairs.shape[-1],
        sizes["width"],
        layers,
        reference.networks.get_norm_layer("batch"),
        scales,
        True,
    )
    load(module, params, discriminator_names(scales, layers))
    with torch.no_grad():
        alone = [module(nchw(pair[None])) for pair in pairs]
    return jax.tree.map(lambda *features: np.concatenate([nhwc(x) for x in features]), *alone)


def moved(reference, image, flow):
    """The image [B, H, W, C], warped by the reference."""
    network = reference.networks.BaseNetwork()
    network.opt = types.SimpleNamespace(fp16=False)
    return nhwc(network.resample(nchw(image), nchw(flow)))


def confidence(reference, image, source, flow):
    """The reference's confidence in a flow that is given in place of FlowNet2's.

    Sides that 64 does not divide it would resample.
    """
    network = reference.flow.FlowNet()
    network.flowNet = lambda images: nchw(flow)
    network.resample = lambda image, flow: nchw(moved(reference, nhwc(image), nhwc(flow)))
    found, mask = network.compute_flow_and_conf(nchw(image), nchw(source))
    np.testing.assert_array_equal(nhwc(found), flow)
    return nhwc(mask)


def frames_and_flow(size=(64, 64)):
    """An image, one that looks a little like it when it is moved, and the flow between them."""
    random = np.random.RandomState(0)
    source = np.tanh(cases.noise(2, *size, 3))
    flow = np.floor(random.normal(0, 4, (2, *size, 2))) + 0.25
    image = np.asarray(warp(source, flow.astype(np.float32)))
    return image + 0.08 * cases.noise(2, *size, 3, seed=2), source, flow.astype(np.float32)


def skipped(reference, num_frames, num_scales):
    """The triples of frame numbers that every scale sees, frame after frame, or None."""
    import torch

    past, found = None, []
    for time in range(num_frames):
        new = torch.full((1, 1, 1, 1, 1), float(time))
        past, triples = reference.model.get_skipped_frames(past, new, num_scales, 3)
        found.append([x if x is None else tuple(x.int().ravel().tolist()) for x in triples])
    return found
