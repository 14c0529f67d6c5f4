import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics import precision_recall as module
from sflow_jax.metrics.precision_recall import PrecisionRecall, precision_recall


def sample(count, seed, depth=8, scale=1.0):
    values = np.random.RandomState(seed).standard_normal((count, depth))
    return (values * scale).astype(np.float32)


def by_definition(real, fake, neighbors):
    """Image by image, with the square roots."""

    def radii(features):
        return [np.sort(np.linalg.norm(features - x, axis=1))[neighbors] for x in features]

    def share_inside(features, centers):
        balls = list(zip(centers, radii(centers), strict=True))
        inside = [any(np.linalg.norm(x - c) <= r for c, r in balls) for x in features]
        return np.mean(inside)

    real, fake = real.astype(np.float64), fake.astype(np.float64)
    return PrecisionRecall(share_inside(fake, real), share_inside(real, fake))


@pytest.mark.parametrize("neighbors", [1, 3])
def test_shares_are_the_definition(neighbors):
    real, fake = sample(60, 0), sample(50, 1, scale=0.8)
    expected = by_definition(real, fake, neighbors)
    assert 0.1 < expected.precision < 0.95
    assert 0.1 < expected.recall < 0.95
    assert precision_recall(real, fake, neighbors) == expected


def test_blocks_change_nothing(monkeypatch):
    real, fake = sample(60, 0), sample(50, 1)
    whole = precision_recall(real, fake)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 7 * 50)
    assert precision_recall(real, fake) == whole
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 1)
    assert precision_recall(real, fake) == whole


def test_blocks_bound_the_memory(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 100)
    blocks = module._distance_blocks(sample(60, 0), sample(50, 1))
    assert max(distances.size for _, distances in blocks) <= 100


def test_identical_sets_are_inside_each_other():
    features = sample(100, 0) + 1000  # rounding is large beside the distances of equal images
    assert precision_recall(features, features[::-1]) == PrecisionRecall(1, 1)


def test_duplicates_have_balls_of_radius_zero_that_contain_them():
    features = np.repeat(sample(30, 0, depth=333) + 20, 4, axis=0)
    assert precision_recall(features, features[::-1]) == PrecisionRecall(1, 1)
    assert precision_recall(features, features + 0.01) == PrecisionRecall(0, 0)


def test_distant_sets_share_nothing():
    assert precision_recall(sample(30, 0), sample(30, 1) + 100) == PrecisionRecall(0, 0)


def test_a_part_of_the_real_images_is_precise_but_misses_the_rest():
    real = np.concatenate([sample(50, 0), sample(150, 1) + 50])
    shares = precision_recall(real, real[:50])
    assert shares == PrecisionRecall(1, 0.25)


@pytest.mark.parametrize(("counts", "kind"), [((3, 30), "3 real"), ((30, 2), "2 generated")])
def test_too_few_images_are_refused(counts, kind):
    with pytest.raises(InputError, match=f"found {kind} images, expected over 3"):
        precision_recall(sample(counts[0], 0), sample(counts[1], 1))
