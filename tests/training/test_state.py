import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets
from sflow_jax.methods import create_method
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.state import create_state
from tests.class_tables import numbered_classes
from tests.stub_networks import stub_method

SCHEDULE = Schedule(1, 1, 1, 10, 20, 20)


def shapes_of(**changes):
    config = streets.get_test_config()
    config.update_from_flattened_dict(changes)
    method = create_method(config, numbered_classes(5), SCHEDULE)
    shapes = jax.eval_shape(method.init, jax.random.key(config.seed))
    return method, jax.tree.map(lambda leaf: leaf.shape, shapes, is_leaf=lambda x: x is None)


@pytest.mark.parametrize(
    ("changes", "generator", "discriminator", "dned"),
    [
        ({}, 6, 8, 1),
        ({"generator.edges": "laplacian"}, 6, 8, 1),
        ({"generator.edges": "none"}, 5, 8, 1),
        ({"discriminator.sees_edges": True}, 6, 9, 1),
        ({"dned.input": "gray"}, 6, 8, 1),
        ({"dned.input": "rgb"}, 6, 8, 3),
    ],
)
def test_every_network_gets_the_channels_that_the_config_gives_it(
    changes, generator, discriminator, dned
):
    _, (params, discriminator_params) = shapes_of(**changes)
    stem = params["generator"]["params"]["trunk"]["stem"]["Conv_0"]["kernel"]
    assert stem == (7, 7, generator, 4)
    assert params["dned"]["params"]["conv1_1"]["kernel"] == (3, 3, dned, 2)
    first = discriminator_params["params"]["scale_0"]["conv_0"]["kernel"]
    assert first == (4, 4, discriminator, 4)


def test_sizes_and_types_come_from_the_config():
    method, _ = shapes_of(
        **{
            "generator.kind": "local",
            "generator.num_blocks": 2,
            "generator.num_local_blocks": 1,
            "generator.num_downsamplings": 4,
            "discriminator.num_scales": 2,
            "discriminator.num_layers": 4,
            "dned.width": 3,
            "train.compute_dtype": "bfloat16",
        }
    )
    half = jnp.dtype("bfloat16")
    assert method.generator == LocalEnhancer(4, 4, 2, 1, half)
    discriminator = method.discriminator
    sizes = (discriminator.num_scales, discriminator.width, discriminator.num_layers)
    assert sizes == (2, 4, 4)
    assert discriminator.dtype == method.dned.dtype == half
    assert method.dned.width == 3
    single = jnp.dtype("float32")
    assert shapes_of()[0].generator == GlobalGenerator(4, 2, 1, single)


def test_the_seed_decides_the_first_state():
    config = streets.get_test_config()
    states = []
    for seed in (0, 0, 1):
        config.seed = seed
        states.append(
            create_state(stub_method(config, numbered_classes(5), SCHEDULE), config, SCHEDULE)
        )
    first, again, other = states
    jax.tree.map(np.testing.assert_array_equal, first, again)
    jax.tree.map(np.testing.assert_array_equal, first.params, first.ema_params)
    assert first.step == 0
    kernels = [
        (a, b)
        for a, b in zip(*(jax.tree.leaves(s.params) for s in (first, other)), strict=True)
        if a.ndim == 4
    ]
    assert all(np.abs(a - b).min() > 0 for a, b in kernels)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(first.optimizer_state))
