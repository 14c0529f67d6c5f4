"""What users can get wrong, over all commands: one line that names it, status 2, no traceback."""

import json
import os
import re
import zlib

import pytest

from sflow_jax import machine
from sflow_jax.data import pipeline
from sflow_jax.data.streets import simulator
from sflow_jax.errors import InputError
from sflow_jax.runs import lock
from sflow_jax.runs.schedule import Schedule
from sflow_jax.segmentation.trained import read_segmenter
from sflow_jax.training import memory
from tests.commands import run_command
from tests.conftest import PROJECT_ROOT
from tests.tiny_run import TABLE, random_frame, tiny_config, write_frame, write_run

TINY = ("--config", "configs/streets.py:tiny")
PIX2PIXHD = ("--config", "configs/baselines/pix2pixhd.py")
LONG, DEEP = 300 * "a", 100_000 * "["
A_PATH = "expected the path of a file or folder"
TOO_LONG = f"found a name of 300 bytes, longer than 255, {A_PATH}"
EMPTY = f"found nothing, {A_PATH}"
COMMANDS = (
    "main", "prepare", "sample", "translate", "evaluate", "train_segmenter", "compare",
    "import_pix2pixhd", "data.streets.__main__", "comparison.step_time",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    """Each test has a folder and caches of its own, and two cores with 16 GiB."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(PROJECT_ROOT / "configs")
    monkeypatch.setenv("TFDS_DATA_DIR", "data")
    monkeypatch.setenv("SFLOW_CACHE", "cache")
    for module in (pipeline, simulator):
        monkeypatch.setattr(module, "num_cores", lambda: 2)
    monkeypatch.setattr(simulator, "memory_bytes", lambda: 16 * machine.GIB)


def refusal(module, *arguments):
    """The line of a command that refuses its input."""
    result = run_command(module, *arguments)
    assert result.status == 2, result
    lines = [line for line in re.split("[\r\n]", result.errors) if line.strip()]
    (message,) = (line for line in lines if "%|" not in line)  # a progress bar is no message
    assert message.startswith("error: "), result
    return message.removeprefix("error: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_no_error_and_names_the_flags_of_the_command(command):
    result = run_command(command, "--help")
    assert (result.status, result.errors) == (0, "")
    without = ("sample", "translate", "evaluate", "compare", "data.streets.__main__")
    takes_config = command not in without
    assert ("--config: Config file" in result.output) == takes_config
    assert re.search("--(workdir|output|export): ", result.output)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("seed", -1, "found -1, expected 0 to 4,294,967,295"),
        ("seed", 2**70, f"found {2**70}, expected 0 to 4,294,967,295"),
        ("data.height", 10**9, "found 1000000000, expected 16 to 16,384 pixels, or 0 for the "
         "files' own"),
        ("data.width", 10**5, "found 100000, expected 16 to 16,384 pixels, or 0 for the files' "
         "own"),
        ("data.width", -16, "found -16, expected 16 to 16,384 pixels, or 0 for the files' own"),
        ("data.num_train", 10**7, "found 10000000, expected 1 to 999,999"),
        ("data.streets_seed", 2**70, f"found {2**70}, expected 0 to 1,099,511,627,775"),
        ("data.worker_count", -1, "found -1, expected 0 or more"),
        ("data.worker_count", 5000, "found 5,000, expected 0 to 8, 4 for each core of this "
         "machine: more would only take memory, a third of a GiB each"),
        ("data.data_dir", LONG, f"found {LONG!r}, expected a path"),
        ("data.source", LONG, f"found {LONG!r}, expected a path"),
        ("init_from", LONG, f"found {LONG!r}, expected a path"),
        ("edges.quantile", "nan", "found nan, expected between 0 and 1"),
        ("edges.quantile", 2, "found 2.0, expected between 0 and 1"),
        ("edges.threshold", "inf", "found inf, expected 0 to 4"),
        ("generator.num_downsamplings", 40, "found 40, expected 1 to 8"),
        ("generator.width", 10**9, "found 1000000000, expected 1 to 1,048,576"),
        ("discriminator.num_layers", 40, "found 40, expected 1 to 8"),
        ("loss.side_weights", "('a','b','c','d','e','f')", "found ('a', 'b', 'c', 'd', 'e', 'f'), "
         "expected six numbers of 0 or more, not all 0"),
        ("loss.side_weights", "(1e999,1.,1.,1.,1.,1.)", "found (inf, 1.0, 1.0, 1.0, 1.0, 1.0), "
         "expected six numbers of 0 or more, not all 0"),
        ("loss.perceptual_weight", "1e300", "found 1e+300, expected 0 to 1,000,000"),
        ("augmentation.zoom", "inf", "found inf, expected 0 to 15"),
        ("augmentation.zoom", "1e300", "found 1e+300, expected 0 to 15"),
        ("optimizer.learning_rate", "inf", "found inf, expected 0 to 3e+38"),
        ("optimizer.learning_rate", "1e300", "found 1e+300, expected 0 to 3e+38"),
        ("optimizer.learning_rate", "nan", "found nan, expected 0 to 3e+38"),
        ("train.batch_size", 10**12, "found 1000000000000, expected 1 to 16,777,216"),
        ("train.epochs", "inf", "found inf, expected more than 0 and at most 1,000,000"),
        ("train.epochs", "1e300", "found 1e+300, expected more than 0 and at most 1,000,000"),
        ("train.laplacian_epochs", "inf", "found inf, expected 0 to 1,000,000"),
        ("train.laplacian_epochs", "1e300", "found 1e+300, expected 0 to 1,000,000"),
        ("log.num_images", 0, "found 0, expected 1 to 1,000"),
        ("checkpoint.keep", 10**6, "found 1000000, expected 1 to 1,000"),
        ("eval.metrics", "fdi", "found 'fdi', expected names among fid, frechet_streets, "
         "segmentation, separated by commas, or nothing"),
    ],
)  # fmt: skip
def test_an_option_out_of_range_is_named_before_any_work(option, value, message):
    found = refusal("main", *TINY, "--workdir=run", f"--config.{option}={value}")
    assert found == f"config.{option}: {message}"
    assert not os.path.lexists("run")
    assert not os.path.lexists("data")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("main", (*TINY, "--workdir="), f"--workdir: {EMPTY}"),
        ("main", (*TINY, f"--workdir={LONG}"), f"--workdir: {TOO_LONG}"),
        ("main", (*TINY, f"--workdir={'/b' * 3000}"), f"--workdir: found 6000 bytes, more than "
         f"4095, {A_PATH}"),
        ("main", (*TINY, "--workdir=/dev/null/x"), "/dev/null/x: found the file /dev/null, "
         "expected a folder or nothing there"),
        ("main", TINY, "--workdir: missing; expected a folder for checkpoints and pictures"),
        ("main", ("--workdir=x",), "--config: missing; expected a config file such as "
         "configs/streets.py"),
        ("main", ("--config=", "--workdir=x"), "--config: Configuration is not available because "
         "of an earlier failure to load: Path to config file is an empty string."),
        ("main", (*TINY, "--config.seed=x"), "command line or config: flag --config.seed=x: "
         "invalid literal for int() with base 10: 'x'"),
        ("prepare", (*TINY, "--config.data.height=16000", "--config.data.width=16000"),
         "config.data.height and width: found 16,000 and 16,000, which take 477 GiB to render, "
         "expected a size for the 16 GiB of this machine"),
        ("prepare", (), "--config: missing; expected as --help says"),
        ("prepare", (*TINY, "--export="), f"--export: {EMPTY}"),
        ("sample", (), "--workdir, --input, --output: missing; expected as --help says"),
        ("sample", ("--workdir=", "--input=x", "--output=y"), f"--workdir: {EMPTY}"),
        ("sample", ("--workdir=x", "--input=", "--output=y"), f"--input: {EMPTY}"),
        ("sample", ("--workdir=x", "--input=x", "--output="), f"--output: {EMPTY}"),
        ("sample", ("--workdir=x", "--input=x", f"--output={LONG}"), f"--output: {TOO_LONG}"),
        ("sample", ("--workdir=x", "--input=x", "--output=y", "--num_variants=1000000"),
         "command line or config: flag --num_variants=1000000: 1000000 is not an integer in the "
         "range [1, 1000]"),
        ("sample", ("--workdir=x", "--input=x", "--output=y", "--seed=-1"), "command line or "
         "config: flag --seed=-1: -1 is not an integer in the range [0, 4294967295]"),
        ("sample", ("--workdir=x", "--input=x", "--output=y", "--video", "--fps=nan"),
         "--fps: found nan, expected 1 to 1000"),
        ("translate", ("--workdir=", "--input=x", "--output=y"), f"--workdir: {EMPTY}"),
        ("translate", ("--workdir=x", "--input=", "--output=y"), f"--input: {EMPTY}"),
        ("translate", ("--workdir=x", "--input=x", "--output="), f"--output: {EMPTY}"),
        ("translate", ("--workdir=x", "--input=x", f"--output={LONG}"), f"--output: {TOO_LONG}"),
        ("translate", ("--workdir=x", "--input=x", "--output=y", "--class_map="),
         f"--class_map: {EMPTY}"),
        ("translate", ("--workdir=x", "--input=x", "--output=gs://b/s"), "gs://b/s: found a URL, "
         "expected a path on this machine, such as the folder where the bucket is mounted"),
        ("translate", ("--output=~/nowhere", "--verify"), f"{os.path.expanduser('~')}/nowhere/"
         "recipe.json: not found; expected what translate wrote"),
        ("evaluate", ("--workdir=",), f"--workdir: {EMPTY}"),
        ("evaluate", ("--workdir=x", "--output="), f"--output: {EMPTY}"),
        ("evaluate", ("--real=", "--fake=x"), f"--real: {EMPTY}"),
        ("evaluate", ("--workdir=x", "--diversity", "--num_variants=1000000"), "command line or "
         "config: flag --num_variants=1000000: 1000000 is not an integer in the range [2, 1000]"),
        ("evaluate", ("--workdir=x", "--downstream", "--num_seeds=1000000"), "command line or "
         "config: flag --num_seeds=1000000: 1000000 is not an integer in the range [1, 1000]"),
        ("train_segmenter", (*TINY, "--output="), f"--output: {EMPTY}"),
        ("train_segmenter", (*TINY, "--output=w.safetensors", "--sizes=9999999999x1"), "--sizes: "
         "found '9999999999x1', expected WIDTHxHEIGHT, such as 256x128"),
        ("train_segmenter", (*TINY, "--output=w.safetensors", "--sizes=8x8"), "config.data.height: "
         "found 8, expected 16 to 16,384 pixels, or 0 for the files' own"),
        ("train_segmenter", (*TINY, "--output=w.safetensors", "--seed=-1"), "command line or "
         "config: flag --seed=-1: -1 is not an integer in the range [0, 4294967295]"),
        ("compare", ("--workdir=", "--configs=configs/streets.py:tiny"), f"--workdir: {EMPTY}"),
        ("compare", ("--workdir=c", "--configs=configs/streets.py:tiny", "--minutes=nan"),
         "--minutes: found nan, expected 0.01 to 525,600, a year"),
        ("compare", ("--workdir=c", "--configs=configs/streets.py:tiny", "--seeds=100000"),
         "command line or config: flag --seeds=100000: 100000 is not an integer in the range "
         "[1, 1000]"),
        ("import_pix2pixhd", (*PIX2PIXHD, "--workdir=", "--generator=x"), f"--workdir: {EMPTY}"),
        ("import_pix2pixhd", (*PIX2PIXHD, "--workdir=x", "--generator="), f"--generator: {EMPTY}"),
        ("data.streets.__main__", ("--output=",), f"--output: {EMPTY}"),
        ("data.streets.__main__", ("--output=x", "--height=1000000000"), "command line or config: "
         "flag --height=1000000000: 1000000000 is not an integer in the range [16, 16384]"),
        ("data.streets.__main__", ("--output=x", "--height=16000", "--width=16000"), "--height and "
         "--width: found 16,000 and 16,000, which take 477 GiB to render, expected a size for the "
         "16 GiB of this machine"),
        ("data.streets.__main__", ("--output=x", f"--seed={2**70}"), f"command line or config: "
         f"flag --seed={2**70}: {2**70} is not an integer in the range [0, 1099511627775]"),
        ("comparison.step_time", (*TINY, "--output=", "--config.train.epochs=inf"),
         f"--output: {EMPTY}"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_named(command, arguments, message):
    assert refusal(command, *arguments) == message


def test_the_segmenters_output_is_no_folder(tmp_path):
    (tmp_path / "w.safetensors").mkdir()
    message = "--output: found a folder, w.safetensors, expected a file or nothing there"
    assert refusal("train_segmenter", *TINY, "--output=w.safetensors") == message


def test_a_second_training_of_a_segmenter_is_refused(tmp_path):
    for split in ("train", "test"):
        write_frame(tmp_path / f"source/{split}/s", "f0", random_frame(0))
    (tmp_path / "source/classes.json").write_text(TABLE.to_json(), encoding="utf-8")
    arguments = (*folder_arguments(tmp_path / "source"), "--output=w.safetensors")
    with lock.hold(tmp_path, ".w.safetensors.lock"):
        found = refusal("train_segmenter", *arguments)
    assert found.startswith(f"{tmp_path}: in use by process {os.getpid()} on ")
    assert not list(tmp_path.glob("w.*"))


@pytest.mark.parametrize(
    ("option", "value", "counted"),
    [
        ("generator.width", 10**6, "(networks and optimizers 8,717,200.3, 1 images"),
        ("train.batch_size", 10**7, "10,000,000 images of 128x64 8,"),
    ],
)
def test_what_no_machine_can_hold_is_refused_before_it_is_compiled(
    option, value, counted, monkeypatch, data_dir
):
    monkeypatch.setattr(memory, "device_bytes", lambda: 16 * machine.GIB)
    arguments = (f"--config.data.data_dir={data_dir}", f"--config.{option}={value}")
    message = refusal("main", *TINY, "--workdir=run", *arguments)
    assert message.startswith("config: a step needs more than ")
    assert counted in message
    assert message.endswith(
        "found 16.0 GiB; expected a smaller generator.width, train.batch_size or data.height and "
        "width"
    )


def test_more_steps_than_can_be_counted_are_refused():
    config = tiny_config(**{"train.epochs": 1e6})
    message = (
        "config.train.epochs: found 1e+06, 8,000,000,000 steps of these data, expected at most"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        Schedule.from_config(config.train, 8000, 1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    write_run(workdir, tiny_config())
    return workdir


@pytest.fixture
def frames(tmp_path):
    """Two frames to translate."""
    for number in range(2):
        write_frame(tmp_path / "frames", f"f{number}", random_frame(number))
    return tmp_path / "frames"


@pytest.fixture
def source(tmp_path):
    """A dataset in the layout of `folder`."""
    for number in range(2):
        write_frame(tmp_path / "source/train/s", f"f{number}", random_frame(number))
    (tmp_path / "source/classes.json").write_text(TABLE.to_json(), encoding="utf-8")
    return tmp_path / "source"


def folder_arguments(source):
    return (
        "--config=configs/folder.py", f"--config.data.source={source}",
        "--config.data.height=32", "--config.data.width=40",
    )  # fmt: skip


def prepare_refusal(source):
    return refusal("prepare", *folder_arguments(source))


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere.png")


def circular(path):
    path.unlink()
    path.symlink_to(path.name)


def animated(path):
    """Adds the chunk that makes a PNG an animation."""
    content, body = path.read_bytes(), b"acTL" + bytes((0, 0, 0, 2, 0, 0, 0, 0))
    chunk = (8).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    path.write_bytes(content[:33] + chunk + content[33:])


def emptied(path):
    path.write_bytes(b"")


DAMAGES = [
    (dangling, "No such file or directory; expected a file to read"),
    (circular, "Too many levels of symbolic links; expected a file to read"),
    (animated, "found an animated PNG, expected a single picture"),
    (emptied, "found bytes that are no PNG's, expected a PNG"),
]


@pytest.mark.parametrize("key", ["label", "image"])
@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_frame_of_a_dataset_that_is_no_picture(source, damage, message, key):
    path = source / "train/s" / key / "f1.png"
    damage(path)
    assert prepare_refusal(source) == f"{path}: {message}"


@pytest.mark.parametrize("key", ["label", "cg"])
@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_frame_to_translate_that_is_no_picture(run, frames, damage, message, key):
    damage(frames / key / "f1.png")
    found = refusal("sample", "--workdir", run, "--input", frames, "--output=out")
    assert found == f"{frames / key / 'f1.png'}: {message}"
    assert not os.path.lexists("out")


NOT_UTF_8 = os.fsdecode(b"f\xff1")


def test_names_that_are_not_utf_8_are_read_as_latin_1(run, source, frames):
    for key in ("label", "image", "cg"):
        (source / "train/s" / key / "f1.png").rename(source / "train/s" / key / f"{NOT_UTF_8}.png")
        (frames / key / "f1.png").rename(frames / key / f"{NOT_UTF_8}.png")
    (source / "train/s").rename(source / "train" / NOT_UTF_8)
    result = run_command("prepare", *folder_arguments(source))
    assert result.status == 0, result
    result = run_command("sample", "--workdir", run, "--input", frames, "--output=out")
    assert (result.status, result.output) == (0, "out: 2 frames\n")
    assert os.path.exists("out/f\xff1.png")


def test_a_folder_that_is_linked_into_itself_is_read_once(run, frames):
    (frames / "again").symlink_to(frames)
    (frames / "up").symlink_to(frames.parent)
    (frames.parent / "round").symlink_to(frames)
    result = run_command(
        "sample", "--workdir", run, "--input", frames, "--output=out", "--limit=9", "--edges=cg"
    )
    assert result.status == 0, result
    assert result.output == "out: 2 frames\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "found brackets within brackets, too deep to be read; expected JSON"),
        ("", "Expecting value: line 1 column 1 (char 0); expected JSON"),
        ("[]", 'expected an object {"name": "...", "classes": [...]}'),
        ('{"name": "a", "classes": []}', '"classes" is empty, expected at least one class'),
        ('{"name": "\\ud800", "classes": [1]}',
         'expected an object {"name": "...", "classes": [...]}'),
        ('{"name": "a", "classes": [{"id": 1e999, "name": "a", "color": [0, 0, 0], "eval_id": 0}]}',
         'class 0: "id" is inf, expected a whole number from 0 to 255'),
        ('{"name": "a", "classes": [{"id": 1, "name": "\\ud800", "color": [0, 0, 0], '
         '"eval_id": 0}]}',
         'class 0: "name" is \'\\ud800\', expected a text'),
    ],
)  # fmt: skip
def test_a_table_of_classes_that_is_none(source, content, message):
    path = source / "classes.json"
    path.write_text(content, encoding="utf-8")
    assert prepare_refusal(source) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "found brackets within brackets, too deep to be read; expected the JSON that "
         "sampling wrote"),
        ("[]", "found a list, expected the JSON that sampling wrote"),
        ("3", "found a int, expected the JSON that sampling wrote"),
        ('{"ensemble_weights": 3}', "found ensemble_weights 3, expected a list of them"),
        ('{"config": 3}', "found no options, expected the JSON that training wrote"),
    ],
)  # fmt: skip
def test_a_record_of_results_that_is_none(run, frames, tmp_path, content, message):
    path = tmp_path / "out/sampling.json"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    found = refusal("sample", "--workdir", run, "--input", frames, "--output=out")
    assert found == f"out/sampling.json: {message}"


def test_the_json_of_a_segmenter_with_absurd_numbers(run, tmp_path):
    path = tmp_path / "w.safetensors"
    path.touch()
    settings = {"num_classes": 3, "layers": 50, "width": 64, "crop": 33}
    for field, value in (
        ("width", 10**9), ("width", -1), ("width", "64"), ("crop", 0), ("num_classes", 1e999),
        ("layers", [50]), ("layers", 3),
    ):  # fmt: skip
        report = {"settings": settings | {field: value}}
        path.with_suffix(".json").write_text(json.dumps(report), encoding="utf-8")
        with pytest.raises(InputError, match="expected the settings of a segmenter"):
            read_segmenter(path, 3)
