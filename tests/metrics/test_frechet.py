import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics.frechet import Gaussian, GaussianStream, frechet_distance

DEPTH = 24


def sample(count, seed=0, depth=DEPTH, rank=None):
    """Correlated features; they span `rank` dimensions at most."""
    random = np.random.RandomState(seed)
    rank = rank or depth
    mixing = random.standard_normal((rank, depth)) / np.sqrt(rank)
    return random.standard_normal((count, rank)) @ mixing + random.standard_normal(depth)


def gaussian(features, batch_size=None):
    stream = GaussianStream()
    for start in range(0, len(features), batch_size or len(features)):
        stream.update(features[start : start + (batch_size or len(features))])
    return stream.gaussian()


def complex_root_distance(x, y):
    """The formula as it is written; eigenvalues are complex before their root is taken."""
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex))
    difference = x.mean(0) - y.mean(0)
    traces = sum(np.trace(covariance) for covariance in covariances)
    return difference @ difference + traces - 2 * roots.sum().real


@pytest.mark.parametrize("count", [8, DEPTH - 1, DEPTH, DEPTH + 1, DEPTH + 2, 500])
@pytest.mark.parametrize("other_count", [10, 400])
def test_distance_is_the_formula(count, other_count):
    """Below, at and above as many features as dimensions, on either side."""
    x, y = sample(count), sample(other_count, seed=1)
    found = frechet_distance(gaussian(x), gaussian(y))
    assert found == pytest.approx(complex_root_distance(x, y), rel=1e-6)
    assert frechet_distance(gaussian(y), gaussian(x)) == pytest.approx(found, rel=1e-12)


def test_of_one_dimension():
    x, y = np.random.RandomState(0).standard_normal((2, 50, 1)) * [[[1]], [[3]]]
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(gaussian(x), gaussian(y)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "rank"), [(10, None), (500, None), (500, 3)])
def test_identical_sets_are_at_distance_zero(count, rank):
    x = sample(count, rank=rank)
    assert abs(frechet_distance(gaussian(x), gaussian(x[::-1]))) < 1e-12 * np.square(x).sum()


@pytest.mark.parametrize(("count", "rank"), [(10, None), (500, None), (500, 3)])
def test_equal_covariances_give_the_squared_distance_of_the_means(count, rank):
    x = sample(count, rank=rank)
    shift = np.linspace(-1, 2, DEPTH)
    distance = frechet_distance(gaussian(x), gaussian(x + shift))
    assert distance == pytest.approx(shift @ shift, rel=1e-11)


def test_rank_deficient_covariances_stay_real():
    """The real root of the product's eigenvalues, which rounding makes negative, is not a number.

    Both sets span two planes that share one direction, where their distance is known.
    """
    depth, count = 200, 300
    random = np.random.RandomState(0)
    basis = np.linalg.qr(random.standard_normal((depth, 3)))[0]
    weights = random.standard_normal((count, 2))
    weights = np.linalg.qr(weights - weights.mean(0))[0] * np.sqrt(count - 1)  # covariance 1
    x, y = weights @ (basis[:, [0, 1]] * [3, 2]).T, weights @ (basis[:, [0, 2]] * [5, 1]).T
    eigenvalues = np.linalg.eigvals(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    assert eigenvalues.real.min() < 0
    expected = 9 + 4 + 25 + 1 - 2 * 3 * 5
    assert frechet_distance(gaussian(x), gaussian(y)) == pytest.approx(expected, rel=1e-12)
    covariances = [np.cov(features, rowvar=False) + 1e-6 * np.eye(depth) for features in (x, y)]
    with_epsilon = [Gaussian.from_covariance(count, np.zeros(depth), c) for c in covariances]
    assert frechet_distance(*with_epsilon) != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("smallest", [1.0, 1e-6, 1e-13, 0.0])
def test_any_covariance_has_a_factor(smallest):
    """From full rank to four directions of none, where rounding leaves either sign.

    The distance to a multiple of itself is known: (1 - 2)^2 times its trace.
    """
    basis = np.linalg.qr(np.random.RandomState(0).standard_normal((DEPTH, DEPTH)))[0]
    eigenvalues = np.concatenate([np.geomspace(10, 0.1, DEPTH - 4), np.full(4, smallest)])
    covariance = (basis * eigenvalues) @ basis.T
    first, second = (
        Gaussian.from_covariance(99, np.zeros(DEPTH), scale * covariance) for scale in (1, 4)
    )
    np.testing.assert_allclose(first.covariance, covariance, atol=1e-11)
    if smallest != 1e-13:  # where either is right
        assert first.factor.shape[1] == (DEPTH if smallest else DEPTH - 4)
    expected = eigenvalues.sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-11)


def test_covariance_divides_by_one_less_than_the_count():
    for count in (10, 100):
        x = sample(count)
        result = gaussian(x)
        assert result.count == count
        np.testing.assert_allclose(result.mean, x.mean(0), atol=1e-14)
        np.testing.assert_allclose(result.covariance, np.cov(x, rowvar=False), atol=1e-13)


@pytest.mark.parametrize("count", [20, 137])
def test_batches_of_one_equal_one_batch(count):
    x = sample(count)
    whole = gaussian(x)
    for batch_size in (1, 7, DEPTH + 1):
        parts = gaussian(x, batch_size)
        np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-13)
        np.testing.assert_allclose(parts.covariance, whole.covariance, atol=1e-13)


def test_float32_features_far_from_zero_keep_their_covariance():
    """Sums of float32 squares would lose it: here it is a millionth of the squared mean."""
    x = (sample(300) + 1000).astype(np.float32)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(gaussian(x, 32).covariance, expected, atol=1e-9)


@pytest.mark.parametrize("counts", [(3, 5), (3, 90), (90, 3), (70, 90), (90, 0), (0, 90)])
def test_merged_streams_equal_one(counts):
    x = sample(sum(counts))
    streams = GaussianStream(), GaussianStream()
    for stream, part in zip(streams, np.split(x, [counts[0]]), strict=True):
        for row in part:
            stream.update(row[None])
    streams[0].merge(streams[1])
    merged = streams[0].gaussian()
    assert merged.count == len(x)
    np.testing.assert_allclose(merged.mean, x.mean(0), atol=1e-13)
    np.testing.assert_allclose(merged.covariance, np.cov(x, rowvar=False), atol=1e-12)


def test_a_stream_goes_on_after_it_was_read():
    x = sample(150)
    stream = GaussianStream()
    for count in (20, 100, 150):
        stream.update(x[stream.count : count])
        result = stream.gaussian()
        np.testing.assert_allclose(result.covariance, np.cov(x[:count].T), atol=1e-12)


def test_memory_does_not_grow_with_the_number_of_features():
    stream = GaussianStream()
    for batch in range(50):
        stream.update(sample(16, batch))
        assert sum(map(len, stream._waiting)) <= DEPTH
    assert stream.count == 800


@pytest.mark.parametrize(("count", "found"), [(0, "no image or clip"), (1, "1 image or clip")])
def test_fewer_than_two_images_are_refused(count, found):
    stream = GaussianStream()
    if count:
        stream.update(sample(count))
    with pytest.raises(InputError, match=f"^found {found}, expected at least 2"):
        stream.gaussian()


def test_what_is_not_finite_is_refused():
    features = sample(4)
    features[2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        GaussianStream().update(features)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"\(24,\) and \(5,\)"):
        frechet_distance(gaussian(sample(9)), gaussian(sample(9, depth=5)))
