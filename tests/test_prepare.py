import errno
import fcntl
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ml_collections import config_dict

from configs import default
from sflow_jax import manifest
from sflow_jax.data import builder, images, labels, prepared
from sflow_jax.errors import InputError
from sflow_jax.prepare import prepare
from tests.conftest import PROJECT_ROOT, UNUSUAL_ENVIRONMENT


def _write_source(source: pathlib.Path, num_frames: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for split, count in (("train", num_frames), ("test", 1)):
        for key, channels, high in (("image", 3, 256), ("label", 1, 19), ("cg", 3, 256)):
            directory = source / split / "seq" / key
            directory.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                array = rng.integers(0, high, (16, 24, channels)).astype(np.uint8)
                (directory / f"{index:04d}.png").write_bytes(images.encode_png(array))
    (source / "classes.json").write_text(labels.STREETS.to_json())


def _config(data_dir, source="", **changes) -> config_dict.ConfigDict:
    fields = {"dataset": "folder", "source": str(source), "data_dir": str(data_dir)}
    config = default.get_config().data
    config.update(fields | {"height": 16, "width": 24, "frames": 1} | changes)
    return config


def _assert_equal(first: prepared.PreparedDataset, second: prepared.PreparedDataset) -> None:
    assert first.num_examples == second.num_examples
    assert first.class_table == second.class_table
    for split in first.num_examples:
        pairs = zip(first.source(split), second.source(split), strict=True)
        for one, other in pairs:
            assert one.keys() == other.keys()
            assert one["name"] == other["name"]
            for key in one.keys() - {"name"}:
                np.testing.assert_array_equal(one[key], other[key])


def test_a_prepared_dataset_is_opened_not_built_again(tmp_path, monkeypatch):
    _write_source(tmp_path / "source", 3)
    first = prepare(_config(tmp_path, tmp_path / "source"))
    monkeypatch.setattr(builder.ExampleBuilder, "download_and_prepare", None)
    _assert_equal(prepare(_config(tmp_path, tmp_path / "source")), first)
    _assert_equal(prepare(_config(tmp_path)), first)
    _assert_equal(prepare(_config(tmp_path, height=0, width=0)), first)


def test_locale_time_zone_and_home_change_nothing(tmp_path, monkeypatch):
    source, data_dir = tmp_path / "Straße", tmp_path / "data"
    _write_source(source, 3)
    fields = {f"data.{name}": value for name, value in _config(data_dir, source).items()}
    command = [sys.executable, "-m", "sflow_jax.prepare", "--config", "configs/streets.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | UNUSUAL_ENVIRONMENT
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = prepare(_config(tmp_path / "other", source))
    monkeypatch.setattr(builder.ExampleBuilder, "download_and_prepare", None)
    _assert_equal(prepare(_config(data_dir, source)), expected)


def test_a_changed_source_is_prepared_afresh(tmp_path):
    _write_source(tmp_path / "source", 3)
    before = prepare(_config(tmp_path, tmp_path / "source"))
    _write_source(tmp_path / "source", 4, seed=1)
    after = prepare(_config(tmp_path, tmp_path / "source"))
    assert before.directory != after.directory
    assert (before.num_examples["train"], after.num_examples["train"]) == (3, 4)


def test_without_a_source_there_must_be_one_prepared_dataset(tmp_path):
    with pytest.raises(InputError, match=r"found no prepared 'folder' of 24x16, expected"):
        prepare(_config(tmp_path))
    for name, size in (("a", 2), ("b", 3)):
        _write_source(tmp_path / name, size)
        prepare(_config(tmp_path, tmp_path / name))
    with pytest.raises(InputError, match=r"found 2 prepared 'folder' of 24x16 ") as error:
        prepare(_config(tmp_path))
    first, second = sorted(tmp_path.glob("folder/24x16-*/1.0.0"))
    assert str(error.value) == (
        f"{tmp_path}: found 2 prepared 'folder' of 24x16 ({first}, {second}), expected "
        "--config.data.source=DIR, the folder of the raw dataset"
    )
    with pytest.raises(InputError, match="found no prepared 'folder' of 32x16"):
        prepare(_config(tmp_path, width=32))


def test_pairs_and_single_frames_of_one_source_are_two_datasets(tmp_path):
    _write_source(tmp_path / "source", 3)
    (tmp_path / "source/test").rename(tmp_path / "source/.test")
    sizes = {"height": 0, "width": 0}
    single = prepare(_config(tmp_path, tmp_path / "source"))
    pairs = prepare(_config(tmp_path, tmp_path / "source", frames=2))
    assert (single.num_examples, pairs.num_examples) == ({"train": 3}, {"train": 2})
    assert prepare(_config(tmp_path, **sizes)).directory == single.directory
    assert prepare(_config(tmp_path, frames=2, **sizes)).directory == pairs.directory


def test_unknown_datasets_and_absent_splits_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"config\.data\.dataset: found 'cars', expected one of streets"
    ):
        prepare(_config(tmp_path, dataset="cars"))
    _write_source(tmp_path / "source", 2)
    dataset = prepare(_config(tmp_path, tmp_path / "source"))
    with pytest.raises(InputError, match="found the splits train, test, expected 'validation'"):
        dataset.source("validation")


def test_sizes_that_cannot_be_are_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.data\.frames: found 0, expected 1 to 1,000"):
        prepare(_config(tmp_path, frames=0))
    with pytest.raises(
        InputError, match=r"config\.data\.height: found -16, expected 16 to 16,384 pixels"
    ):
        prepare(_config(tmp_path, height=-16))
    with pytest.raises(InputError, match=r"found 0, expected a size to render streets at"):
        prepare(_config(tmp_path, dataset="streets", height=0, width=0))


def test_a_bad_source_leaves_nothing_behind(tmp_path):
    _write_source(tmp_path / "source", 20)
    bad = tmp_path / "source/train/seq/label/0015.png"
    bad.write_bytes(images.encode_png(np.full((16, 24, 1), 50, np.uint8)))
    with pytest.raises(InputError, match=f"{bad}: found label 50, expected only the 19 ids"):
        prepare(_config(tmp_path / "data", tmp_path / "source"))
    assert not list((tmp_path / "data").glob("**/*array_record*"))
    _write_source(tmp_path / "source", 20)
    assert prepare(_config(tmp_path / "data", tmp_path / "source")).num_examples["train"] == 20


@pytest.mark.parametrize("damage", ["truncate", "remove", "info", "metadata"])
def test_a_damaged_prepared_dataset_is_named(damage, tmp_path):
    _write_source(tmp_path / "source", 3)
    directory = prepare(_config(tmp_path, tmp_path / "source")).directory
    records = next(directory.glob("folder-train*"))
    if damage == "truncate":
        records.write_bytes(records.read_bytes()[:-1000])
    elif damage == "remove":
        records.unlink()
    elif damage == "info":
        (directory / "dataset_info.json").write_text("{")
    else:
        (directory / "metadata.json").unlink()
    with pytest.raises(InputError) as error:
        prepare(_config(tmp_path, tmp_path / "source"))
    assert str(error.value).startswith(f"{directory}: ")
    assert "remove this folder to prepare it afresh" in str(error.value)


def test_a_prepared_dataset_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError) as error:
        prepared.open_dataset(tmp_path / "nowhere")
    assert str(error.value) == (
        f"{tmp_path}/nowhere: not found; expected the folder of a prepared dataset"
    )


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path):
    _write_source(tmp_path / "source", 2)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/folder/.*Not a directory.*room to write"):
        prepare(_config(tmp_path / "file", tmp_path / "source"))


# What a subprocess runs: prepares `source`, slowly enough to be caught in the middle.
PREPARE_SLOWLY = """
import sys, time
from ml_collections import config_dict
from sflow_jax import prepare
from sflow_jax.data import workers
map_in_processes = workers.map_in_processes
def map_slowly(*arguments):
    for result in map_in_processes(*arguments):
        time.sleep(0.05)
        yield result
workers.map_in_processes = map_slowly
config = config_dict.ConfigDict(eval(sys.argv[1]))
print(prepare.prepare(config).num_examples)
"""


def _start(config: config_dict.ConfigDict, program: str = PREPARE_SLOWLY) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, repr(config.to_dict())],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(data_dir: pathlib.Path, pattern: str) -> pathlib.Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(data_dir.glob(pattern))
        if found:
            return found[0]
        time.sleep(0.02)
    raise TimeoutError(pattern)


@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_kill_9_leaves_nothing_that_passes_for_a_dataset(moment, tmp_path):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    _write_source(source, 100)
    process = _start(_config(data_dir, source))
    _wait_for(data_dir, "folder/*/incomplete.*/*folder-train*")
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    with pytest.raises(InputError, match="found no prepared"):
        prepare(_config(data_dir))
    assert list(data_dir.glob("folder/*/incomplete.*"))
    dataset = prepare(_config(data_dir, source))
    assert not list(data_dir.glob("folder/*/incomplete.*"))
    _assert_equal(dataset, prepare(_config(tmp_path / "undisturbed", source)))


def test_a_dataset_has_its_sums_before_its_name(tmp_path, monkeypatch):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    _write_source(source, 3)
    write_manifest = manifest.write_manifest

    def and_look(folder):
        write_manifest(folder)
        assert not list(data_dir.glob("folder/24x16-*/1.0.0"))

    monkeypatch.setattr(manifest, "write_manifest", and_look)
    directory = prepare(_config(data_dir, source)).directory
    assert manifest.has_manifest(directory)
    manifest.check_contents(directory)
    listed = json.loads((directory / manifest.MANIFEST_FILE).read_text())["files"]
    assert {*listed, manifest.MANIFEST_FILE} == {path.name for path in directory.iterdir()}


def test_a_second_process_waits_for_the_first(tmp_path):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    _write_source(source, 60)
    first = _start(_config(data_dir, source))
    incomplete = _wait_for(data_dir, "folder/*/incomplete.*")
    second = _start(_config(data_dir, source))
    time.sleep(0.2)
    assert incomplete.exists()
    (printed, _), (also_printed, notes) = first.communicate(), second.communicate()
    assert printed == also_printed == "{'train': 60, 'test': 1}\n"
    assert "waiting: another process prepares" in notes
    assert "Preparing folder" not in notes


def test_a_full_disk_is_one_error(tmp_path):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    _write_source(source, 60)
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n" + PREPARE_SLOWLY
    )
    _, stderr = _start(_config(data_dir, source), program).communicate()
    message = stderr.strip().splitlines()[-1]
    assert message.startswith(f"sflow_jax.errors.InputError: {data_dir}/folder/")
    assert "File too large" in message
    assert message.endswith("expected a folder with room to write")
    assert not list(data_dir.glob("**/*array_record*"))


def test_neither_preparing_nor_reading_loads_tensorflow(tmp_path):
    _write_source(tmp_path / "source", 2)
    program = PREPARE_SLOWLY + (
        "dataset = prepare.prepare(config)\n"
        "from sflow_jax.data import pipeline\n"
        "next(pipeline.train_iterator(dataset.source('train'), batch_size=2, seed=0))\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    process = _start(_config(tmp_path / "data", tmp_path / "source"), program)
    process.communicate()
    assert process.returncode == 0


def test_processes_read_a_prepared_dataset(tmp_path):
    _write_source(tmp_path / "source", 2)
    source = prepare(_config(tmp_path, tmp_path / "source")).source("train")
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == 2
    np.testing.assert_array_equal(copy[1]["image"], source[1]["image"])


def _run_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sflow_jax.prepare", "--config", "configs/default.py"]
    return subprocess.run(
        [*command, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )


def test_what_the_command_exports_is_the_same_dataset_again(tmp_path):
    _write_source(tmp_path / "source", 3)
    arguments = [f"--config.data.{field}" for field in ("dataset=folder", "height=32", "width=48")]
    arguments += [f"--config.data.data_dir={tmp_path}", f"--config.data.source={tmp_path}/source"]
    done = _run_command(*arguments, f"--export={tmp_path}/exported")
    assert done.returncode == 0, done.stderr
    assert "3 train, 1 test examples of 48x32" in done.stdout
    assert "Preparing folder 48x32: 100%" in done.stderr
    for noise in ("WARNING", "I1", "Dataset folder downloaded", "Generating"):
        assert noise not in done.stdout + done.stderr

    original = prepare(_config(tmp_path, tmp_path / "source", height=32, width=48))
    again = prepare(_config(tmp_path / "again", tmp_path / "exported", height=0, width=0))
    _assert_equal(again, original)

    refused = _run_command(*arguments, f"--export={tmp_path}/exported")
    assert refused.returncode == 2
    assert refused.stderr.endswith(
        f"error: {tmp_path}/exported: already exists, expected a new or empty folder\n"
    )


def test_exported_streets_are_a_folder_dataset(tmp_path):
    sizes = {"num_train": 2, "num_validation": 0, "num_test": 1, "streets_seed": 0}
    streets = prepare(_config(tmp_path, dataset="streets", height=32, width=64, **sizes))
    prepared.export(streets, tmp_path / "exported")
    again = prepare(_config(tmp_path, tmp_path / "exported", height=0, width=0))
    assert again.num_examples == streets.num_examples == {"train": 2, "test": 1}
    assert again.class_table == labels.STREETS
    for split in again.num_examples:
        for one, other in zip(again.source(split), streets.source(split), strict=True):
            assert one["name"] == other["name"]
            for key in ("image", "label", "cg", "instance"):
                np.testing.assert_array_equal(one[key], other[key])


def test_the_command_reports_a_mistake_in_one_line(tmp_path):
    done = _run_command(f"--config.data.source={tmp_path}/nowhere")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/nowhere: found nothing, expected a folder (config.data.source)\n"
    )
    assert os.listdir(tmp_path) == []


def test_check_reports_and_stores_nothing(tmp_path):
    source = tmp_path / "source"
    _write_source(source, 2)
    (source / "train/seq/label/0001.png").write_bytes(
        images.encode_png(np.full((16, 24, 1), 200, np.uint8))
    )
    options = ["--check", "--output", str(tmp_path / "report")]
    for name, value in _config(tmp_path / "data", source).items():
        options.append(f"--config.data.{name}={value}")
    command = [sys.executable, "-m", "sflow_jax.prepare", "--config", "configs/folder.py", *options]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"error: {source}: found faults in 1 of its files, expected none" in done.stderr
    assert "label/0001.png: found label 200" in done.stdout
    assert (tmp_path / "report/report.html").is_file()
    assert not (tmp_path / "data").exists()


def test_a_file_system_without_locks_is_the_reason_given(tmp_path, monkeypatch):
    _write_source(tmp_path / "source", 1)

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(
        InputError, match=r"without locks \(No locks available\), expected one with"
    ):
        prepare(_config(tmp_path, tmp_path / "source"))
