"""Eight devices with one pair of frames each, and one device with all eight."""

import jax
import numpy as np
import pytest

from configs import streets_video
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.training.loop import parallelise, split_over_devices
from sflow_jax.training.schedule import Schedule
from sflow_jax.training.state import create_networks
from sflow_jax.training.step import make_train_step
from tests.fast_jit import FAST
from tests.parity.cases import first_gradients
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state

NUM_CLASSES = 3
NUM_DEVICES = 8
NUM_STEPS = 3
SCHEDULE = Schedule(
    1, laplacian_steps=0, ramp_steps=2, constant_steps=10, decay_steps=20, num_steps=20
)


def colours(params, images):
    """A perceptual network of five slices."""
    return [params["scale"] * images[:, :: 2**i] ** 3 for i in range(5)]


@pytest.fixture(scope="module")
def config():
    config = streets_video.get_config("tiny")
    config.generator.width = 2
    config.generator.num_downsamplings = 1
    config.discriminator.width = 2
    config.discriminator.num_layers = 1
    config.discriminator.sees_edges = True
    config.dned.width = 2
    config.edges.threshold = EDGE_THRESHOLD
    config.edges.quantile = None
    return config


@pytest.fixture(scope="module")
def runs(config):
    """States and metrics after every step, on eight devices and on one."""
    if len(jax.devices()) < NUM_DEVICES:
        pytest.skip(f"needs {NUM_DEVICES} devices; XLA_FLAGS was set without virtual ones")
    networks = create_networks(config, NUM_CLASSES)
    network = PerceptualNetwork(colours, {"scale": np.float32(2)})
    train_step = make_train_step(networks, network, SCHEDULE, config)
    state = random_state(networks, config, SCHEDULE)
    return [
        run(parallelise(train_step, jax.devices()[:count]), state, network.params, count)
        for count in (NUM_DEVICES, 1)
    ]


def run(train_step, state, perceptual_params, num_devices):
    trace = []
    for step in range(NUM_STEPS):
        batch = random_batch((16, 16), NUM_DEVICES, NUM_CLASSES, seed=step, num_frames=2)
        arguments = state, perceptual_params, split_over_devices(batch, num_devices)
        if step == 0:
            compiled = train_step.lower(*arguments).compile(FAST)
        state, metrics = compiled(*arguments)
        trace.append(jax.device_get((state, metrics)))
    return trace


def leaves(tree):
    return {
        jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def networks_of(trace, config):
    """By network: parameters, averages (of G and DNED) and gradients after the first step."""
    state, _ = trace[0]
    beta1 = config.optimizer.beta1
    gradients = first_gradients(state.optimizer_state, beta1)
    networks = {
        name: {"params": state.params[name], "ema": state.ema_params[name], "gradients": gradient}
        for name, gradient in gradients.items()
    }
    networks["discriminator"] = {
        "params": state.discriminator_params,
        "gradients": first_gradients(state.discriminator_optimizer_state, beta1),
    }
    return networks


@pytest.mark.parametrize("network", ["generator", "dned", "discriminator"])
def test_gradients_and_parameters_agree_after_a_step(config, runs, network):
    """Gradients to rounding, parameters wherever the gradient is more than rounding.

    Adam's first step is the sign of the gradient, whatever its size: where instance norm removes a
    bias, or a ReLU is dead, the sign is noise.
    """
    found, expected = (networks_of(trace, config)[network] for trace in runs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected["gradients"]))
    assert largest > 1e-2
    num_clear = num_alive = 0
    for path, gradient in leaves(expected["gradients"]).items():
        difference = np.abs(leaves(found["gradients"])[path] - gradient)
        assert difference.max() < 1e-5 * largest, path
        clear = np.abs(gradient) > 1e-4 * largest
        num_clear, num_alive = num_clear + clear.sum(), num_alive + (gradient != 0).sum()
        for kind in expected.keys() - {"gradients"}:
            a, b = (leaves(side[kind])[path] for side in (found, expected))
            difference = np.abs(a - b) / config.optimizer.learning_rate
            assert difference[clear].max(initial=0) < 0.02, (kind, path)
            assert difference.max() < 2.01, (kind, path)
    assert num_clear > max(200, 0.6 * num_alive)


def test_metrics_agree_at_every_step(runs):
    for step, ((_, found), (_, expected)) in enumerate(zip(*runs, strict=True)):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=f"{name} at {step}")
    assert [float(metrics["dned_share"]) for _, metrics in runs[0]] == [0, 0.5, 1]


def test_steps_and_averages_advance_together(runs):
    for (found, _), (expected, _) in zip(*runs, strict=True):
        assert found.step == expected.step
    assert runs[0][-1][0].step == NUM_STEPS
