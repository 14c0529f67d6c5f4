"""Opening a prepared dataset runs nothing that its files name, and finds what is damaged."""

import json
import pathlib
import random
import re

import numpy as np
import pytest

from sflow_jax.data import builder, labels, prepared
from sflow_jax.errors import InputError
from sflow_jax.manifest import write_manifest
from tests.data.test_builder import SINGLE, Counting

MARK = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def directory(tmp_path):
    counting = Counting(
        schema=SINGLE, class_table=labels.STREETS, contents="abc", data_dir=tmp_path / "data"
    )
    counting.download_and_prepare()
    directory = pathlib.Path(counting.data_path)
    write_manifest(directory)
    return directory


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def with_foreign_classes(directory, tmp_path, monkeypatch):
    """Every class that the files name lies in a module that marks its import."""
    for path in (directory / "features.json", directory / "dataset_info.json"):
        text = re.sub(r'("pythonClassName": )"[^"]*"', r'\1"foreign.Feature"', path.read_text())
        path.write_text(re.sub(r'("moduleName": )"[^"]*"', r'\1"foreign"', text))
    features = json.loads((directory / "features.json").read_text())
    assert "foreign.Feature" in json.dumps(features)
    change_json(directory / "dataset_info.json", lambda info: info.update(features=features))
    write_manifest(directory)
    (tmp_path / "foreign.py").write_text(MARK)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "foreign.ran"


def test_classes_that_the_files_name_are_not_imported(directory, tmp_path, monkeypatch):
    mark = with_foreign_classes(directory, tmp_path, monkeypatch)
    source = prepared.open_dataset(directory).source("train")
    assert [example["name"] for example in source] == [f"train/{i}" for i in range(5)]
    assert not mark.exists()
    again = Counting(
        schema=SINGLE, class_table=labels.STREETS, contents="abc", data_dir=tmp_path / "data"
    )
    assert pathlib.Path(again.data_path) == directory
    assert not mark.exists()
    __import__("foreign")
    assert mark.exists()


def test_features_that_are_not_those_of_the_schema_are_refused(directory):
    change_json(
        directory / "features.json",
        lambda content: content["featuresDict"]["features"].pop("label"),
    )
    write_manifest(directory)
    with pytest.raises(InputError, match=r"features\.json has image, name, metadata\.json image, "):
        prepared.open_dataset(directory)


@pytest.mark.parametrize("place", ["../", "/tmp/"])
def test_files_that_lie_elsewhere_are_refused(directory, place):
    template = place + "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    change_json(
        directory / "dataset_info.json",
        lambda info: info["splits"][0].update(filepathTemplate=template),
    )
    write_manifest(directory)
    with pytest.raises(InputError, match=re.escape(str(directory))):
        prepared.open_dataset(directory)


def test_no_flipped_bit_of_an_example_passes(directory):
    expected = list(prepared.open_dataset(directory).source("train"))
    [shard] = directory.glob("*-train*")
    whole, choose = shard.read_bytes(), random.Random(0)
    found = 0
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[choose.randrange(64, 1064)] ^= 1 << choose.randrange(8)  # of the records
        shard.write_bytes(flipped)
        with pytest.raises(InputError, match=r"train.*: damaged: its SHA-256 is"):
            prepared.open_dataset(directory, verify=True)
        source = prepared.open_dataset(directory).source("train")
        for index, other in enumerate(expected):
            try:
                read = source[index]
            except InputError:
                found += 1
            else:
                np.testing.assert_array_equal(read["image"], other["image"])
    assert found > 20


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_is_damaged_while_it_is_read_is_named(directory, damage):
    source = prepared.open_dataset(directory).source("train")
    [shard] = directory.glob("*-train*")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:100])
    else:
        shard.unlink()
    with pytest.raises(InputError, match=r"example 0 of 'train': found .*; expected a whole"):
        source[0]


def test_what_is_not_a_prepared_dataset_is_not_advised_to_be_removed(directory, tmp_path):
    (directory / "metadata.json").write_text("{")
    with pytest.raises(InputError, match="remove this folder to prepare it afresh"):
        prepared.open_dataset(directory)
    (directory / "notes.txt").touch()
    with pytest.raises(InputError, match=f"expected {builder.WHOLE}$"):
        prepared.open_dataset(directory)
    run = tmp_path / "run"
    (run / "checkpoints/4").mkdir(parents=True)
    with pytest.raises(InputError, match=f"expected {builder.WHOLE}$"):
        prepared.open_dataset(run)
