import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from sflow_jax.data.streets.simulator import render_clip
from sflow_jax.errors import InputError
from sflow_jax.pretrained import streets_segmenter
from sflow_jax.segmentation.scores import confusion_matrix, score_matrix

FIRST_SEED = 10**9  # far behind the streets of every split
NUM_FRAMES = 10


@pytest.fixture(scope="module")
def frames():
    """Images in [-1, 1] and label maps of streets that no training has seen, at 128x64."""
    clips = [
        render_clip(FIRST_SEED + i, num_frames=1, height=64, width=128) for i in range(NUM_FRAMES)
    ]
    images = np.concatenate([clip["image"] for clip in clips])
    label_maps = np.concatenate([clip["label"] for clip in clips])[..., 0]
    return images.astype(np.float32) / 127.5 - 1, label_maps


@pytest.fixture(scope="module", params=streets_segmenter.ROLES)
def shipped(request):
    return streets_segmenter.load(request.param)


def score(shipped, images, label_maps):
    predicted = streets_segmenter.predict(shipped, images)
    return score_matrix(confusion_matrix(label_maps, predicted, 19))


def test_shipped_networks_understand_unseen_streets(shipped, frames):
    result = score(shipped, *frames)
    assert result.pixel_accuracy > 0.88
    assert result.mean_iou > 0.4


def test_exposure_and_noise_hardly_change_the_score(shipped, frames):
    images, label_maps = frames
    noise = np.random.RandomState(0).normal(0, 0.02, images.shape)
    darker = np.clip((images + 1) * 0.85 - 1 + noise, -1, 1).astype(np.float32)
    loss = score(shipped, *frames).mean_iou - score(shipped, darker, label_maps).mean_iou
    assert abs(loss) < 0.08


def test_label_maps_without_an_image_score_far_below(shipped, frames):
    images, label_maps = frames
    gray = np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)
    assert score(shipped, gray, label_maps).mean_iou < 0.15


def test_features_see_what_changes_in_the_image(frames):
    variables = streets_segmenter.load("features")
    images = jnp.asarray(frames[0][:2])
    slices = streets_segmenter.features(variables, images)
    height, width = images.shape[1:3]
    assert [s.shape[1:] for s in slices] == [
        (height >> k, width >> k, channels) for k, channels in enumerate((16, 32, 64, 96, 96))
    ]
    changed = images.at[1, :, width // 2 :].set(images[0, :, : width // 2])
    for k, (a, b) in enumerate(
        zip(slices, streets_segmenter.features(variables, changed), strict=True)
    ):
        assert a.std() > 1e-2
        np.testing.assert_array_equal(a[0], b[0])
        assert jnp.abs(a - b)[1, :, (width >> k) * 3 // 4 :].mean() > 1e-2


def test_both_are_float16_and_together_below_two_megabytes():
    folder = streets_segmenter.FOLDER
    files = [folder / f"streets_{role}.safetensors" for role in streets_segmenter.ROLES]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    for file in files:
        assert {x.dtype for x in safetensors.numpy.load_file(file).values()} == {
            np.dtype(np.float16)
        }


def test_the_evaluator_shares_no_kernel_with_the_features():
    first, second = (
        np.concatenate(
            [x.ravel() for x in jax.tree.leaves(streets_segmenter.load(role)) if x.ndim > 1]
        )
        for role in streets_segmenter.ROLES
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_labels_are_not_computed_in_a_coarser_type():
    """GPU and TPU would do so by default; no CPU shows the difference."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    predict = jax.jit(streets_segmenter.predict)
    lowered = predict.lower(streets_segmenter.load("evaluator"), images)
    lines = lowered.as_text().splitlines()
    products = [x for x in lines if "stablehlo.convolution" in x or "dot_general" in x]
    assert len(products) == 10 + 3 * 4 + 1  # encoder, decoder, classifier
    assert all(line.count("HIGHEST") == 2 for line in products)


def test_missing_weights_name_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(streets_segmenter, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"streets_evaluator\.safetensors: "):
        streets_segmenter.load("evaluator")


def test_unknown_role_is_refused():
    with pytest.raises(ValueError, match="'judge'"):
        streets_segmenter.load("judge")
