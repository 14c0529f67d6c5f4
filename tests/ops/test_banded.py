import jax
import numpy as np
import pytest
from scipy.sparse import csr_array

from sflow_jax.ops import banded


def random_operators(to, length, shape, reach=6, seed=0):
    """Matrices that read `reach` places around the one that belongs to each row."""
    random = np.random.default_rng(seed)
    near = np.abs(np.arange(length) - np.arange(to)[:, None] * length / to) <= reach
    dense = random.normal(size=(*shape, to, length)) * near
    return dense, [[csr_array(matrix) for matrix in row] for row in dense]


@pytest.mark.parametrize(
    ("to", "length"), [(1, 1), (5, 9), (64, 64), (65, 130), (200, 151), (150, 600)], ids=str
)
def test_products_and_gradients_equal_dense_ones(to, length):
    with jax.enable_x64(True):
        dense, operators = random_operators(to, length, (3, 2))
        images = np.random.default_rng(1).normal(size=(2, 2, length, 4))
        expected = np.einsum("mnij,nbjw->mbiw", dense, images)
        found, pull_back = jax.vjp(lambda x: banded.down_columns(operators, x), images)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        cotangent = np.random.default_rng(2).normal(size=found.shape)
        gradient = np.einsum("mnij,mbiw->nbjw", dense, cotangent)
        np.testing.assert_allclose(pull_back(cotangent)[0], gradient, atol=1e-12)

        turned = images.swapaxes(-1, -2)
        found, pull_back = jax.vjp(lambda x: banded.along_rows(operators, x), turned)
        np.testing.assert_allclose(found, expected.swapaxes(-1, -2), atol=1e-12)
        found = pull_back(cotangent.swapaxes(-1, -2))[0]
        np.testing.assert_allclose(found, gradient.swapaxes(-1, -2), atol=1e-12)


def test_nothing_is_multiplied_in_a_coarser_type():
    """GPU and TPU would do so by default; no CPU shows the difference."""
    _, operators = random_operators(70, 90, (2, 1))

    def product_and_gradient(images):
        return jax.value_and_grad(lambda x: banded.down_columns(operators, x).sum())(images)

    text = jax.jit(product_and_gradient).lower(np.zeros((1, 2, 90, 3), np.float32)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 2
    assert all(line.count("HIGHEST") == 2 for line in products)


def test_the_work_per_row_does_not_grow_with_the_length():
    def work(length):
        _, operators = random_operators(length, length, (1, 1))
        product = jax.jit(lambda x: banded.down_columns(operators, x))
        cost = product.lower(np.zeros((1, 1, length, 8), np.float32)).compile().cost_analysis()
        return cost["flops"] / length

    assert work(1024) < 1.1 * work(256)
