"""Eight devices with one pair of frames each, and one device with all eight; two processes too."""

import os
import pathlib
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import streets_video
from sflow_jax.data.pipeline import train_iterator
from sflow_jax.methods import create_method
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule
from sflow_jax.sharding import parallelize, replicate, stack_for_devices
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import FAST, FAST_FLAGS, fast_jit
from tests.parity.cases import first_gradients
from tests.processes import free_port
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state
from tests.stub_networks import stub_method

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
NUM_DEVICES = 8
NUM_STEPS = 3
KEYS = ("image", "label", "flow")
SCHEDULE = Schedule(
    1, laplacian_steps=0, ramp_steps=2, constant_steps=10, decay_steps=20, num_steps=20
)


def colors(params, images):
    """A perceptual network of five slices."""
    return [params["scale"] * images[:, :: 2**i] ** 3 for i in range(5)]


@pytest.fixture(scope="module")
def config():
    return make_config()


def make_config():
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
    network = PerceptualNetwork(colors, {"scale": np.float32(2)})
    method = create_method(config, CLASSES, SCHEDULE, network)
    train_step = make_train_step(method, SCHEDULE, config)
    state = random_state(method, config, SCHEDULE)
    return [
        run(parallelize(train_step, jax.devices()[:count]), state, network.params, count)
        for count in (NUM_DEVICES, 1)
    ]


def run(train_step, state, perceptual_params, num_devices):
    trace = []
    for step in range(NUM_STEPS):
        batch = random_batch((16, 16), NUM_DEVICES, NUM_CLASSES, seed=step, num_frames=2)
        arguments = state, perceptual_params, stack_for_devices(batch, KEYS, num_devices)
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

    Adam's first step is the sign of the gradient, whatever its size: where a ReLU is almost dead,
    the sign is noise.
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


PROCESS = """
import pickle, sys
import jax
from tests.training import test_parallel

port, process, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
with open(path, "wb") as file:
    pickle.dump(test_parallel.stub_step(process, 2), file)
"""


def stub_step(process=0, num_processes=1):
    """State and metrics after a step of stub networks, from the examples that a process reads.

    One process has one device. How examples are shared out is the same whatever the networks are.
    """
    config = make_config()
    method = stub_method(config, CLASSES, SCHEDULE)
    batch = random_batch((16, 16), NUM_DEVICES, NUM_CLASSES)
    examples = [
        {key: values[index] for key, values in batch.items()} | {"name": str(index)}
        for index in range(NUM_DEVICES)
    ]
    size = NUM_DEVICES // num_processes
    batch = next(
        train_iterator(
            examples, batch_size=size, seed=0, shard_index=process, num_shards=num_processes
        )
    )
    state = random_state(method, config, SCHEDULE)
    if num_processes == 1:
        step = make_train_step(method, SCHEDULE, config, axis_name=None)
        del batch["name"]
        return jax.device_get(fast_jit(step)(state, {}, batch))
    step = parallelize(make_train_step(method, SCHEDULE, config))
    return jax.device_get(step(replicate(state), {}, stack_for_devices(batch, KEYS[:2], size)))


def test_two_processes_of_four_devices_agree_with_one_device(tmp_path):
    port = free_port()
    flags = f"--xla_force_host_platform_device_count=4 {FAST_FLAGS}"
    paths = [tmp_path / f"{process}.pickle" for process in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(port), str(process), str(path)],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            cwd=pathlib.Path(__file__).parents[2],
        )
        for process, path in enumerate(paths)
    ]
    expected = leaves(stub_step())
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for path in paths:
        found = leaves(pickle.loads(path.read_bytes()))
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
