import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.generator import GlobalGenerator
from sflow_jax.pretrained.vgg19 import VGG19Features
from sflow_jax.training import cost
from sflow_jax.training.cost import forward_flops


def images(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def count(module, *inputs):
    return forward_flops(module.init, jax.random.key(0), *inputs)


def test_every_layer_of_a_small_generator_is_counted():
    generator = GlobalGenerator(width=2, num_downsamplings=1, num_blocks=1)
    pixels = 2 * 16 * 24  # of two images
    multiplications = [
        pixels * 7 * 7 * 5 * 2,  # stem
        pixels // 4 * 3 * 3 * 2 * 4,  # halving
        2 * pixels // 4 * 3 * 3 * 4 * 4,  # residual block
        pixels // 4 * 3 * 3 * 4 * 2,  # doubling
        pixels * 7 * 7 * 2 * 3,  # image
    ]
    assert count(generator, images(2, 16, 24, 4), images(2, 16, 24, 1)) == 2 * sum(multiplications)


def test_dense_layers_are_counted():
    assert count(nn.Dense(7), images(3, 5)) == 2 * 3 * 5 * 7


def test_other_methods_and_transformations_are_counted_once():
    class Network(nn.Module):
        def setup(self):
            self.conv = nn.Conv(4, (3, 3))

        def __call__(self, x):
            return self.features(x)

        def features(self, x):
            return self.conv(x)

    expected = 2 * 8 * 8 * 3 * 3 * 2 * 4
    network, x = Network(), images(1, 8, 8, 2)
    assert count(network, x) == expected
    params = jax.eval_shape(network.init, jax.random.key(0), x)
    assert forward_flops(functools.partial(network.apply, method="features"), params, x) == expected
    assert count(nn.remat(nn.Conv)(4, (3, 3)), x) == expected


# What the layers of pix2pixHD at 512x256 amount to, by hand.
@pytest.mark.parametrize(
    ("module", "channels", "tera"),
    [
        (GlobalGenerator(), (35, 1), 0.24),
        (MultiScaleDiscriminator(), (35, 3), 0.017),
        (VGG19Features(), (3,), 0.10),
    ],
    ids=["generator", "discriminator", "VGG19"],
)
def test_networks_of_the_paper(module, channels, tera):
    inputs = [images(1, 256, 512, number) for number in channels]
    assert count(module, *inputs) / 1e12 == pytest.approx(tera, rel=0.06)


def test_a_function_that_was_traced_before_is_counted_again():
    module = nn.Dense(7)
    initialize = module.init
    jax.eval_shape(initialize, jax.random.key(0), images(3, 5))
    for _ in range(2):
        assert forward_flops(initialize, jax.random.key(0), images(3, 5)) == 2 * 3 * 5 * 7


def test_calls_are_timed_after_one_to_warm_up(monkeypatch):
    clock = iter([0, 9, 10, 11, 20, 23])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    calls = []
    assert cost.time_calls(lambda: calls.append(1), 2) == [1, 3]
    assert len(calls) == 3


def test_the_limit_is_that_of_the_fastest_product(monkeypatch):
    monkeypatch.setattr(cost, "time_calls", lambda function, count: [2.0, 0.5, 1.0])
    assert cost.matrix_limit("float32") == pytest.approx(4 * 2 * 2048**3 / 0.5)
