"""Whatever a file or an option holds, it is read or refused by an `InputError`: no traceback.

Hypothesis draws the inputs: few in every run of the tests, many by `make test-long`.
"""

import contextlib
import copy
import dataclasses
import json
import pathlib
import tempfile
from unittest import mock

import h5py
import hypothesis
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies

from configs import default
from sflow_jax import configuration, variables
from sflow_jax.data import images
from sflow_jax.data.class_map import read_class_map
from sflow_jax.data.folder import Folder
from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import write_json
from sflow_jax.options import OPTIONS
from sflow_jax.pretrained import conversion, pix2pixhd
from sflow_jax.runs import lock
from sflow_jax.runs.record import RUN_FILE, RunRecord
from sflow_jax.runs.schedule import Schedule
from sflow_jax.sampling import record
from sflow_jax.segmentation.trained import read_segmenter
from sflow_jax.training.metric_log import MetricLog
from sflow_jax.training.workdir import check_workdir
from sflow_jax.translation import certificate
from sflow_jax.translation.job import Settings
from sflow_jax.translation.selection import set_aside
from sflow_jax.translation.verification import read_recipe
from tests.tiny_run import TABLE, random_frame, tiny_config

_NUMBERS = strategies.one_of(
    strategies.integers(-(2**70), 2**70),
    strategies.integers(-2, 300),
    strategies.floats(),
    strategies.sampled_from([0, -1, 1e300, 2**31, 2**63, float("nan"), float("inf")]),
)
_TEXTS = strategies.text(strategies.characters(codec=None, exclude_categories=()), max_size=8)
_ATOMS = strategies.one_of(strategies.none(), strategies.booleans(), _NUMBERS, _TEXTS)
_JSON = strategies.recursive(
    _ATOMS,
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=4), strategies.dictionaries(_TEXTS, inner, max_size=4)
    ),
    max_leaves=8,
)


def _places(value, place=()):
    """The places of all parts of a JSON."""
    yield place
    parts = enumerate(value) if isinstance(value, list) else ()
    for key, part in value.items() if isinstance(value, dict) else parts:
        yield from _places(part, (*place, key))


@strategies.composite
def json_texts(draw, valid):
    """JSON as text: any, or a valid one of which a part or some bytes are others."""
    kind = draw(strategies.sampled_from(["any", "part", "without", "bytes"]))
    if kind == "any":
        return json.dumps(draw(_JSON)).encode()
    if kind == "bytes":
        return draw(damaged(json.dumps(valid).encode()))
    place = draw(strategies.sampled_from(list(_places(valid))))
    if not place:
        return json.dumps(draw(_JSON)).encode()
    content = copy.deepcopy(valid)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if kind == "part":
        parent[place[-1]] = draw(_JSON)
    else:
        del parent[place[-1]]
    return json.dumps(content).encode()


@strategies.composite
def damaged(draw, content):
    """Bytes that are cut, or of which some are others."""
    found = bytearray(content)
    for _ in range(draw(strategies.integers(1, 4))):
        found[draw(strategies.integers(0, len(found) - 1))] = draw(strategies.integers(0, 255))
    return bytes(found[: draw(strategies.integers(0, len(found)))] if draw(_HALF) else found)


_HALF = strategies.booleans()


def reads(name, read):
    """Checks a function that reads a file of this name."""

    def check(content):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, name)
            path.write_bytes(content)
            read(path)

    return check


def check_option(named):
    name, value = named
    config = default.get_config()
    try:
        config.update_from_flattened_dict({name: value})
    except (TypeError, ValueError):
        return  # of another type, which the command line refuses
    configuration.check(config)
    schedule = Schedule.from_config(config.train, 8, 1)
    assert schedule.num_steps >= 0


def resume(path):
    write_json(path.with_name(RUN_FILE), _RUN | {"config": configuration.fingerprint({})})
    check_workdir(tiny_config(), path.parent)


def read_metrics(path):
    with MetricLog(path.parent, 3):
        pass


def list_frames(path):
    lines = certificate.read_lines(path.parent)
    set_aside(path.parent, lines, 0.5, True)


def refuse_lock(path):
    with mock.patch.object(lock, "_SILENT_SECONDS", 0):
        lock.refuse_if_held(path.parent)


def read_segmenter_settings(path):
    path.with_suffix(".safetensors").touch()
    read_segmenter(path.with_suffix(".safetensors"), 3)


def _tensors():
    shapes = strategies.lists(strategies.integers(0, 4), max_size=5).map(tuple)
    kinds = strategies.sampled_from([np.float32, np.float16, np.int64, np.complex64, "S3", object])
    arrays = strategies.builds(lambda shape, kind: np.zeros(shape, kind), shapes, kinds)
    texts = strategies.builds(lambda shape: np.full(shape, "text"), shapes)
    return strategies.one_of(arrays, texts)


_CONVERSION = conversion.Conversion(
    {"params/a/kernel": (3, 3, 1, 2), "params/a/bias": (2,)},
    {"params/a/kernel": "a.weight", "params/a/bias": "a.bias"},
)
_CHECKPOINTS = strategies.dictionaries(
    strategies.sampled_from(["a.weight", "a.bias", "b"]), _tensors(), max_size=3
) | strategies.builds(
    lambda kind, text: {"a.weight": np.full((2, 1, 3, 3), text), "a.bias": np.zeros(2, kind)},
    strategies.sampled_from([np.float32, np.complex64, object, "S3"]),
    strategies.sampled_from(["text", "1", None, 1e300]),
)
_GENERATOR_KEYS = [
    *(f"model.{number}.{leaf}" for number in range(1, 12) for leaf in ("weight", "bias")),
    "model.4.conv_block.1.weight", "model1_1.1.weight", "model1_2.0.conv_block.1.weight",
]  # fmt: skip


def convert(tensors):
    conversion.convert_tensors(tensors, _CONVERSION, "checkpoint.pth")


def read_networks(tensors):
    for read in (pix2pixhd.read_generator, pix2pixhd.read_encoder):
        with mock.patch.object(conversion, "read_torch", return_value=tensors):
            try:
                read(pathlib.Path("net.pth"))
            except InputError:
                continue


def _keras_file():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.h5")
        with h5py.File(path, "w") as file:
            file["a/vars/0"] = np.ones((3, 3, 1, 2), np.float32)
            file["a/vars/1"] = np.ones(2, np.float32)
        return path.read_bytes()


_PICTURE = images.encode_png(random_frame(0)["image"])
_LABELS = images.encode_png(random_frame(0)["label"])
_NAMES = strategies.sampled_from(["f1.png", "f2.png", "f3.png", "F1.PNG", "a", ".png", "f 1.jpg"])
_FOLDERS = strategies.sampled_from(
    ["train/s/image", "train/s/label", "train/s/cg", "train/t/image", "validation/s/label", "test",
     "other/s/image", ""]
)  # fmt: skip
_CONTENTS = strategies.one_of(
    strategies.sampled_from([_PICTURE, _LABELS, b""]), damaged(_PICTURE), damaged(_LABELS)
)
_SOURCES = strategies.tuples(
    strategies.dictionaries(
        strategies.tuples(_FOLDERS, _NAMES),
        _CONTENTS | strategies.sampled_from(["nowhere", "f1.png", "..", "."]),
        max_size=8,
    ),
    strategies.just(TABLE.to_json().encode()) | json_texts(json.loads(TABLE.to_json())),
    strategies.integers(1, 3),
    strategies.sampled_from([0, 32]),
)


def prepare_folder(drawn):
    """Prepares a folder of files and links of any content."""
    files, table, frames, side = drawn
    with tempfile.TemporaryDirectory() as place:
        source = pathlib.Path(place, "source")
        for key in ("image", "label"):
            folder = source / "train/s" / key
            folder.mkdir(parents=True)
            for number in (1, 2):
                content = _PICTURE if key == "image" else _LABELS
                (folder / f"f{number}.png").write_bytes(content)
        (source / "classes.json").write_bytes(table)
        for (folder, name), content in files.items():
            path = source / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content) if isinstance(content, bytes) else path.symlink_to(content)
        builder = Folder(
            source=source, height=side, width=side, frames=frames, data_dir=f"{place}/data"
        )
        builder.check()
        builder.download_and_prepare()


_RUN = dataclasses.asdict(RunRecord("/data", 8, 1, Schedule(8, 4, 2, 10, 20, 20)))
_SEGMENTER = {"settings": {"num_classes": 3, "layers": 50, "width": 4, "crop": 33}}
_RECORD = {"step": 3, "seed": 0, "config": tiny_config().to_dict(), "ensemble_weights": [[1.0]]}
_LINE = {
    "frame": "train/a/0", "variant": 0, "agreement": 0.5, "class_iou": {"road": 0.25}, "seed": None,
    "inputs": {"cg": {"path": "a/0.png", "sha256": "a"}}, "outputs": {"train/a/image/0.png": "ab"},
    "controls": {"weights": [1.0]}, "weights": "w", "code": "c", "recipe": "r",
}  # fmt: skip
_RECIPE = {
    **Settings(pathlib.Path("run"), pathlib.Path("in"), format="carla").to_json(),
    "num_frames": 1, "weights": "w", "code": "c", "class_table": "t",
}  # fmt: skip
_LOCK = {"host": "a", "process": 1, "began": "1", "machine": "b", "time": "now"}

PROPERTIES = {
    "options": (
        strategies.tuples(
            strategies.sampled_from(sorted(OPTIONS)),
            _ATOMS | strategies.tuples(*[_NUMBERS | _TEXTS] * 6),
        ),
        check_option,
    ),
    "config.json": (
        json_texts(tiny_config().to_dict()),
        reads("config.json", lambda path: configuration.load_config(path.parent)),
    ),
    "resumed config.json": (
        json_texts(tiny_config().to_dict()), reads(configuration.CONFIG_FILE, resume)
    ),
    "run.json": (json_texts(_RUN), reads("run.json", lambda path: RunRecord.load(path.parent))),
    "classes.json": (
        json_texts(json.loads(TABLE.to_json())), reads("classes.json", ClassTable.from_json)
    ),
    "class map": (
        json_texts({"wall": "road", "a": {"class": "car", "outlined_over": ["sky"]}}),
        reads("map.json", read_class_map),
    ),
    "sampling.json": (
        json_texts(_RECORD),
        reads("sampling.json", lambda path: record.check_output(path.parent, {"step": 3})),
    ),
    "recipe.json": (
        json_texts(_RECIPE), reads("recipe.json", lambda path: read_recipe(path.parent))
    ),
    "certificate.jsonl": (
        json_texts(_LINE).map(lambda text: text + b"\n"), reads("certificate.jsonl", list_frames)
    ),
    "metrics.jsonl": (json_texts({"step": 3, "l1": 0.5}), reads("metrics.jsonl", read_metrics)),
    "segmenter": (json_texts(_SEGMENTER), reads("a.json", read_segmenter_settings)),
    "lock": (json_texts(_LOCK), reads(lock.LOCK_FILE, refuse_lock)),
    "safetensors": (
        damaged(safetensors.numpy.save({"a": np.ones((2, 3), np.float32)})),
        reads("a.safetensors", lambda path: variables.read_variables(path, {"a": (2, 3)})),
    ),
    "keras": (damaged(_keras_file()), reads("a.weights.h5", conversion.read_keras)),
    "converter": (_CHECKPOINTS, convert),
    "official networks": (
        strategies.dictionaries(strategies.sampled_from(_GENERATOR_KEYS), _tensors(), max_size=8),
        read_networks,
    ),
    "image": (damaged(_PICTURE), reads("a.png", images.read_color)),
    "label map": (
        damaged(_LABELS), reads("a.png", lambda path: images.read_label_map(path, TABLE))
    ),
    "folder": (_SOURCES, prepare_folder),
}  # fmt: skip


def run(name, num_examples):
    strategy, check = PROPERTIES[name]

    def is_read_or_refused(drawn):
        with contextlib.suppress(InputError):
            check(drawn)

    options = hypothesis.settings(
        max_examples=num_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    options(hypothesis.given(strategy)(is_read_or_refused))()


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_few_inputs_are_read_or_refused(name):
    run(name, 10 if name == "folder" else 40)


@pytest.mark.long
@pytest.mark.parametrize("name", PROPERTIES)
def test_many_inputs_are_read_or_refused(name):
    run(name, 300 if name == "folder" else 3000)
