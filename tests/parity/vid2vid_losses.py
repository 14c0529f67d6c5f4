"""The losses of one frame and of one triple of frames: NVIDIA/vid2vid's and ours."""

import functools
import types

import numpy as np

from sflow_jax import losses
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.ops.warp import warp
from tests.fast_jit import fast_jit
from tests.parity import cases, vid2vid
from tests.parity.pix2pixhd import load, nchw
from tests.random_weights import init_random

WEIGHT = 10.0
"""Of all terms but the adversarial ones (lambda_feat, lambda_F, lambda_T)."""
SIZES = {"num_scales": 2, "width": 4, "num_layers": 3}
"""Of both discriminators whose losses are compared."""


@functools.cache
def judged():
    """One generated frame and all that its losses take, by names, [1, H, W, C]."""
    size = (32, 48)
    channels = {"condition": cases.NUM_CLASSES + 1, "triple": 9, "real_triple": 9}
    colors = ("real", "fake", "raw", "real_before", "fake_before")
    channels |= dict.fromkeys(colors, 3) | {"flow": 2, "reference_flow": 2, "flows": 4}
    arrays = {
        name: cases.noise(1, *size, number, seed=seed)
        for seed, (name, number) in enumerate(channels.items())
    }
    for name in ("triple", "real_triple", *colors):
        arrays[name] = np.tanh(arrays[name])
    mask = np.random.RandomState(99).uniform(size=(2, 1, *size, 1)).astype(np.float32)
    return arrays | {"mask": mask[0], "confidence": (mask[1] < 0.6).astype(np.float32)}


def judges():
    """Both discriminators' module and their parameters."""
    arrays, module = judged(), MultiScaleDiscriminator(**SIZES, affine=True, widest=64)
    return (
        module,
        init_random(module, arrays["condition"], arrays["real"]),
        init_random(module, arrays["flows"] / 20, arrays["triple"]),
    )


def our_losses():
    """The losses by the reference's names, from the functions of the package."""
    x = types.SimpleNamespace(**judged())
    module, of_images, of_triples = judges()
    judge = fast_jit(module.apply)
    real = judge(of_images, x.condition, x.real)
    fakes = [judge(of_images, x.condition, image) for image in (x.fake, x.raw)]
    real_triple, triple = (
        judge(of_triples, x.flows / 20, image) for image in (x.real_triple, x.triple)
    )
    l1, trust = losses.weighted_l1, x.confidence
    adversarial = {f"G_{kind}": sum(values) for kind, values in _players(real, fakes).items()}
    temporal = {f"T_{kind}": sum(v) for kind, v in _players(real_triple, [triple]).items()}
    return (
        adversarial
        | temporal
        | {
            "F_Flow": WEIGHT * l1(x.flow, x.reference_flow, trust),
            "F_Warp": WEIGHT * l1(warp(x.real_before, x.flow), x.real, trust),
            "G_Warp": WEIGHT * l1(x.fake, warp(x.fake_before, x.reference_flow), trust),
            "W": l1(x.mask, 0 * x.mask, trust),
        }
    )


def _players(real, fakes):
    """The adversarial terms, each for every fake."""
    pairs = [losses.adversarial_discriminator(real, fake) for fake in fakes]
    return {
        "GAN": [losses.adversarial_generator(fake) for fake in fakes],
        "GAN_Feat": [WEIGHT * losses.feature_matching(real, fake, "pix2pixhd") for fake in fakes],
        "real": [2 * of_real for of_real, _ in pairs],  # train.py halves them after reporting
        "fake": [2 * of_fake for _, of_fake in pairs],
    }


def reference_losses(reference):
    """The same by the reference's `Vid2VidModelD`, for the frame and for the triple."""
    model = vid2vid.create_judge(reference, SIZES, WEIGHT, n_scales_temporal=1, no_first_img=True)
    _, of_images, of_triples = judges()
    names = vid2vid.discriminator_names(SIZES["num_scales"], SIZES["num_layers"])
    load(model.netD, of_images, names)
    load(model.netD_T0, vid2vid.frames_first(of_triples), names)
    x = {name: nchw(value) for name, value in judged().items()}
    order = ("real", "fake", "raw", "condition", "real_before", "fake_before", "flow", "mask")
    values = model(0, [x[name] for name in (*order, "reference_flow", "confidence")])
    found = dict(zip(model.loss_names, values, strict=True))
    triples = [x[name].reshape(1, 3, 3, *x[name].shape[2:]) for name in ("real_triple", "triple")]
    flows = x["flows"].reshape(1, 2, 2, *x["flows"].shape[2:])
    values = model(1, [*triples, flows, None])
    found |= dict(zip(model.loss_names_T, values, strict=True))
    names = {"G_GAN": "G_GAN", "G_GAN_Feat": "G_GAN_Feat", "G_real": "D_real", "G_fake": "D_fake"}
    names |= {"T_GAN": "G_T_GAN", "T_GAN_Feat": "G_T_GAN_Feat"}
    names |= {"T_real": "D_T_real", "T_fake": "D_T_fake"}
    names |= {name: name for name in ("F_Flow", "F_Warp", "G_Warp", "W")}
    return {ours: found[theirs].item() for ours, theirs in names.items()}
