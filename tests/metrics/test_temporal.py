import cv2
import numpy as np
import pytest

from sflow_jax.data.flow import farneback_flow
from sflow_jax.data.streets import render_clip
from sflow_jax.metrics import temporal, temporal_scores
from sflow_jax.metrics.temporal_scores import Temporal
from sflow_jax.ops.warp import consistency_mask
from tests.fast_jit import fast_jit


def shifted_pair(amplitude=0.0):
    """A texture that moves two pixels to the left, its flow and what is seen in both frames.

    The second frame is brighter by the amplitude.
    """
    texture = np.random.RandomState(0).random((1, 10, 14, 3)).astype(np.float32)
    first, second = texture[:, :, :-2], texture[:, :, 2:] + np.float32(amplitude)
    flow = np.broadcast_to(np.float32([-2, 0]), (1, 10, 12, 2))
    seen = np.ones((1, 10, 12, 1), np.float32)
    seen[:, :, :2] = 0
    return first, second, flow, seen


def test_what_moves_as_the_flow_says_is_steady():
    assert temporal.warping_error(*shifted_pair()) == 0
    assert temporal.flicker(*shifted_pair()) == 0


@pytest.mark.parametrize("amplitude", [0.05, -0.2])
def test_a_flicker_is_found_with_its_amplitude(amplitude):
    pair = shifted_pair(amplitude)
    np.testing.assert_allclose(temporal.flicker(*pair), abs(amplitude), rtol=1e-5)
    np.testing.assert_allclose(temporal.warping_error(*pair), amplitude**2, rtol=1e-4)


def test_hidden_pixels_do_not_count():
    first, second, flow, seen = shifted_pair(0.1)
    first = np.where(seen > 0, first, 5.0)
    np.testing.assert_allclose(temporal.flicker(first, second, flow, seen), 0.1, rtol=1e-5)
    assert temporal.flicker(first, second, flow, 0 * seen) == 0


def test_the_end_point_error_is_the_mean_length_of_the_difference():
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 0] = (3, 4)
    flow[0, 0, 1] = (0, 2)
    reference = np.zeros_like(flow)
    np.testing.assert_allclose(temporal.end_point_error(flow, reference), 7 / 4, rtol=1e-6)
    seen = np.zeros((1, 2, 2, 1), np.float32)
    seen[0, 0] = 1
    np.testing.assert_allclose(temporal.end_point_error(flow, reference, seen), 3.5, rtol=1e-6)


@pytest.fixture(scope="module", autouse=True)
def compiled_fast():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporal_scores, "_means", fast_jit(temporal_scores._means.__wrapped__))
        yield


@pytest.fixture(scope="module")
def examples():
    clips = [render_clip(seed, num_frames=2, height=32, width=64) for seed in (1, 2, 3)]
    return {
        "image": np.stack([clip["image"] for clip in clips]),
        "flow": np.stack([farneback_flow(*clip["image"]) for clip in clips]),
        "exact_flow": np.concatenate([clip["exact_flow"] for clip in clips]),
        "occlusion": np.concatenate([clip["occlusion"] for clip in clips]).astype(np.uint8),
    }


def noisy(examples, deviation=25):
    noise = np.random.RandomState(0).normal(0, deviation, examples["image"].shape)
    return np.clip(examples["image"] + noise, 0, 255).astype(np.uint8)


def score(pictures, examples, batches):
    scores = Temporal()
    for part in batches:
        scores.update(pictures[part], {key: values[part] for key, values in examples.items()})
    return scores.result()


def test_scores_are_the_formulas_over_the_whole_set(examples):
    pictures = noisy(examples, 4)  # so that the motion matters as much
    result = score(pictures, examples, [slice(0, 3)])
    frames = pictures.astype(np.float32) / 255
    exact, seen = examples["exact_flow"], 1.0 - examples["occlusion"]
    backward = np.stack([farneback_flow(*clip[::-1]) for clip in examples["image"]])
    visible = np.asarray(consistency_mask(examples["flow"], backward))
    fake_flow = np.stack([farneback_flow(*clip) for clip in pictures])

    def mean(difference, weight):
        return (difference * weight[..., 0]).sum() / weight.sum()

    def moved(flow):
        x, y = np.meshgrid(np.arange(64, dtype=np.float32), np.arange(32, dtype=np.float32))
        return np.stack([
            cv2.remap(
                frames[i, 1], x + flow[i, ..., 0], y + flow[i, ..., 1], cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for i in range(3)
        ])  # fmt: skip

    expected = {
        "warping_error": mean(np.square(moved(examples["flow"]) - frames[:, 0]).mean(-1), visible),
        "flicker": mean(np.abs(moved(exact) - frames[:, 0]).mean(-1), seen),
        "flow_error": np.linalg.norm(fake_flow - examples["flow"], axis=-1).mean(),
        "exact_flow_error": mean(np.linalg.norm(fake_flow - exact, axis=-1), seen),
    }
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        # OpenCV rounds positions to 1/32 pixel, and gray levels to whole ones.
        assert result[name] == pytest.approx(value, rel=0.02), name


def test_scores_do_not_depend_on_the_batches(examples):
    pictures = noisy(examples)
    whole = score(pictures, examples, [slice(0, 3)])
    parts = score(pictures, examples, [slice(0, 1), slice(1, 3)])
    assert parts == pytest.approx(whole, rel=1e-3)


def test_the_real_frames_have_the_flow_that_was_precomputed(examples):
    result = score(examples["image"], examples, [slice(0, 3)])
    assert result["flow_error"] < 1e-2
    worse = score(noisy(examples), examples, [slice(0, 3)])
    assert all(worse[name] > result[name] for name in result)


def test_without_a_simulator_there_is_no_exact_score(examples):
    known = {key: examples[key] for key in ("image", "flow")}
    assert score(examples["image"], known, [slice(0, 3)]).keys() == {"warping_error", "flow_error"}


def test_a_clip_is_scored_as_its_pairs_are(examples):
    """Its flow is not stored: it is computed, as that of OpenCV to rounding."""
    clip = {"image": np.concatenate([examples["image"], examples["image"][:, :1]], 1)}
    pictures = noisy(clip, 4)
    found = score(pictures, clip, [slice(0, 3)])
    pairs = {
        "image": np.concatenate([clip["image"][:, t : t + 2] for t in range(2)]),
        "flow": np.stack(
            [farneback_flow(*image[t : t + 2]) for t in range(2) for image in clip["image"]]
        ),
    }
    of_pairs = np.concatenate([pictures[:, t : t + 2] for t in range(2)])
    expected = score(of_pairs, pairs, [slice(0, 6)])
    assert found.keys() == expected.keys() == {"warping_error", "flow_error"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=3e-2)
