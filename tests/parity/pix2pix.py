"""pix2pix's networks as a reference: loading them from a checkout, and their names for ours.

The checkout is of junyanz/pytorch-CycleGAN-and-pix2pix, or of a repository with the same text in
its models/networks.py, such as taesungp/contrastive-unpaired-translation.
"""

import importlib.util
import pathlib
import sys
import types

import numpy as np
from flax import traverse_util

from configs.baselines import pix2pix as pix2pix_config
from sflow_jax.methods.base import apply
from sflow_jax.methods.pix2pix import Pix2Pix
from sflow_jax.models.discriminator import PatchDiscriminator
from sflow_jax.models.pix2pix import UNetGenerator
from sflow_jax.runs.schedule import Schedule
from tests.parity import cases
from tests.parity.pix2pixhd import default_type, nchw, nhwc
from tests.random_weights import init_random, random_batch, random_state

GENERATORS = {5: (32, 64), 6: (64, 128)}
"""Sizes of images by the number of halvings; the reference has five at least."""

DISCRIMINATORS = {2: (24, 40), 3: (33, 48)}
"""Sizes of images by the number of strided layers."""

_WIDTH = 4


def imported(checkout):
    """The reference's models/networks.py; what else its folder holds is not imported."""
    package = types.ModuleType("pix2pix_models")
    package.__path__ = []
    neighbor = types.ModuleType("pix2pix_models.stylegan_networks")
    for name in ("StyleGAN2Discriminator", "StyleGAN2Generator", "TileStyleGAN2Discriminator"):
        setattr(neighbor, name, None)
    sys.modules |= {package.__name__: package, neighbor.__name__: neighbor}
    path = pathlib.Path(checkout) / "models" / "networks.py"
    spec = importlib.util.spec_from_file_location("pix2pix_models.networks", path)
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    return networks


def generator(halvings):
    """The U-Net, its parameters and label maps in colors."""
    module = UNetGenerator(_WIDTH, halvings)
    condition = np.tanh(cases.noise(2, *GENERATORS[halvings], 3))
    return module, init_random(module, condition), condition


def discriminator(num_layers):
    """The PatchGAN, its parameters and pairs of condition and image."""
    module = PatchDiscriminator(_WIDTH, num_layers, padding=1, affine=True)
    pair = np.tanh(cases.noise(2, *DISCRIMINATORS[num_layers], 6))
    return module, init_random(module, pair), pair


def generate(networks, halvings, params, condition):
    """The images of the reference's generator with our parameters, one at a time, as officially."""
    import torch

    names = generator_names(halvings)
    network = load(create_generator(networks, halvings, _WIDTH, 3), params, names)
    with torch.no_grad():
        return np.concatenate([nhwc(network(nchw(x[None]))) for x in condition])


def discriminate(networks, num_layers, params, pair):
    """The features that ours returns, by the reference's discriminator with our parameters."""
    import torch

    network = load(
        create_discriminator(networks, num_layers, _WIDTH, 6),
        params,
        discriminator_names(num_layers),
    )
    found = []
    with torch.no_grad():
        for x in map(nchw, pair[:, None]):
            features = []
            for layer in network.model:
                x = layer(x)
                if isinstance(layer, torch.nn.LeakyReLU):
                    features.append(nhwc(x))
            found.append([*features, nhwc(x)])
    return [np.concatenate(features) for features in zip(*found, strict=True)]


def create_generator(networks, halvings, width, channels):
    """The reference's U-Net without dropout: its draws could not be ours."""
    return networks.UnetGenerator(channels, 3, halvings, width)


def create_discriminator(networks, num_layers, width, channels):
    """The reference's PatchGAN, of strided convolutions."""
    arguments = (channels, width, num_layers)
    try:
        return networks.NLayerDiscriminator(*arguments, no_antialias=True)
    except TypeError:  # the original knows no others
        return networks.NLayerDiscriminator(*arguments)


def generator_names(halvings):
    """Our layers of `UNetGenerator` and the reference's names for them."""
    names, prefix = {"down_0": "model.model.0", "": "model.model.3", "up_0": "model.model.3"}, ""
    for level in range(1, halvings):
        prefix = "model.model.1.model" if level == 1 else f"{prefix}.3.model"
        up = 3 if level == halvings - 1 else 5
        names |= {
            f"down_{level}": f"{prefix}.1",
            f"down_norm_{level}": f"{prefix}.2",
            f"up_{level}": f"{prefix}.{up}",
            f"up_norm_{level}": f"{prefix}.{up + 1}",
        }
    return names


def discriminator_names(num_layers):
    """Our layers of `PatchDiscriminator` and the reference's names for them."""
    names = {"conv_0": "model.0", f"conv_{num_layers + 1}": f"model.{2 + 3 * num_layers}"}
    for layer in range(1, num_layers + 1):
        names |= {f"conv_{layer}": f"model.{3 * layer - 1}", f"norm_{layer}": f"model.{3 * layer}"}
    return names


def _keys(params, names):
    """For each of our parameters: the reference's key and its axes in ours."""
    for path in traverse_util.flatten_dict(params["params"], sep="/"):
        layer, _, kind = path.rpartition("/")
        axes = {"bias": (0,), "scale": (0,)}.get(
            kind, (2, 3, 0, 1) if layer.startswith("up_") else (3, 2, 0, 1)
        )
        yield path, f"{names[layer]}.{'bias' if kind == 'bias' else 'weight'}", axes


def load(network, params, names):
    """Gives a reference's module our parameters, all that it trains."""
    import torch

    flat = traverse_util.flatten_dict(params["params"], sep="/")
    tensors = {
        key: torch.tensor(np.transpose(flat[path], axes), dtype=torch.get_default_dtype())
        for path, key, axes in _keys(params, names)
    }
    missing = set(dict(network.named_parameters())) - set(tensors)
    assert not missing, missing
    network.load_state_dict({**network.state_dict(), **tensors})
    return network


def from_reference(tensors, names, params):
    """The reference's tensors in the structure of our parameters."""
    found = {
        path: np.transpose(np.asarray(tensors[key]), np.argsort(axes))
        for path, key, axes in _keys(params, names)
    }
    return {"params": traverse_util.unflatten_dict(found, sep="/")}


class WithoutDropout(Pix2Pix):
    """The method with a generator that drops nothing."""

    def generate(self, params, scene, step):
        return apply(self.generator, params["generator"], scene.condition)


def step(compute_dtype="float32"):
    """One optimization step of one image, as officially, on label maps in colors."""
    config = pix2pix_config.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_downsamplings = 5
    config.augmentation.flip, config.augmentation.zoom = False, 0.0
    config.train.compute_dtype = compute_dtype
    schedule = Schedule(1, 0, 0, 10, 20, 20)
    method = WithoutDropout.from_config(config, cases.CLASSES, schedule)
    state = random_state(method, config, schedule)
    return cases.Step(config, method, schedule, state, random_batch((32, 64), 1, cases.NUM_CLASSES))


def training_step(networks, case):
    """`optimize_parameters` of the reference's models/pix2pix_model.py, in float64.

    Forward; D on the pair with the fake, cut off, and on the real pair, halved; D's update; G's
    adversarial loss by the updated D and 100 times the L1 distance; G's update.

    Returns:
        The losses by our names; for both players the gradients and updated parameters.
    """
    import torch

    config, state = case.config, case.state
    halvings, num_layers = config.generator.num_downsamplings, config.discriminator.num_layers
    names = {
        "generator": generator_names(halvings),
        "discriminator": discriminator_names(num_layers),
    }
    before = {
        "generator": state.params["generator"],
        "discriminator": {"params": state.discriminator_params["params"]["scale_0"]},
    }
    with default_type(torch.float64):
        players = {
            "generator": create_generator(networks, halvings, config.generator.width, 3),
            "discriminator": create_discriminator(
                networks, num_layers, config.discriminator.width, 6
            ),
        }
        for player, network in players.items():
            load(network, before[player], names[player])
        betas = config.optimizer.beta1, config.optimizer.beta2
        optimizers = {
            player: torch.optim.Adam(network.parameters(), config.optimizer.learning_rate, betas)
            for player, network in players.items()
        }
        label = case.batch["label"][:, 0, ..., 0]
        condition = nchw(case.method.class_table.palette[label] / 127.5 - 1)
        real = nchw(case.image)
        fake = players["generator"](condition)
        judge, bce = players["discriminator"], torch.nn.BCEWithLogitsLoss()

        def against(scores, target):
            return bce(scores, torch.full_like(scores, target))

        losses = {
            "discriminator/fake": against(judge(torch.cat([condition, fake.detach()], 1)), 0.0) / 2,
            "discriminator/real": against(judge(torch.cat([condition, real], 1)), 1.0) / 2,
        }
        (losses["discriminator/fake"] + losses["discriminator/real"]).backward()
        gradients = {"discriminator": _gradients(judge)}
        optimizers["discriminator"].step()
        losses["generator/adversarial"] = against(judge(torch.cat([condition, fake], 1)), 1.0)
        losses["generator/l1"] = config.pix2pix.l1_weight * (fake - real).abs().mean()
        (losses["generator/adversarial"] + losses["generator/l1"]).backward()
        gradients["generator"] = _gradients(players["generator"])
        optimizers["generator"].step()
    outcome = {"losses": {name: value.item() for name, value in losses.items()}}
    for player, network in players.items():
        updated = {key: x.detach().numpy() for key, x in network.named_parameters()}
        outcome[player] = {
            "gradients": from_reference(gradients[player], names[player], before[player]),
            "params": from_reference(updated, names[player], before[player]),
        }
    return outcome


def _gradients(network):
    return {key: x.grad.numpy().copy() for key, x in network.named_parameters()}


def players_of(case, state):
    """For both players our parameters before and after a step, and the gradients."""
    beta1 = case.config.optimizer.beta1
    discriminator_gradients = cases.first_gradients(state.discriminator_optimizer_state, beta1)
    return {
        "generator": (
            case.state.params["generator"],
            cases.first_gradients(state.optimizer_state, beta1)["generator"],
            state.params["generator"],
        ),
        "discriminator": tuple(
            {"params": tree["params"]["scale_0"]}
            for tree in (
                case.state.discriminator_params,
                discriminator_gradients,
                state.discriminator_params,
            )
        ),
    }
