"""Writes tests/golden from the references, in float64.

    SFLOW_PIX2PIXHD=CHECKOUT SFLOW_HED=CHECKOUT python -m tests.parity.make_golden

Needs PyTorch and checkouts of NVIDIA/pix2pixHD and sniklaus/pytorch-hed.
"""

import os

import numpy as np
import torch

from tests.parity import cases, hed, pix2pixhd


def pix2pixhd_values(checkout):
    """Generators, discriminators and one optimisation step each."""
    values = {"generators": {}, "discriminators": {}, "steps": {}}
    with pix2pixhd.imported(checkout) as reference:
        for kind, sizes in cases.GENERATORS.items():
            _, params, condition = cases.generator(kind, (24, 32), sizes)
            image = pix2pixhd.generate(reference, kind, sizes, params, condition)
            values["generators"][kind] = cases.summary(image)
        for name, sizes in cases.DISCRIMINATORS.items():
            _, params, *pair = cases.discriminator((48, 40), sizes)
            scales = pix2pixhd.discriminate(reference, sizes, params, *pair)
            values["discriminators"][name] = [
                [cases.summary(feature) for feature in features] for features in scales
            ]
        for name, (kind, num_scales) in cases.STEPS.items():
            values["steps"][name] = _step_values(reference, cases.step(kind, num_scales))
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
        updates = cases.relative_updates(before, after, gradients, rate)
        values[player] = {
            "gradients": cases.summaries(gradients),
            "updates": cases.summaries(updates),
        }
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


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    cases.save_golden("pix2pixhd", pix2pixhd_values(os.environ["SFLOW_PIX2PIXHD"]))
    cases.save_golden("hed", hed_values(os.environ["SFLOW_HED"]))
