import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from tests.fast_jit import fast_jit
from tests.random_weights import init_random

SIZES = {"width": 4, "num_downsamplings": 2, "num_blocks": 1}
GENERATORS = {
    "global": GlobalGenerator(**SIZES),
    "local": LocalEnhancer(**SIZES, num_local_blocks=1),
    "resize": GlobalGenerator(**SIZES, upsampling="resize"),
}


def noise(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def maps(*shape):
    """A label map of five classes and an edge map, both noise."""
    return noise(*shape, 5), noise(*shape, 1, seed=1)


@pytest.fixture(params=GENERATORS, scope="module")
def generator(request):
    return GENERATORS[request.param]


@pytest.fixture(scope="module")
def params(generator):
    return init_random(generator, *maps(1, 16, 16))


@pytest.fixture(scope="module")
def generate(generator):
    return fast_jit(generator.apply)


@pytest.mark.parametrize("size", [(100, 60), (17, 33), (5, 9)])
def test_sizes_that_cannot_be_halved_are_padded_and_cropped(generate, generator, params, size):
    multiple = 4 if isinstance(generator, GlobalGenerator) else 8
    inputs = maps(1, *size)
    sides = [max(2 * multiple, -(-side // multiple) * multiple) for side in size]
    padding = [(0, 0), (0, sides[0] - size[0]), (0, sides[1] - size[1]), (0, 0)]
    whole = generate(params, *(np.pad(x, padding, mode="edge") for x in inputs))
    assert whole.shape == (1, *sides, 3)
    found = generate(params, *inputs)
    assert found.shape == (1, *size, 3)
    assert found.std() > 1e-2
    np.testing.assert_allclose(found, whole[:, : size[0], : size[1]], atol=1e-5)


def test_examples_do_not_influence_each_other(generate, params):
    inputs = maps(3, 16, 24)
    whole = generate(params, *inputs)
    alone = generate(params, *(x[1:2] for x in inputs))
    np.testing.assert_allclose(alone, whole[1:2], atol=1e-5)
    assert np.abs(whole[1] - whole[0]).mean() > 0.1


def test_every_parameter_matters(generator, params):
    inputs = maps(1, 16, 24)

    @fast_jit
    def gradients(params):
        return jax.grad(lambda p: (generator.apply(p, *inputs) * noise(1, 16, 24, 3)).sum())(params)

    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients(params)):
        assert np.abs(gradient).max() > 1e-2, jax.tree_util.keystr(path)


def test_labels_have_no_gradient_and_all_else_has_the_same(generator, params):
    """Given as edges of as many channels, they have one."""
    (label_map, edge_map), factors = maps(1, 16, 24), noise(1, 16, 24, 3)

    @fast_jit
    def gradients(params, label_map, edge_map):
        def loss(*arguments):
            return (generator.apply(*arguments) * factors).sum()

        found = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, label_map, edge_map)
        no_labels, both = label_map[..., :0], jnp.concatenate([label_map, edge_map], -1)
        return found, jax.value_and_grad(loss, argnums=(0, 2))(params, no_labels, both)

    (value, found), (expected_value, expected) = gradients(params, label_map, edge_map)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (found[0], expected[0])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert np.abs(expected[1]).min() > 0
    np.testing.assert_allclose(found[2], expected[1][..., 5:], rtol=1e-4, atol=1e-4)
    assert not found[1].any()


def test_without_edges_the_labels_alone_are_seen(generator):
    label_map = noise(1, 16, 24, 5)
    params = init_random(generator, label_map)
    no_edges = np.zeros((1, 16, 24, 0), np.float32)
    found, same = (fast_jit(generator.apply)(params, label_map, e) for e in (None, no_edges))
    np.testing.assert_array_equal(found, same)

    @fast_jit
    def gradients(label_map):
        return jax.grad(lambda x: generator.apply(params, x).sum())(label_map)

    assert not gradients(label_map).any()


def test_bfloat16_keeps_float32_parameters_and_output_and_stays_close(generator, generate, params):
    coarse = generator.clone(dtype=jnp.bfloat16)
    inputs = maps(1, 16, 24)
    shapes = jax.eval_shape(coarse.init, jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    found = fast_jit(coarse.apply)(params, *inputs)
    assert found.dtype == jnp.float32
    difference = np.abs(found - generate(params, *inputs)).mean()
    assert 1e-5 < difference < 0.05


def test_bfloat16_reaches_every_convolution():
    network = GlobalGenerator(**SIZES, dtype=jnp.bfloat16)
    inputs = maps(1, 16, 16)
    params = init_random(network, *inputs)
    text = jax.jit(network.apply).lower(params, *inputs).as_text()
    # Some are products of matrices.
    operations = ("stablehlo.convolution", "stablehlo.dot_general")
    convolutions = [line for line in text.splitlines() if any(x in line for x in operations)]
    assert len(convolutions) == 1 + 2 + 2 + 2 + 1
    for line in convolutions:
        assert "xf32>" not in line.rpartition(" : ")[2], line


def count(module, *channels):
    inputs = (jnp.zeros((1, 32, 32, number)) for number in channels)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def convolution(kernel, inputs, outputs):
    return kernel * kernel * inputs * outputs


def test_remat_computes_the_blocks_again_and_the_same_gradients(generator, params):
    inputs = maps(1, 16, 24)

    def gradient(network):
        def loss(params):
            return (network.apply(params, *inputs) * noise(1, 16, 24, 3)).sum()

        return jax.grad(loss)

    again = gradient(generator.clone(remat=True))
    assert "remat" in str(jax.make_jaxpr(again)(params))
    expected = fast_jit(gradient(generator))(params)
    found = fast_jit(again)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_parameter_count_of_the_default_global_generator():
    """Label map of 35 classes and the edge map; 64 channels, 3 halvings, 9 blocks."""
    halvings = [(64, 128), (128, 256), (256, 512)]
    expected = (
        convolution(7, 36, 64)
        + sum(convolution(3, a, b) for a, b in halvings)
        + 9 * 2 * convolution(3, 512, 512)
        + sum(convolution(3, b, a) for a, b in halvings)
        + convolution(7, 64, 3)
        + 3
    )
    assert count(GlobalGenerator(), 35, 1) == expected == 45_686_211


def test_parameter_count_of_the_default_local_enhancer():
    """A global trunk of 64 channels without its last layer, and the enhancer of 32 around it."""
    trunk = 45_686_211 - convolution(7, 64, 3) - 3
    enhancer = (
        convolution(7, 36, 32)
        + convolution(3, 32, 64)
        + 3 * 2 * convolution(3, 64, 64)
        + convolution(3, 64, 32)
        + convolution(7, 32, 3)
        + 3
    )
    assert count(LocalEnhancer(), 35, 1) == trunk + enhancer
