"""Official checkpoints become runs: what is inferred, restored, refused and said."""

import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import streets
from configs.baselines import pix2pixhd as baseline
from sflow_jax import import_pix2pixhd, variables
from sflow_jax.comparison.plan import plan_finished
from sflow_jax.data import images
from sflow_jax.data.labels import CITYSCAPES
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import set_up_evaluation
from sflow_jax.import_pix2pixhd import import_run
from sflow_jax.inference import restore_model
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.models.pix2pixhd import InstanceEncoder
from sflow_jax.prepare import prepare
from sflow_jax.pretrained import conversion, pix2pixhd
from sflow_jax.training.initialize import check_source
from sflow_jax.training.loop import train
from tests.fast_jit import fast_jit
from tests.parity.pix2pixhd import to_reference
from tests.random_weights import init_random
from tests.sampling.runs import pngs, run
from tests.tiny_run import TABLE, random_frame, write_frame

GLOBAL = GlobalGenerator(4, 3, 2)
LOCAL = LocalEnhancer(2, 2, 1, 3)
ENCODER = InstanceEncoder(3)
NAMES = {
    GLOBAL: pix2pixhd.global_generator_names(3, 2),
    LOCAL: pix2pixhd.local_enhancer_names(2, 1, 3),
    ENCODER: pix2pixhd.encoder_names(4),
}
BOTH = pytest.mark.parametrize("module", [GLOBAL, LOCAL], ids=["global", "local"])


@pytest.fixture(autouse=True)
def numpy_as_torch(monkeypatch):
    """Checkpoints are .npz files, as PyTorch need not be installed."""

    def read(path):
        return dict(np.load(io.BytesIO(path.read_bytes())))

    monkeypatch.setattr(conversion, "read_torch", read)


def random_params(module, num_inputs):
    image = np.zeros((1, 64, 64, num_inputs), np.float32)
    if module is ENCODER:
        return init_random(module, image, np.zeros((1, 64, 64, 1), np.uint16))
    return init_random(module, image)


def official(module, params, names=None):
    """The tensors that the official code would save, with the biases that norms undo."""
    names = names or NAMES[module]
    tensors = to_reference(params, names)
    for layer, name in names.items():
        kernel = tensors[f"{name}.weight"]
        width = kernel.shape[1 if "UpsampleConv" in layer else 0]
        tensors.setdefault(f"{name}.bias", np.full(width, 0.5, np.float32))
    return tensors


def write(path, tensors):
    with path.open("wb") as file:
        np.savez(file, **tensors)
    return path


def generator_file(folder, module=GLOBAL, num_inputs=36):
    params = random_params(module, num_inputs)
    return write(folder / "latest_net_G.pth", official(module, params)), params


def encoder_file(folder, names=None):
    params = random_params(ENCODER, 3)
    return write(folder / "latest_net_E.pth", official(ENCODER, params, names)), params


def config(**changes):
    made = baseline.get_config()
    made.update_from_flattened_dict(changes)
    return made


def assert_equal(found, expected):
    found, expected = variables.flatten(found), variables.flatten(expected)
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(found[path], values, err_msg=path)


@BOTH
def test_a_generator_comes_back_to_the_bit_and_draws_its_picture(tmp_path, module):
    path, params = generator_file(tmp_path, module)
    report = import_run(config(), tmp_path / "run", path)
    model = restore_model(tmp_path / "run")
    assert_equal(model.params["generator"], params)
    assert model.method.generator == module
    assert (model.step, model.class_table) == (0, CITYSCAPES)
    options = model.config
    assert options.pix2pixhd.to_dict() == {"boundaries": True, "num_features": 0}
    assert options.generator.kind == ("global" if module is GLOBAL else "local")

    label = np.random.RandomState(0).randint(0, 35, (1, 8, 8, 1)).repeat(8, 1).repeat(8, 2)
    instance = (np.arange(64) // 9 * np.ones((1, 64, 1), int))[..., None]
    label, instance = label.astype(np.uint8), instance.astype(np.uint16)
    found = model.translate(label, np.zeros((1, 64, 64, 3), np.uint8), instance=instance)
    steps = instance[:, :, 1:] != instance[:, :, :-1]
    boundaries = np.zeros(instance.shape, np.float32)
    boundaries[:, :, 1:] += steps
    boundaries[:, :, :-1] += steps
    seen = np.concatenate([np.eye(35, dtype=np.float32)[label[..., 0]], boundaries], -1)
    expected = fast_jit(module.apply)(params, seen)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found["image"], expected, atol=1e-5)

    number = len(official(module, params)) // 2 - 1  # all but the last layer's
    assert f"left out: {number} biases before instance norms" in report
    assert f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters" in report
    assert "36 inputs: 35 classes of 'cityscapes', boundaries" in report


def test_running_statistics_are_left_out_and_counted(tmp_path):
    path, params = generator_file(tmp_path)
    statistics = {f"model.2.{name}": np.ones(4) for name in ("running_mean", "running_var")}
    write(path, official(GLOBAL, params) | statistics)
    report = import_run(config(), tmp_path / "run", path)
    assert "; 2 running statistics, which no norm used" in report
    assert_equal(restore_model(tmp_path / "run").params["generator"], params)


def test_labels_alone_are_seen_without_boundaries(tmp_path):
    path, _ = generator_file(tmp_path, num_inputs=35)
    import_run(config(), tmp_path / "run", path)
    assert not restore_model(tmp_path / "run").config.pix2pixhd.boundaries


def test_other_classes_come_from_a_file(tmp_path):
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes + 1)
    (tmp_path / "classes.json").write_text(TABLE.to_json())
    import_run(config(), tmp_path / "run", path, classes=tmp_path / "classes.json")
    model = restore_model(tmp_path / "run")
    assert model.class_table == TABLE
    assert model.config.pix2pixhd.boundaries


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A prepared dataset of `TABLE` with instances."""
    folder = tmp_path_factory.mktemp("dataset")
    made = prepare_scenes(folder, with_instances=True)
    return made.directory


def prepare_scenes(folder, with_instances):
    source = folder / "source"
    for split, seed in (("train", 5), ("test", 7)):
        write_scene(source / split / "a", seed, with_instances)
    (source / "classes.json").write_text(TABLE.to_json())
    changes = {"dataset": "folder", "source": str(source), "data_dir": str(folder / "data")}
    sizes = {"height": 32, "width": 40}
    return prepare(config(**{f"data.{k}": v for k, v in (changes | sizes).items()}).data)


def write_scene(folder, seed, with_instances=True):
    frame = random_frame(seed)
    write_frame(folder, "00", frame)
    if with_instances:
        columns = np.arange(frame["label"].shape[1], dtype=np.uint16)[:, None] // 9
        instance = frame["label"].astype(np.uint16) * 1000 + columns
        (folder / "instance").mkdir()
        (folder / "instance/00.png").write_bytes(images.encode_png(instance))


NUM_INPUTS = TABLE.num_classes + 1 + 3


@pytest.mark.parametrize("last", [29, 28])
def test_an_encoder_comes_back_under_either_name_of_its_last_layer(tmp_path, dataset, last):
    path, params = generator_file(tmp_path, num_inputs=NUM_INPUTS)
    names = pix2pixhd.encoder_names(4, last)
    assert names["to_features/Conv_0"] == f"model.{last}"
    encoder_path, encoder_params = encoder_file(tmp_path, names)
    report = import_run(config(), tmp_path / "run", path, encoder_path, dataset=dataset)
    assert "inputs: 6 classes of 'toy', boundaries, 3 features" in report
    assert "left out: 9 biases before instance norms" in report.partition("encoder of 3")[2]
    write_scene(tmp_path / "in", 3)
    run(tmp_path / "run", tmp_path / "in", tmp_path / "out", edges="none", num_variants=2)
    found = pngs(tmp_path / "out")
    assert np.any(found["variant_00/00.png"] != found["variant_01/00.png"])
    model = restore_model(tmp_path / "run")
    assert_equal(model.params, {"generator": params, "encoder": encoder_params})
    assert (tmp_path / "run/learned/0.npz").is_file()
    assert model.dataset == str(dataset)


def test_a_dataset_for_scoring_is_remembered(tmp_path, dataset):
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes + 1)
    import_run(config(), tmp_path / "run", path, dataset=dataset)
    evaluation = set_up_evaluation(tmp_path / "run")
    assert evaluation.dataset.directory == dataset
    assert json.loads((tmp_path / "run/run.json").read_text())["num_examples"] == 1


def test_without_a_dataset_there_is_nothing_to_score_on(tmp_path, dataset):
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes + 1)
    (tmp_path / "classes.json").write_text(TABLE.to_json())
    import_run(config(), tmp_path / "run", path, classes=tmp_path / "classes.json")
    with pytest.raises(InputError, match=r"^--dataset: missing; .* imported without one$"):
        set_up_evaluation(tmp_path / "run")
    assert set_up_evaluation(tmp_path / "run", dataset_directory=dataset).split == "test"


def test_a_dataset_without_instances_is_refused_where_they_are_needed(tmp_path):
    prepared = prepare_scenes(tmp_path, with_instances=False)
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes + 1)
    with pytest.raises(InputError, match="found no instance in its examples, expected the maps"):
        import_run(config(), tmp_path / "run", path, dataset=prepared.directory)
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes)
    import_run(config(), tmp_path / "run", path, dataset=prepared.directory)


def test_imported_networks_cannot_be_trained_on(tmp_path):
    path, _ = generator_file(tmp_path)
    workdir = tmp_path / "run"
    import_run(config(), workdir, path)
    reason = f"{workdir} holds networks imported from {path}, without discriminators and optimiz"
    with pytest.raises(InputError, match=f"^--workdir: {reason}.*expected a new folder"):
        train(config(), workdir)
    with pytest.raises(InputError, match=f"^config.init_from: {reason}.*expected a run that was"):
        check_source(config(init_from=str(workdir)))
    with pytest.raises(InputError, match=f"^--runs: {reason}.*expected a run that was"):
        plan_finished([f"official={workdir}"])


def test_an_interrupted_import_is_no_run(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    path, _ = generator_file(tmp_path)
    monkeypatch.setattr(import_pix2pixhd, "save_networks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_run(config(), tmp_path / "run", path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("num_inputs", "expected"),
    [
        (39, "expected 35 .35 classes of 'cityscapes'. or 36 .and boundaries of instances.; give "
         "--encoder FILE if it is told features of instances, 3 as a rule, or --classes FILE"),
        (30, "expected 35 .35 classes of 'cityscapes'. or 36 .and .*; give --classes FILE or --d"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_add_up_are_named(tmp_path, num_inputs, expected):
    path, _ = generator_file(tmp_path, num_inputs=num_inputs)
    found = f"^{path}: found a generator of {num_inputs} input channels, {expected}"
    with pytest.raises(InputError, match=found):
        import_run(config(), tmp_path / "run", path)
    assert not (tmp_path / "run").exists()


def test_an_encoder_must_have_a_place_and_a_dataset(tmp_path, dataset):
    path, _ = generator_file(tmp_path, num_inputs=TABLE.num_classes + 1)
    encoder_path, _ = encoder_file(tmp_path)
    with pytest.raises(InputError, match=r"^--dataset: missing beside --encoder; expected a prep"):
        import_run(config(), tmp_path / "run", path, encoder_path)
    with pytest.raises(InputError, match=r"^--encoder: found one with .*, whose 7 input channels"):
        import_run(config(), tmp_path / "run", path, encoder_path, dataset=dataset)
    path, _ = generator_file(tmp_path, num_inputs=20)
    expected = "expected 9 .6 classes of 'toy' and 3 features of instances. or 10 .*--classes"
    with pytest.raises(InputError, match=expected):
        import_run(config(), tmp_path / "run", path, encoder_path, dataset=dataset)


def test_options_that_exclude_each_other(tmp_path, dataset):
    path, _ = generator_file(tmp_path)
    with pytest.raises(InputError, match=r"^--classes: found beside --dataset, which has its own"):
        import_run(config(), tmp_path / "run", path, classes=path, dataset=dataset)
    with pytest.raises(InputError, match=r"^config\.method: found 'sflow', expected 'pix2pixhd'"):
        import_run(streets.get_config(), tmp_path / "run", path)


def test_a_folder_in_use_is_refused_before_any_work(tmp_path):
    path, _ = generator_file(tmp_path)
    with pytest.raises(InputError, match=f"^{tmp_path}: already exists, expected a new or empty"):
        import_run(config(), tmp_path, path.with_name("absent.pth"))
    assert [file.name for file in tmp_path.iterdir()] == ["latest_net_G.pth"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.10.weight": None}, "1 missing: model.10.weight"),
        ({"model.2.weight": np.ones(4)}, "1 left over: model.2.weight"),  # of a batch norm
        ({"model2_1.1.weight": np.ones(4)}, "1 left over: model2_1.1.weight"),
        ({"model.25.weight": np.zeros((1, 4, 7, 7))}, r"model.25.weight is \[1, 4, 7, 7\], expec"),
        ({"model.1.weight": None}, "found no kernel model.1.weight, expected a generator of pix2p"),
        ({"model1_1.1.weight": np.ones(4)}, "found no kernel model1_1.1.weight, expected a local"),
    ],
)  # fmt: skip
def test_every_other_key_of_a_generator_has_to_fit(tmp_path, change, message):
    path, params = generator_file(tmp_path)
    tensors = official(GLOBAL, params) | change
    write(path, {key: values for key, values in tensors.items() if values is not None})
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        pix2pixhd.read_generator(path)


def test_every_key_of_an_encoder_has_to_fit(tmp_path):
    path, params = encoder_file(tmp_path)
    tensors = official(ENCODER, params)
    write(path, {key: x for key, x in tensors.items() if not key.startswith("model.29")})
    with pytest.raises(InputError, match=r"found no model\.29\.weight and no model\.28\.weight"):
        pix2pixhd.read_encoder(path)
    write(path, tensors | {"model.28.weight": tensors["model.29.weight"]})
    with pytest.raises(InputError, match=r"1 left over: model\.28\.weight$"):
        pix2pixhd.read_encoder(path)


def test_the_command_line_is_refused_in_one_line(tmp_path):
    arguments = ["--config=configs/streets.py", "--generator=x.pth", f"--workdir={tmp_path}/run"]
    result = subprocess.run(
        [sys.executable, "-m", "sflow_jax.import_pix2pixhd", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: config.method: found 'sflow', expected 'pix2pixhd'")
    assert result.stderr.count("\n") == 1
