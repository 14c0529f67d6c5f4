import numpy as np
import tensorflow_datasets as tfds

from sflow_jax.data import builder, example, flow, labels

SINGLE = example.Schema(2, 3)


class Counting(builder.ExampleBuilder, skip_registration=True):
    """Two splits whose examples are numbered."""

    split_sizes = {"train": 5, "test": 1}  # noqa: RUF012

    def recipe(self, split):
        def make_example(index):
            image = np.full((1, 2, 3, 3), index, np.uint8)
            return {"image": image, "label": image[..., :1], "name": f"{split}/{index}"}

        return make_example, range(self.split_sizes[split])


def _make(data_dir, schema=SINGLE, contents="abc") -> builder.ExampleBuilder:
    return Counting(
        schema=schema,
        class_table=labels.STREETS,
        contents=contents,
        source="/raw",
        data_dir=data_dir,
    )


def _build(data_dir) -> builder.ExampleBuilder:
    counting = _make(data_dir)
    counting.download_and_prepare()
    return counting


def test_examples_are_stored_in_order_and_read_without_the_builder(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_EXAMPLES_PER_SHARD", 2)
    counting = _build(tmp_path)
    directory = tmp_path / "counting" / "3x2-ba7816bf" / "1.0.0"  # SHA-256 of "abc"
    assert counting.data_path == directory
    assert len(list(directory.glob("counting-train.array_record-*-of-00003"))) == 3

    read_only = tfds.builder_from_directory(directory)
    assert {name: split.num_examples for name, split in read_only.info.splits.items()} == {
        "train": 5,
        "test": 1,
    }
    source = read_only.as_data_source("train")
    assert [record["name"].decode() for record in source] == [f"train/{i}" for i in range(5)]
    assert [int(record["image"][0].max()) for record in source] == list(range(5))


def test_the_metadata_tell_what_the_examples_mean(tmp_path):
    metadata = tfds.builder_from_directory(_build(tmp_path).data_path).info.metadata
    assert labels.ClassTable.from_json(metadata["class_table"]) == labels.STREETS
    assert example.Schema(**metadata["schema"]) == SINGLE
    assert metadata["source"] == "/raw"


def test_a_dataset_is_known_by_its_contents_its_size_and_how_its_flow_is_made(
    tmp_path, monkeypatch
):
    pair = example.Schema(2, 3, frames=2, flow=True)

    def names():
        schemas = (SINGLE, example.Schema(4, 6), pair)
        made = [_make(tmp_path, schema) for schema in schemas]
        return [one.builder_config.name for one in [*made, _make(tmp_path, contents="abd")]]

    before = names()
    assert names() == before
    assert len(set(before)) == 4
    monkeypatch.setitem(flow.FARNEBACK, "winsize", 13)
    changed = [now != then for now, then in zip(names(), before, strict=True)]
    assert changed == [False, False, True, False]
