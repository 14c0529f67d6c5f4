import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics.kernel_distance import kernel_distance


def sample(count, seed, depth=6, shift=0.0):
    return (np.random.RandomState(seed).standard_normal((count, depth)) + shift).astype(np.float32)


def test_estimate_is_the_definition():
    """Sums over pairs of different images within a set, over all pairs between sets."""
    x, y = sample(5, 0).astype(np.float64), sample(5, 1, shift=0.5).astype(np.float64)

    def kernel(a, b):
        return (a @ b / 6 + 1) ** 3

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    within = sum(kernel(z[i], z[j]) for z in (x, y) for i, j in pairs) / 20
    between = sum(kernel(a, b) for a in x for b in y) / 25
    found = kernel_distance(x, y, num_subsets=3, subset_size=5)  # each subset is the whole set
    assert found.mean == pytest.approx(within - 2 * between, rel=1e-12)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_identical_sets_differ_from_zero_by_the_diagonal_that_is_left_out():
    x = sample(40, 0)
    kernel = (np.float64(x) @ x.T / 6 + 1) ** 3
    between_others = (kernel.sum() - np.trace(kernel)) / (40 * 39)
    expected = -2 / 40 * (np.trace(kernel) / 40 - between_others)
    found = kernel_distance(x, x[::-1], num_subsets=2, subset_size=40)
    assert found.mean == pytest.approx(expected, rel=1e-10)


def test_equal_distributions_are_at_distance_zero_on_average():
    found = kernel_distance(sample(2000, 0), sample(2000, 1), num_subsets=50, subset_size=200)
    assert abs(found.mean) < found.std
    apart = kernel_distance(sample(2000, 0), sample(2000, 1, shift=1.0), 50, 200)
    assert apart.mean > 10 * found.std


def test_estimate_does_not_depend_on_the_size_of_subsets():
    """A biased estimate would be larger by about 1 / size."""
    x, y = sample(1500, 0), sample(1500, 1, shift=0.4)
    small = kernel_distance(x, y, num_subsets=400, subset_size=20)
    large = kernel_distance(x, y, num_subsets=20, subset_size=700)
    assert small.mean == pytest.approx(large.mean, abs=4 * small.std / np.sqrt(400))


def test_seed_decides():
    x, y = sample(100, 0), sample(90, 1)
    assert kernel_distance(x, y, 5, 40) == kernel_distance(x, y, 5, 40)
    assert kernel_distance(x, y, 5, 40) != kernel_distance(x, y, 5, 40, seed=1)


def test_float32_features_are_summed_in_float64():
    x, y = sample(64, 0, shift=30.0), sample(64, 1, shift=30.0)
    single = kernel_distance(x, y, 2, 64)
    assert single == kernel_distance(x.astype(np.float64), y.astype(np.float64), 2, 64)


@pytest.mark.parametrize(("counts", "size"), [((50, 999), 100), ((999, 50), 51), ((9, 9), 1)])
def test_too_few_images_are_refused(counts, size):
    with pytest.raises(InputError, match=rf"subsets of {size} images, found {min(counts)}"):
        kernel_distance(sample(counts[0], 0), sample(counts[1], 1), subset_size=size)
