"""Writes tests/golden from the references, in float64.

    SFLOW_PIX2PIXHD=CHECKOUT SFLOW_HED=CHECKOUT python -m tests.parity.make_golden

Needs PyTorch and checkouts of the references, named by the variables in `_REFERENCES`; a file whose
references are not all named is left alone.
"""

import os

import numpy as np
import torch

from tests.parity import (
    cases,
    hed,
    i3d,
    inception,
    pix2pix,
    pix2pixhd,
    pspnet,
    vid2vid,
    vid2vid_losses,
    vid2vid_reference,
    vid2vid_training,
)


def pix2pixhd_values(checkout):
    """Generators, discriminators and one optimization step each."""
    values = {"generators": {}, "discriminators": {}, "steps": {}}
    with pix2pixhd.imported(checkout) as reference:
        for kind, sizes in cases.GENERATORS.items():
            _, params, *maps = cases.generator(kind, (24, 32), sizes)
            image = pix2pixhd.generate(reference, kind, sizes, params, *maps)
            values["generators"][kind] = cases.summary(image)
        _, params, *images = cases.encoder()
        values["encoder"] = cases.summary(pix2pixhd.encode(reference, params, *images))
        for name, sizes in cases.DISCRIMINATORS.items():
            _, params, *pair = cases.discriminator((48, 40), sizes)
            scales = pix2pixhd.discriminate(reference, sizes, params, *pair)
            values["discriminators"][name] = [
                [cases.summary(feature) for feature in features] for features in scales
            ]
        for name, case in cases.STEPS.items():
            values["steps"][name] = _step_values(reference, cases.step(*case))
    return values


def _step_values(reference, step):
    result = pix2pixhd.training_step(reference, step)
    rate = step.config.optimizer.learning_rate
    values = {"losses": result["losses"]}
    for player, before in (
        ("generator", step.state.params["generator"]),
        ("discriminator", step.state.discriminator_params),
    ):
        gradients, after = result[player]["gradients"], result[player]["params"]
        updates = cases.relative_updates(before, after, rate)
        values[player] = {
            "gradients": cases.summaries(gradients),
            "updates": cases.summaries(updates),
        }
    return values


def pix2pix_values(checkout):
    """The U-Net, the PatchGAN and one optimization step."""
    networks = pix2pix.imported(checkout)
    values = {"generators": {}, "discriminators": {}}
    for halvings in pix2pix.GENERATORS:
        _, params, condition = pix2pix.generator(halvings)
        image = pix2pix.generate(networks, halvings, params, condition)
        values["generators"][str(halvings)] = cases.summary(image)
    for num_layers in pix2pix.DISCRIMINATORS:
        _, params, pair = pix2pix.discriminator(num_layers)
        features = pix2pix.discriminate(networks, num_layers, params, pair)
        values["discriminators"][str(num_layers)] = [cases.summary(x) for x in features]
    result = pix2pix.training_step(networks, pix2pix.step())
    values["step"] = {"losses": result["losses"]} | {
        player: cases.summaries(result[player]["gradients"])
        for player in ("generator", "discriminator")
    }
    return values


def vid2vid_values(checkout):
    """Networks, the confidence in a flow, the losses of a frame, and training on a clip."""
    values = {"generators": {}, "discriminators": {}}
    with vid2vid.imported(checkout) as reference:
        for name, (size, sizes) in vid2vid.GENERATORS.items():
            _, params, *inputs = vid2vid.generator(size, sizes)
            outputs = vid2vid.generate(reference, sizes, params, *inputs)
            values["generators"][name] = {key: cases.summary(x) for key, x in outputs.items()}
        for name, (channels, sizes) in vid2vid.DISCRIMINATORS.items():
            _, params, *pair = vid2vid.discriminator(channels, sizes)
            scales = vid2vid.discriminate(reference, sizes, params, *pair)
            values["discriminators"][name] = [
                [cases.summary(feature) for feature in features] for features in scales
            ]
        mask = vid2vid.confidence(reference, *vid2vid.frames_and_flow())
        values["confidence"] = cases.summary(mask)
        values["losses"] = vid2vid_losses.reference_losses(reference)
        training = vid2vid_reference.training(reference)
        values["training"] = vid2vid_training.recorded(training)
    return values


def hed_values(checkout):
    """The six outputs at a size that halves and at an odd one."""
    _, params = cases.dned()
    network = hed.create_network(checkout, params).double()
    values = {}
    for height, width in cases.DNED_SIZES:
        x = cases.noise(1, height, width, 3).astype(np.float64)
        sides = hed.logits(network, x)
        values[f"{height}x{width}"] = [cases.summary(side) for side in sides]
    return values


def inception_values(pytorch_fid, torch_fidelity, clean_fid):
    """Inception's maps, its inputs by the three protocols, and the scores of given features."""
    network = inception.pytorch_fid_network(
        pytorch_fid, resize_input=False, normalize_input=False
    ).double()
    maps = inception.pytorch_fid_maps(network, inception.normalized_images().astype(np.float64))
    values = {"maps": [cases.summary(x) for x in maps], "inputs": {}, "scores": {}}
    with inception.torch_fidelity(torch_fidelity):
        fidelity_network = inception.torch_fidelity_network("float64")
        values["scores"] = {case: inception.torch_fidelity_scores(case) for case in inception.CASES}
        for name, size in inception.IMAGE_SIZES.items():
            images = inception.uint8_images(size)
            network = inception.pytorch_fid_network(pytorch_fid)
            inputs = {
                "pytorch-fid": inception.pytorch_fid_input(network.double(), images),
                "torch-fidelity": inception.torch_fidelity_input(fidelity_network, images),
                "clean-fid": inception.clean_fid_input(clean_fid, images),
            }
            values["inputs"][name] = {key: cases.summary(x) for key, x in inputs.items()}
    return values


def i3d_values(pytorch_i3d):
    """I3D as a whole, its trunk and its head alone, and TensorFlow's input; needs TensorFlow."""
    network = i3d.reference_network(pytorch_i3d, torch.float64)
    trunk = i3d.reference_trunk(network, i3d.videos(*i3d.TRUNK_SHAPE))
    logits = i3d.reference_logits(network, i3d.full_videos(9))
    inputs = {
        name: cases.summary(i3d.tensorflow_input(i3d.clips(shape)))
        for name, shape in i3d.CLIP_SHAPES.items()
    }
    return {
        "trunk": cases.summary(trunk),
        "head": cases.summary(i3d.reference_head(network, i3d.mixed_5c())),
        "logits": cases.summary(logits),
        "inputs": inputs,
    }


def pspnet_values(semseg):
    """A narrow PSPNet's logits, one pass of its training, and the test protocol (in float32)."""
    network = pspnet.create_network(semseg, **pspnet.SMALL)
    probabilities, labels = pspnet.label(semseg, network.float(), pspnet.photograph())
    network = pspnet.create_network(semseg, **pspnet.SMALL).double()
    logits = {
        f"{height}x{width}": cases.summary(
            pspnet.logits(network, pspnet.images((height, width)).astype(np.float64))
        )
        for height, width in pspnet.SIZES
    }
    trained = pspnet.train_once(network, *pspnet.training_batch())
    return {
        "logits": logits,
        "training": pspnet.recorded(trained),
        "probabilities": cases.summary(probabilities),
        "labels": cases.summary(labels),
    }


_REFERENCES = {
    "pix2pixhd": (pix2pixhd_values, ("SFLOW_PIX2PIXHD",)),
    "pix2pix": (pix2pix_values, ("SFLOW_PIX2PIX",)),
    "vid2vid": (vid2vid_values, ("SFLOW_VID2VID",)),
    "hed": (hed_values, ("SFLOW_HED",)),
    "inception": (
        inception_values,
        ("SFLOW_PYTORCH_FID", "SFLOW_TORCH_FIDELITY", "SFLOW_CLEAN_FID"),
    ),
    "i3d": (i3d_values, ("SFLOW_PYTORCH_I3D",)),
    "pspnet": (pspnet_values, ("SFLOW_SEMSEG",)),
}

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    for name, (values_of, checkouts) in _REFERENCES.items():
        if all(map(os.environ.get, checkouts)):
            cases.save_golden(name, values_of(*map(os.environ.get, checkouts)))
