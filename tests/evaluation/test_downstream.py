import json
import re

import jax
import numpy as np
import pytest

from sflow_jax.data.labels import VOID, ClassTable, LabelClass
from sflow_jax.data.outlines import fill_gaps
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError
from sflow_jax.evaluation import downstream as downstream_lib
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation.downstream import Downstream, gap_closed, train_and_score
from sflow_jax.evaluation.downstream_report import draw_scenes, format_downstream, write_results
from sflow_jax.evaluation.evaluation import Choice, set_up_evaluation
from sflow_jax.evaluation.scenes import open_scenes, own_scenes
from sflow_jax.prepare import prepare
from sflow_jax.segmentation.labeling import predict_with_unet
from sflow_jax.segmentation.unet import UNet
from tests.as_bytes import to_uint8
from tests.fast_jit import fast_jit
from tests.test_evaluate import NUM_TEST, dataset_config
from tests.tiny_run import TABLE, random_frame, restore_fast, tiny_config, write_frame, write_run

SETS = [
    "source-only",
    "translated",
    "translated, filtered",
    "translated + source",
    "translated + real",
    "oracle (real frames)",
]


def set_up_run(folder, **options):
    write_run(folder / "run", dataset_config(folder, **options))
    model = restore_fast(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_lib, "restore_model", lambda *_: model)
        return set_up_evaluation(folder / "run", choice=Choice(metrics=()))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return set_up_run(tmp_path_factory.mktemp("downstream"))


@pytest.fixture
def trainings(monkeypatch):
    """Replaces the training by one that only keeps what it was given; scores count the calls."""
    calls = []

    def fit(iterators, table, weights, settings, progress):
        batch = [next(iterators[0]) for _ in range(settings["num_steps"])]
        calls.append(
            (
                settings["frames"],
                settings["seed"],
                weights,
                *map(np.concatenate, zip(*batch, strict=True)),
            )
        )
        return len(calls), lambda call: lambda pictures: np.full(pictures.shape[:3], call % 3)

    def score(evaluation, predict):
        keys = ("mean_iou", "pixel_accuracy", "pixel_accuracy_with_void")
        return dict.fromkeys(keys, len(calls) / 100) | {"class_iou": {"road": 0.5, "sky": None}}

    monkeypatch.setattr(downstream_lib, "fit_network", fit)
    monkeypatch.setattr(downstream_lib, "_score", score)
    monkeypatch.setattr(downstream_lib, "_PIXELS_PER_BATCH", 1)  # a frame per step
    return calls


def compare(evaluation, output, num_steps=1, num_seeds=1, scenes=None, networks=("unet",)):
    scenes = scenes or own_scenes(evaluation.dataset)
    return Downstream(evaluation, scenes, output, num_steps, num_seeds, networks)


def test_every_set_is_trained_on_its_own_frames_with_the_same_labels(
    evaluation, trainings, tmp_path
):
    record = train_and_score(compare(evaluation, tmp_path, num_steps=4, num_seeds=2))
    examples = list(evaluation.dataset.source("train"))
    translate = evaluation.model.translate
    batch = [np.concatenate([example[key] for example in examples]) for key in ("label", "cg")]
    frames = {
        "real": [example["image"][0] for example in examples],
        "source": [example["cg"][0] for example in examples],
        "translated": list(to_uint8(translate(*batch)["image"])),
    }
    true_ids = [TABLE.eval_lookup[example["label"][0, ..., 0]] for example in examples]
    assert list(record["scores"]["unet"]) == SETS
    assert [(name, seed) for name, seed, *_ in trainings] == [
        (name, seed) for name in [SETS[-1], *SETS[:-1]] for seed in (0, 1)
    ]
    for name, _, _, images, labels in trainings:
        expected = [
            (picture, ids)
            for key, pictures in frames.items()
            if key in name
            for picture, ids in zip(pictures, true_ids, strict=True)
        ]
        seen = set()
        for image, label in zip(images, labels, strict=True):
            [found] = [i for i, (one, _) in enumerate(expected) if np.array_equal(image, one)]
            seen.add(found)
            ids = expected[found][1]
            # The segmenter of real frames finds class 1 everywhere: the filter leaves nothing else.
            kept = ids == 1 if "filtered" in name else ids != VOID
            np.testing.assert_array_equal(TABLE.eval_lookup[label], np.where(kept, ids, VOID))
        assert seen == set(range(len(expected)))


def test_an_interrupted_comparison_goes_on_with_the_next_training(
    evaluation, trainings, tmp_path, monkeypatch
):
    comparison = compare(evaluation, tmp_path, num_seeds=2)
    score = downstream_lib._score
    monkeypatch.setattr(
        downstream_lib, "_score", lambda *a: 1 / 0 if len(trainings) == 4 else score(*a)
    )
    with pytest.raises(ZeroDivisionError):
        train_and_score(comparison)
    monkeypatch.setattr(downstream_lib, "_score", score)
    record = train_and_score(compare(evaluation, tmp_path, num_seeds=2))
    assert len(trainings) == 13  # the fourth once more
    scores = record["scores"]["unet"]
    found = [result["mean_iou"] for name in [SETS[-1], *SETS[:-1]] for result in scores[name]]
    assert found == [call / 100 for call in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13)]

    text = write_results(comparison, record)
    assert re.search(r"\ntranslated +6.5 \(6.0 to 7.0\)", text)
    assert (tmp_path / "downstream.txt").read_text() == text
    assert json.loads((tmp_path / "downstream.json").read_text())["scores"] == record["scores"]
    assert (tmp_path / "downstream.png").exists()
    assert not list(tmp_path.rglob("translations*"))  # they can be large

    extended = train_and_score(compare(evaluation, tmp_path, num_seeds=3))["scores"]["unet"]
    assert {name: results[:2] for name, results in extended.items()} == scores
    assert len(trainings) == 13 + len(SETS)

    with pytest.raises(InputError, match="scores of another comparison"):
        train_and_score(compare(evaluation, tmp_path, num_steps=2, num_seeds=2))


SIMULATOR = ClassTable(
    "simulator",
    (
        LabelClass(0, "lane", (0, 0, 0), 0),
        LabelClass(2, "sky", (9, 9, 9), 1),
        LabelClass(3, "truck", (5, 5, 5), 2),
        LabelClass(5, "cloud", (7, 7, 7), None),
    ),
)


def simulator_scenes(folder, width=40) -> PreparedDataset:
    for seed in (7, 8):
        write_frame(folder / "raw/train/a", f"{seed}", random_frame(seed))
    (folder / "raw/classes.json").write_text(SIMULATOR.to_json())
    data = {"dataset": "folder", "source": str(folder / "raw"), "data_dir": str(folder / "data")}
    data |= {"height": 32, "width": width}
    return prepare(tiny_config(**{f"data.{key}": value for key, value in data.items()}).data)


def test_scenes_of_a_simulator_are_translated_in_the_classes_of_the_model(
    evaluation, trainings, tmp_path
):
    simulator = simulator_scenes(tmp_path)
    class_map = tmp_path / "map.json"
    class_map.write_text('{"lane": "road", "truck": "car"}')
    scenes = open_scenes(simulator.directory, class_map, evaluation.dataset)
    assert scenes.class_names == {"lane": "road", "sky": "sky", "truck": "car", "cloud": "void"}
    record = train_and_score(compare(evaluation, tmp_path / "out", num_steps=4, scenes=scenes))
    assert record["num_scenes"] == 2

    ids = np.zeros(256, np.uint8)
    ids[[0, 2, 3, 5]] = [2, 5, 3, 0]
    examples = [simulator.source("train")[index] for index in range(2)]
    labels = [ids[example["label"]] for example in examples]
    by_set = {name: (weights, *pairs) for name, _, weights, *pairs in trainings}
    translated = [
        to_uint8(evaluation.model.translate(label, example["cg"])["image"])[0]
        for label, example in zip(labels, examples, strict=True)
    ]
    for name, pictures in (
        ("source-only", [example["cg"][0] for example in examples]),
        ("translated", translated),
    ):
        weights, images, label_maps = by_set[name]
        expected = downstream_lib.class_weights(TABLE, [{"label": label} for label in labels])
        np.testing.assert_array_equal(weights, expected)
        for image, label_map in zip(images, label_maps, strict=True):
            which = next(k for k in (0, 1) if np.array_equal(image, pictures[k]))
            np.testing.assert_array_equal(label_map, labels[which][0, ..., 0])


@pytest.mark.parametrize(
    ("class_map", "width", "message"),
    [
        ('{"lane": "street"}', 40, "map.json: found street, expected classes of 'toy': void"),
        ('{"street": "road"}', 40, "map.json: found street, expected classes of 'simulator': lane"),
        ('{"lane": 3}', 40, 'map.json: found {"lane": 3}, expected a class map such as'),
        ('{"lane": {"class": "road"}}', 40, "expected a class map such as"),
        (
            '{"lane": {"class": "road", "outlined_over": ["cloud"]}}',
            40,
            "map.json: found cloud, expected classes of 'toy': void",
        ),
        ("{}", 48, "found scenes of 48x32, expected the 40x32 of"),
    ],
)
def test_scenes_that_cannot_be_translated_are_refused(
    evaluation, tmp_path, class_map, width, message
):
    simulator = simulator_scenes(tmp_path, width)
    (tmp_path / "map.json").write_text(class_map)
    with pytest.raises(InputError, match=re.escape(message)):
        open_scenes(simulator.directory, tmp_path / "map.json", evaluation.dataset)


def test_classes_are_drawn_by_their_outlines_where_the_map_says_so(evaluation, tmp_path):
    simulator = simulator_scenes(tmp_path)
    class_map = tmp_path / "map.json"
    outlined = {"class": "road", "outlined_over": ["sky", "car"]}
    class_map.write_text(json.dumps({"lane": outlined, "truck": "car"}))
    scenes = open_scenes(simulator.directory, class_map, evaluation.dataset)
    assert scenes.class_names["lane"] == "outlines of road"
    behind = np.zeros(256, bool)
    behind[[5, 3]] = True
    ids = np.zeros(256, np.uint8)
    ids[[0, 2, 3, 5]] = [2, 5, 3, 0]
    for index in range(2):
        label = ids[simulator.source("train")[index]["label"]]
        found = scenes.source[index]["label"]
        expected = fill_gaps(label[0, ..., 0], 2, behind)
        np.testing.assert_array_equal(found[0, ..., 0], expected)
        assert found.shape == label.shape
        assert np.any(found != label)


def test_the_picture_shows_scenes_beside_real_frames(evaluation, tmp_path):
    comparison = compare(evaluation, tmp_path)
    comparison.folder.mkdir(parents=True)
    example = evaluation.dataset.source("train")[0]
    picture = draw_scenes(comparison)
    shown = (
        TABLE.colorize(example["label"][0, ..., 0]),
        example["cg"][0],
        comparison.translated[0]["image"][0],
        example["image"][0],
    )
    for column, expected in enumerate(shown):
        left = column * 42
        np.testing.assert_array_equal(picture[16:48, left : left + 40], expected)


def test_the_scores_are_of_real_frames_of_the_scoring_split(evaluation):
    source = evaluation.dataset.source("test")
    pictures = np.concatenate([source[index]["image"] for index in range(NUM_TEST)])
    true_ids = np.concatenate([source[index]["label"][..., 0] for index in range(NUM_TEST)])
    network = UNet(TABLE.num_eval_classes)
    variables = fast_jit(network.init)(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    scores = downstream_lib._score(evaluation, predict_with_unet(network, variables))
    predicted = fast_jit(network.apply)(variables, pictures / np.float32(127.5) - 1).argmax(-1)
    true_ids = TABLE.eval_lookup[true_ids]
    accuracy = (predicted == true_ids)[true_ids != VOID].mean()
    assert scores["pixel_accuracy"] == pytest.approx(float(accuracy), abs=2e-3)


def test_without_cg_frames_there_is_no_source(trainings, tmp_path):
    evaluation = set_up_run(tmp_path, with_cg=False)
    record = train_and_score(compare(evaluation, tmp_path / "out"))
    assert list(record["scores"]["unet"]) == [SETS[1], SETS[2], *SETS[4:]]
    comparison = compare(evaluation, tmp_path / "out")
    text = write_results(comparison, record)
    assert "This dataset has no CG frames." in text
    assert "gap closed" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "train"}, "expected frames no training sees"),
        ({"networks": ("vgg",)}, "--networks: found 'vgg', expected names among unet, pspnet"),
    ],
)
def test_what_cannot_be_compared_is_refused(evaluation, tmp_path, changes, message):
    networks = changes.pop("networks", ("unet",))
    changed = downstream_lib.dataclasses.replace(evaluation, **changes)
    with pytest.raises(InputError, match=message):
        train_and_score(compare(changed, tmp_path, networks=networks))


def test_the_table_shows_means_and_ranges_the_gap_and_the_classes():
    def results(*values):
        rest = {"pixel_accuracy": 0.5, "pixel_accuracy_with_void": 0.25}
        return [{"mean_iou": v, "class_iou": {"road": v, "sky": None}} | rest for v in values]

    scores = {
        "source-only": results(0.1, 0.2),
        "translated": results(0.15, 0.4),
        "oracle (real frames)": results(0.3, 0.6),
    }
    assert gap_closed(scores) == pytest.approx([0.25, 0.5])
    assert gap_closed({**scores, "mixed": scores["oracle (real frames)"]}, "mixed") == [1, 1]
    record = {"scores": {"unet": scores}, "gap_closed": {"unet": gap_closed(scores)}}
    lines = format_downstream(record).splitlines()
    ranges = ["15.0 (10.0 to 20.0)", "50.0 (50.0 to 50.0)", "25.0 (25.0 to 25.0)"]
    assert [cell.strip() for cell in lines[2].split("  ") if cell] == ["source-only", *ranges]
    assert "gap closed by translation: 38 (25 to 50) %" in lines
    assert lines[-2].split() == ["road", "15.0", "27.5", "45.0"]
    assert lines[-1].split() == ["sky", "-", "-", "-"]


def test_two_networks_are_trained_alike(evaluation, trainings, tmp_path, monkeypatch):
    fit, networks = downstream_lib.fit_network, []

    def record(iterators, table, weights, settings, progress):
        networks.append(settings.get("network", "unet"))
        return fit(iterators, table, weights, settings, progress)

    monkeypatch.setattr(downstream_lib, "fit_network", record)
    scores = train_and_score(compare(evaluation, tmp_path, networks=("unet", "pspnet")))["scores"]
    assert list(scores) == ["unet", "pspnet"]
    assert [name for name, *_ in trainings] == [SETS[-1], *SETS[:-1]] * 2
    assert networks == ["unet"] * len(SETS) + ["pspnet"] * len(SETS)


def test_a_batch_holds_two_images_of_any_size(evaluation, tmp_path):
    schema = downstream_lib.dataclasses.replace(evaluation.dataset.schema, height=256, width=512)
    dataset = downstream_lib.dataclasses.replace(evaluation.dataset, schema=schema)
    large = downstream_lib.dataclasses.replace(evaluation, dataset=dataset)
    comparison = compare(large, tmp_path, networks=("pspnet",))
    comparison.check()
    assert comparison.batch_pixels == 2 * 256 * 512
