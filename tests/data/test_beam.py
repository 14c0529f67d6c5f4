"""Datasets that Apache Beam writes, compared with those that this machine's cores write."""

import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import config_dict

from configs import default
from sflow_jax.data import beam, builder
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError
from sflow_jax.prepare import prepare

PROJECT = pathlib.Path(__file__).resolve().parents[2]
TWO_PROCESSES = ("runner=DirectRunner", "direct_num_workers=2")


@pytest.fixture
def apache_beam():
    """Skips a test where the extra `beam` is not installed."""
    pytest.importorskip("apache_beam", reason=f"Apache Beam is not installed: {beam.INSTALL}")


@pytest.fixture
def small_shards(monkeypatch):
    """Several files per split; decided by the process that starts the pipeline."""
    monkeypatch.setattr(builder, "_EXAMPLES_PER_SHARD", 2)


def _folder(dataset, data_dir: pathlib.Path, frames: int = 1) -> config_dict.ConfigDict:
    fields = {"dataset": "folder", "source": str(dataset.source), "data_dir": str(data_dir)}
    return config_dict.ConfigDict(
        fields | {"height": 6, "width": 8, "frames": frames, "frame_step": 1}
    )


def _streets(data_dir: pathlib.Path) -> config_dict.ConfigDict:
    sizes = {"height": 32, "width": 48, "frames": 2, "streets_seed": 0}
    numbers = {"num_train": 5, "num_validation": 0, "num_test": 1}
    return _config({"dataset": "streets", "data_dir": str(data_dir)} | sizes | numbers)


def _config(changes: dict) -> config_dict.ConfigDict:
    config = default.get_config().data
    config.update(changes)
    return config


def _digests(dataset: PreparedDataset) -> dict[str, str]:
    files = sorted(pathlib.Path(dataset.directory).iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _assert_equal(first: PreparedDataset, second: PreparedDataset) -> None:
    assert first.num_examples == second.num_examples
    for split in first.num_examples:
        for one, other in zip(first.source(split), second.source(split), strict=True):
            assert one.keys() == other.keys()
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])
    assert _digests(first) == _digests(second)


@pytest.mark.usefixtures("apache_beam", "small_shards")
def test_pairs_of_streets_are_the_same_files_by_two_processes(tmp_path):
    options = (*TWO_PROCESSES, "direct_running_mode=multi_processing")
    through_beam = prepare(_streets(tmp_path / "beam"), beam_options=options)
    assert "streets-train.array_record-00002-of-00003" in _digests(through_beam)
    assert "streets-test.array_record-00000-of-00001" in _digests(through_beam)
    _assert_equal(through_beam, prepare(_streets(tmp_path / "here")))


@pytest.mark.usefixtures("apache_beam", "small_shards")
@pytest.mark.parametrize("frames", [1, 2])
def test_a_folder_is_the_same_files_with_the_default_options(frames, folder_dataset, tmp_path):
    through_beam = prepare(_folder(folder_dataset, tmp_path / "beam", frames), beam_options=())
    assert (
        through_beam.num_examples
        == {
            1: {"train": 6, "validation": 3},
            2: {"train": 4, "validation": 2},
        }[frames]
    )
    _assert_equal(through_beam, prepare(_folder(folder_dataset, tmp_path / "here", frames)))


@pytest.mark.usefixtures("apache_beam", "small_shards")
def test_a_bad_file_is_named_and_nothing_is_left(folder_dataset, tmp_path):
    bad = folder_dataset.source / "train/seq_b/label/f002.png"
    good = bad.read_bytes()
    folder_dataset.write(bad, np.full((6, 8, 1), 50, np.uint8))
    config = _folder(folder_dataset, tmp_path / "data")
    with pytest.raises(
        InputError, match=f"^{bad}: found label 50, expected only the 3 ids"
    ) as error:
        prepare(config, beam_options=TWO_PROCESSES)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == [".lock"]
    with pytest.raises(InputError, match="found no prepared"):
        prepare(_config(config.to_dict() | {"source": ""}))
    bad.write_bytes(good)
    assert prepare(config, beam_options=TWO_PROCESSES).num_examples["train"] == 6


@pytest.mark.usefixtures("apache_beam")
def test_workers_that_wrote_elsewhere_are_noticed(folder_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "_write_or_report", lambda shard: None)
    with pytest.raises(InputError, match=r"folder-train.*-of-00001: not found after Apache Beam"):
        prepare(_folder(folder_dataset, tmp_path / "data"), beam_options=())


@pytest.mark.usefixtures("apache_beam")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["direct_num_worker=2"], "found 'direct_num_worker', expected options of Apache Beam"),
        (["nonsense"], "found 'nonsense', expected options of Apache Beam"),
        (["direct_num_workers=many"], "direct_num_workers: invalid int value: 'many'"),
        (["direct_running_mode=fast"], "direct_running_mode: invalid choice: 'fast'"),
        (["runner=NoRunner"], "NoRunner"),
        (["runner=no.such.Runner"], "no.such.Runner|No module named"),
    ],
)
def test_bad_options_are_named(options, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        prepare(_streets(tmp_path / "data"), beam_options=options)
    assert str(error.value).startswith("--beam_options: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_without_the_package_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"^--beam_options: found no Apache Beam") as error:
        prepare(_streets(tmp_path / "data"), beam_options=())
    assert str(error.value).endswith('pip install -c constraints-beam.txt -e ".[beam]"')
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("apache_beam")
def test_the_command_prepares_with_beam(folder_dataset, tmp_path):
    command = [sys.executable, "-m", "sflow_jax.prepare", "--config", "configs/default.py"]
    fields = _folder(folder_dataset, tmp_path / "data").items()
    command += [f"--config.data.{field}={value}" for field, value in fields]
    done = subprocess.run(
        [*command, "--beam_options=runner=DirectRunner,direct_num_workers=2"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 train, 3 validation examples of 8x6" in done.stdout
    assert done.stderr.splitlines()[-1] == "Apache Beam prepares 9 examples in 2 files"
    assert "apache_beam" not in done.stderr
    refused = subprocess.run(
        [*command, "--beam_options=direct_num_workers=many"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --beam_options: ")
    assert refused.stderr.count("\n") == 1
