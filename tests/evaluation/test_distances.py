import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.evaluation.distances import Distance, DistanceScore, create_real_score
from sflow_jax.metrics.feature_statistics import FeatureExtractor
from sflow_jax.metrics.frechet import frechet_distance
from sflow_jax.metrics.inception_input import InputProtocol
from sflow_jax.pretrained import weights

PICTURES = {"files": "0a", "split": "test", "limit": "None"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_distance(scale=1, protocol="test", kept=0):
    """On the mean colors of pictures."""
    extractor = FeatureExtractor(
        lambda scale, images: scale * images.mean((1, 2)),
        np.float32(scale),
        InputProtocol("test", lambda images: images, lambda images: images.astype(jnp.float32)),
        8,
    )

    def compare(real, row):
        return {"distance": frechet_distance(real.gaussian, row.gaussian)}

    return Distance(extractor, compare, kept, protocol)


def pictures(seed):
    return np.random.RandomState(seed).randint(0, 256, (11, 1, 4, 6, 3)).astype(np.uint8)


def score(distance, real_seed, pictures_key=PICTURES):
    """The distance of a row to real pictures of a seed, if those are looked at."""
    real = create_real_score(distance, pictures_key)
    row = DistanceScore(distance, real)
    for start in range(0, 11, 4):
        real.update(pictures(real_seed)[start : start + 4], {})
        row.update(pictures(9)[start : start + 4], {})
    return row.result()["distance"]


def test_statistics_of_the_real_pictures_are_used_again():
    first = score(make_distance(), 0)
    assert first > 0
    assert score(make_distance(), 1) == pytest.approx(first)  # as of seed 0
    assert score(make_distance(protocol=None), 1) != pytest.approx(first)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, {"files": "0b"}),
        ({}, {"split": "validation"}),
        ({}, {"limit": "5"}),
        ({"scale": 1.001}, {}),
        ({"protocol": "other"}, {}),
        ({"kept": 4}, {}),
    ],
)
def test_what_they_depend_on_is_their_key(changes, key):
    score(make_distance(), 0)
    found = score(make_distance(**changes), 1, PICTURES | key)
    assert found == pytest.approx(score(make_distance(**(changes | {"protocol": None})), 1))


def test_without_a_protocol_nothing_is_kept(cache):
    first, second = (score(make_distance(protocol=None), seed) for seed in (0, 1))
    assert second != pytest.approx(first)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_no_scores(cache, capsys):
    cache.write_bytes(b"")
    assert score(make_distance(), 0) == pytest.approx(score(make_distance(protocol=None), 0))
    error = capsys.readouterr().err
    assert error.startswith("note: statistics of the real images are not kept: ")
    assert len(error.splitlines()) == 1
