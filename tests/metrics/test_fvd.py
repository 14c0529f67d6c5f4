"""The Fréchet video distance on features that are known; I3D's own are in tests/parity."""

import numpy as np
import pytest
import scipy.linalg

from sflow_jax.errors import InputError
from sflow_jax.metrics import fvd
from sflow_jax.metrics.feature_statistics import FeatureExtractor
from sflow_jax.metrics.inception_input import InputProtocol
from sflow_jax.pretrained import i3d, weights


def corner(clips):
    """Features [B, 4] that a test can compute: values of the first and the last frame."""
    return clips[:, np.array([0, 0, -1, -1]), 0, np.array([0, 1, 0, 1]), 0].astype(np.float32) / 255


def make_extractor(batch_size=8):
    """Of `corner`; its padding repeats the last clip."""
    protocol = InputProtocol("test", lambda clips: clips, lambda clips: clips)
    return FeatureExtractor(lambda _, clips: corner(clips), {}, protocol, batch_size)


def random_clips(count, num_frames=16, seed=0, highest=256):
    shape = (count, num_frames, 3, 4, 3)
    return np.random.RandomState(seed).randint(0, highest, shape).astype(np.uint8)


def in_batches(clips, size):
    return (clips[start : start + size] for start in range(0, len(clips), size))


def test_distance_is_that_of_the_features():
    real, fake = random_clips(40), random_clips(30, seed=1, highest=200)
    first, second = (corner(clips).astype(np.float64) for clips in (real, fake))
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(first.mean(0) - second.mean(0)).sum()
    expected += np.trace(covariances[0] + covariances[1] - 2 * root)
    assert expected > 1e-2
    for size, batch_size in ((1, 8), (7, 8), (40, 16)):
        extractor = make_extractor(batch_size)
        found = fvd.fvd(in_batches(real, size), in_batches(fake, size), extractor)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_same_clips_have_no_distance():
    clips = random_clips(20)
    assert abs(fvd.fvd([clips], in_batches(clips[::-1], 3), make_extractor())) < 1e-7


@pytest.mark.parametrize("count", [20, 3])  # the features of three clips span 2 of 4 dimensions
def test_equal_covariances_give_the_squared_distance_of_the_means(count):
    clips = random_clips(count, highest=200)
    found = fvd.fvd([clips], [clips + np.uint8(51)], make_extractor())
    assert found == pytest.approx(4 * 0.2**2, rel=1e-5)


def test_clips_of_another_length_are_refused():
    batches = [random_clips(2), random_clips(2, num_frames=17)]
    with pytest.raises(InputError, match="found a clip of 17 frames, expected 16"):
        fvd.fvd(batches, [random_clips(2)], make_extractor())
    with pytest.raises(InputError, match="found a clip of 16 frames, expected 17"):
        fvd.fvd([batches[1]], [batches[0]], make_extractor(), num_frames=17)


def test_one_clip_is_too_few():
    with pytest.raises(InputError, match="found 1 "):
        fvd.fvd([random_clips(1)], [random_clips(5)], make_extractor())


def test_features_are_what_i3d_gives_for_prepared_clips(monkeypatch):
    monkeypatch.setattr(i3d, "logits", lambda weights, videos: weights * videos.mean((1, 2, 3)))
    monkeypatch.setattr(i3d, "load", lambda cache_dir: np.float32(2))
    clips = random_clips(3, num_frames=9)
    (found,) = fvd.i3d_extractor().stream([clips])
    np.testing.assert_allclose(found, 2 * fvd.prepare_clips(clips).mean((1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize(("num_frames", "starts"), [(9, [0, 9, 18]), (16, [0]), (31, [0])])
def test_clips_follow_each_other(num_frames, starts):
    frames = random_clips(1, num_frames=31)[0]
    clips = list(fvd.cut_clips(iter(frames), num_frames))
    assert len(clips) == len(starts)
    for clip, start in zip(clips, starts, strict=True):
        np.testing.assert_array_equal(clip, frames[start : start + num_frames])


def test_clips_are_cut_while_the_video_is_read():
    def endless():
        while True:
            yield np.zeros((2, 2, 3), np.uint8)

    assert next(fvd.cut_clips(endless())).shape == (16, 2, 2, 3)


@pytest.mark.parametrize("length", [0, 15])
def test_videos_shorter_than_a_clip_give_none(length):
    assert not list(fvd.cut_clips(random_clips(1)[0, :length]))


def test_clips_too_short_for_i3d_are_refused():
    with pytest.raises(InputError, match="found clips of 8 frames, expected at least 9"):
        next(fvd.cut_clips(random_clips(1)[0], num_frames=8))


def test_example_of_the_original_program():
    """Black against white, 15 frames: about 131, says frechet_video_distance/example.py.

    It takes 16 clips of each; they are all alike, so two give the same.
    """
    if not (weights.cache_directory() / "i3d.safetensors").is_file():
        pytest.skip("no weights: python -m sflow_jax.pretrained.weights get i3d")
    black = np.zeros((2, 15, 64, 64, 3), np.uint8)
    found = fvd.fvd([black], [black + 255], fvd.i3d_extractor(), num_frames=15)
    assert found == pytest.approx(131, abs=1)
