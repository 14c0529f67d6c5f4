"""Scores by networks through the evaluation of a run, with random weights in the true format."""

import dataclasses
import functools
import json
import types

import flax.traverse_util
import jax
import numpy as np
import pytest

from configs import streets
from sflow_jax import variables
from sflow_jax.data.labels import CITYSCAPES
from sflow_jax.errors import InputError
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation import segmenters
from sflow_jax.evaluation.evaluation import Choice, score, set_up_evaluation
from sflow_jax.evaluation.report import describe_evaluation
from sflow_jax.evaluation.rows import ORACLE
from sflow_jax.metrics import fid, inception_input
from sflow_jax.metrics.feature_statistics import FeatureExtractor, collect
from sflow_jax.metrics.score_table import format_table
from sflow_jax.ops.pixels import to_float
from sflow_jax.pretrained import inception_v3, semseg, weights
from sflow_jax.segmentation import trained
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.sliding_window import SlidingWindow, label_image
from sflow_jax.segmentation.unet import UNet
from tests.fast_jit import fast_jit
from tests.metrics.test_frechet import complex_root_distance
from tests.random_weights import random_params, zeros
from tests.test_evaluate import dataset_config
from tests.tiny_run import TABLE, restore_fast, write_run

NUM_IMAGES = 4
MODEL_ROW = "DNED edges"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_run(folder / "run", dataset_config(folder))
    return folder / "run"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder; networks of the run that compile fast."""
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(evaluation_lib, "restore_model", restore_fast)
    return tmp_path / "cache"


def write_random(path, shapes):
    structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
    params = random_params(flax.traverse_util.unflatten_dict(structs, sep="/"))
    variables.write_variables(path, params, {}, np.float32)


def write_pspnet(folder, num_classes=TABLE.num_eval_classes):
    network = PSPNet(num_classes, (1, 1, 1, 1), 4)
    write_random(folder / "own.safetensors", trained.pspnet_shapes(network))
    settings = {"num_classes": num_classes, "layers": 50, "width": 4, "crop": 41}
    (folder / "own.json").write_text(json.dumps({"settings": settings}))
    return folder / "own.safetensors"


def test_fid_is_that_of_all_pictures_of_each_row(workdir, cache, monkeypatch):
    monkeypatch.setattr(inception_input, "INPUT_SIDE", 75)  # the smallest; the true one takes long
    write_random(cache / "inception_v3.safetensors", inception_v3.conversion().shapes)
    choice = Choice(["fid"], "torch-fidelity")
    evaluation = set_up_evaluation(workdir, choice=choice, limit=NUM_IMAGES)
    rows = {name: evaluation.rows[name] for name in (ORACLE, MODEL_ROW)}
    evaluation = dataclasses.replace(evaluation, rows=rows)
    _, results = score(evaluation, NUM_IMAGES)
    examples = [evaluation.dataset.source("test")[index] for index in range(NUM_IMAGES)]
    batch = {key: np.stack([e[key] for e in examples]) for key in ("image", "cg", "label")}
    batch["name"] = [example["name"] for example in examples]
    extractor = evaluation.distances[0].extractor
    drawn = {name: draw(batch)[:, 0] for name, draw in evaluation.rows.items()}
    real, fake = (collect(extractor.stream([images]), 100) for images in drawn.values())
    expected = fid.scores(real, fake, "torch-fidelity")
    for name, number in expected.items():
        assert results[MODEL_ROW][name] == pytest.approx(number, rel=1e-4, abs=1e-6)
    assert results[MODEL_ROW]["fid_torch_fidelity"] > 1e-2
    assert results[ORACLE]["fid_torch_fidelity"] == pytest.approx(0, abs=1e-6)
    assert "FID torch fidelity" in format_table(results)
    assert not any(
        line.startswith("No FID") for line in describe_evaluation(evaluation, NUM_IMAGES)
    )

    # Again, the real images are not even looked at.
    monkeypatch.setattr(FeatureExtractor, "_start", lambda *_: pytest.fail("it was computed"))
    evaluation = dataclasses.replace(evaluation, rows={ORACLE: rows[ORACLE]})
    _, again = score(evaluation, NUM_IMAGES)
    assert again[ORACLE] == pytest.approx(results[ORACLE], abs=1e-9)
    with pytest.raises(pytest.fail.Exception):  # other images
        score(evaluation, NUM_IMAGES - 1)


def test_one_image_has_no_distance(workdir, cache):
    cache.mkdir()
    (cache / "inception_v3.safetensors").write_bytes(b"")  # not even read
    evaluation = set_up_evaluation(workdir, limit=1)
    assert not evaluation.distances
    assert "No Fréchet distances: they need 2 images." in evaluation.missing


def test_a_segmenter_of_ones_own_scores(workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(BLOCKS, 50, (1, 1, 1, 1))
    path = write_pspnet(tmp_path)
    choice = Choice(["segmentation"], segmenter=str(path))
    evaluation = set_up_evaluation(workdir, choice=choice, limit=2)
    _, results = score(evaluation, 2)
    network, network_variables, crop = trained.read_segmenter(path, TABLE.num_eval_classes)
    settings = SlidingWindow(base_size=40, crop=crop)
    predict = evaluation.segmenter.predict
    image = evaluation.dataset.source("test")[0]["image"]
    logits = jax.jit(lambda windows: network.apply(network_variables, windows))
    seen = label_image(logits, image[0], settings)
    np.testing.assert_array_equal(predict(image)[0], seen)
    assert 0 <= results[ORACLE]["mean_iou"] <= 1
    assert f"by PSPNet in {path}" in "\n".join(describe_evaluation(evaluation, 2))
    assert not any(line.startswith("No mIoU") for line in evaluation.missing)


def test_a_small_network_of_ones_own_scores(workdir, tmp_path):
    path, network = tmp_path / "small.safetensors", UNet(TABLE.num_eval_classes)
    structure = zeros(network.init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    trained.write_segmenter(path, random_params(structure), {"num_steps": 3}, {}, [])
    choice = Choice(["segmentation"], segmenter=str(path))
    evaluation = set_up_evaluation(workdir, choice=choice, limit=2)
    image = evaluation.dataset.source("test")[0]["image"]
    _, network_variables, _ = trained.read_segmenter(path, TABLE.num_eval_classes)
    expected = network.apply(network_variables, to_float(image)).argmax(-1)
    np.testing.assert_array_equal(evaluation.segmenter.predict(image), expected)
    assert f"by the small network in {path}" in "\n".join(describe_evaluation(evaluation, 2))
    with pytest.raises(InputError, match="--multi_scale: found the small network in "):
        set_up_evaluation(workdir, choice=dataclasses.replace(choice, multi_scale=True))


def test_published_weights_score_by_the_test_protocol(cache, monkeypatch):
    write_random(cache / "pspnet50_cityscapes.safetensors", semseg.conversion(50).shapes)
    scales = 0.75, 1.0
    settings = SlidingWindow(base_size=48, crop=41, scales=scales)  # the true one takes minutes
    small = functools.partial(SlidingWindow, base_size=48, crop=41)
    monkeypatch.setattr(segmenters, "SlidingWindow", small)
    segmenter = segmenters.load_published("pspnet50", CITYSCAPES, scales)
    assert segmenter.title.endswith("test protocol at the scales 0.75, 1.0")
    image = np.random.RandomState(0).randint(0, 256, (1, 32, 40, 3)).astype(np.uint8)
    network = PSPNet()
    logits = fast_jit(lambda windows: network.apply(semseg.load(50), windows))
    expected = label_image(logits, image[0], settings)
    found = segmenter.predict(image)[0]
    assert found.shape == (32, 40)
    assert len(np.unique(found)) > 1
    assert (found == expected).mean() > 0.99  # compiled otherwise, ties may break otherwise


def test_the_small_segmenter_knows_one_scale():
    model = types.SimpleNamespace(class_table=CITYSCAPES, config=streets.get_config())
    with pytest.raises(InputError, match="--multi_scale: found the segmenter shipped for streets"):
        evaluation_lib.load_segmenter(model, Choice(multi_scale=True))


def test_a_segmenter_of_other_classes_is_refused(workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(BLOCKS, 50, (1, 1, 1, 1))
    path = write_pspnet(tmp_path, num_classes=5)
    with pytest.raises(
        InputError, match=r"own\.safetensors: found 5 classes, expected the dataset.s 3"
    ):
        set_up_evaluation(workdir, choice=Choice(segmenter=str(path)))
    with pytest.raises(InputError, match="found pspnet50, which knows Cityscapes' classes"):
        set_up_evaluation(workdir, choice=Choice(segmenter="pspnet50"))


@pytest.mark.parametrize(
    ("choice", "dataset", "message"),
    [
        (Choice(["fid"]), "folder", "No FID.* get them with: .* get inception_v3$"),
        (Choice(["fvd"]), "folder", "--metrics: found 'fvd', expected names among fid, "),
        (Choice(["frechet_streets"]), "folder", "'frechet_streets', which is for streets"),
        (Choice(["segmentation"]), "folder", "No mIoU: there is no segmenter for 'folder' data"),
        (Choice(["segmentation"]), "cityscapes", "convert pspnet50_cityscapes --from FILE$"),
        (Choice(["fid"], segmenter="pspnet50"), "cityscapes", "expected 'segmentation' among"),
    ],
)
def test_what_was_asked_for_and_cannot_be_computed_is_an_error(choice, dataset, message):
    with pytest.raises(InputError, match=message):
        choice.check(dataset)


def test_streets_has_its_own_distance_and_segmenter():
    choice = Choice()
    assert [line.partition(":")[0] for line in choice.missing("streets")] == [
        "No FID, KID, precision and recall"
    ]


@pytest.fixture(scope="module")
def streets_distance():
    return evaluation_lib.distances.load_frechet_streets(8)


def test_frechet_streets_is_the_frechet_distance_of_the_features(streets_distance):
    """Of five images with 96 features each: covariances of rank 4."""
    noise = np.random.RandomState(0).randint(0, 256, (5, 32, 32, 3)).astype(np.uint8)

    def statistics(images, batch_size=5):
        batches = np.split(images, range(batch_size, len(images), batch_size))
        return collect(streets_distance.extractor.stream(batches), kept=5)

    def distance(*sets):
        return streets_distance.compare(*sets)["frechet_streets"]

    real, fake = statistics(noise), statistics(noise // 4)
    expected = complex_root_distance(*(np.float64(x.features) for x in (real, fake)))
    assert expected > 1e-2
    assert distance(real, fake) == pytest.approx(expected, rel=1e-5)
    assert distance(statistics(noise, 1), fake) == pytest.approx(expected, rel=1e-5)
    assert distance(real, statistics(noise[::-1])) == pytest.approx(0, abs=1e-9)
    shift = np.linspace(-1, 1, real.features.shape[1])
    moved = collect([real.features + shift])
    assert distance(real, moved) == pytest.approx(shift @ shift, rel=1e-5)


def test_features_of_streets_are_not_computed_in_a_coarser_type(streets_distance):
    """GPU and TPU would do so by default; no CPU shows the difference."""
    extractor = streets_distance.extractor
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    lines = extractor._network.lower(extractor._variables, images).as_text().splitlines()
    products = [line for line in lines if "stablehlo.convolution" in line]
    assert len(products) == 9  # up to the first of the coarsest stage
    assert all(line.count("HIGHEST") == 2 for line in products)
