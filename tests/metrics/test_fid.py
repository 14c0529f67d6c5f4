import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics import fid
from sflow_jax.metrics.feature_statistics import collect
from sflow_jax.metrics.inception_input import PROTOCOLS


def statistics(count, seed, kept=10_000, shift=0.0, batch_size=100):
    features = np.random.RandomState(seed).standard_normal((count, 6)) + shift
    return collect(np.split(features, range(batch_size, count, batch_size)), kept)


def test_missing_weights_are_named_with_their_command(tmp_path):
    command = f"python -m sflow_jax.pretrained.weights get inception_v3 --cache_dir {tmp_path}"
    with pytest.raises(InputError, match=f"the weights of inception_v3 .*: {command}$"):
        fid.inception_extractor(cache_dir=tmp_path)


def test_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="found 'tf', expected one of pytorch-fid, torch-fid"):
        fid.inception_extractor("tf")


def test_numbers_of_different_protocols_never_share_a_name():
    real, fake = statistics(20, 0), statistics(30, 1)
    names = [set(fid.scores(real, fake, protocol)) for protocol in PROTOCOLS]
    assert names[0] == {"fid", "kid", "kid_std", "precision", "recall"}
    assert len(set.union(*names)) == 5 * len(PROTOCOLS)


def test_same_images_score_perfectly():
    real = statistics(50, 0)
    scores = fid.scores(real, real)
    assert scores["fid"] == pytest.approx(0, abs=1e-12)
    assert "kid_std" not in scores  # all subsets would be the same
    assert scores["kid"] <= 0  # unbiased: an image is not compared with itself within a set only
    assert (scores["precision"], scores["recall"]) == (1, 1)


@pytest.mark.parametrize("count", [50, 5])  # 5 features span 4 of 6 dimensions
def test_only_fid_without_kept_features(count):
    """Of equal covariances, whose distance is that of the means."""
    real, fake = statistics(count, 0, kept=0), statistics(count, 0, kept=0, shift=1.0)
    assert fid.scores(real, fake) == {"fid": pytest.approx(6, rel=1e-12)}


def test_batches_of_one_equal_one_batch():
    fake = statistics(40, 1)
    whole, parts = (fid.scores(statistics(50, 0, batch_size=n), fake) for n in (50, 1))
    assert parts == pytest.approx(whole, rel=1e-12)
