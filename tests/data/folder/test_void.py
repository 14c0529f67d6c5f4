"""Ids without a meaning, such as 255, from files of label maps to losses and scores."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data import folder, labels, prepared
from sflow_jax.segmentation.fitting import cross_entropy
from sflow_jax.segmentation.scores import confusion_matrix


@pytest.fixture
def void_dataset(folder_dataset):
    """The dataset with 255 and 200 in its files in place of void, and no class void."""
    table = json.loads(folder_dataset.table.to_json())
    table = {"name": "toy", "classes": table["classes"][1:], "void_ids": [200, 255]}
    (folder_dataset.source / "classes.json").write_text(json.dumps(table))
    for index, path in enumerate(sorted(folder_dataset.source.glob("*/*/label/*.png"))):
        split, sequence = path.parts[-4:-2]
        label = folder_dataset.arrays[split, f"{sequence}/{path.stem}"]["label"]
        folder_dataset.write(path, np.where(label == 0, (200, 255)[index % 2], label).astype("u1"))
    builder = folder.Folder(
        source=folder_dataset.source, height=6, width=8, data_dir=folder_dataset.data_dir
    )
    builder.download_and_prepare()
    return folder_dataset, prepared.open_dataset(builder.data_path)


def test_void_is_one_channel_and_neither_trained_on_nor_scored(void_dataset):
    files, dataset = void_dataset
    table = dataset.class_table
    assert table.num_classes == 8  # ids 3 and 7, and void in a gap below
    source = dataset.source("train")
    for index in range(len(source)):
        label = source[index]["label"]
        original = files.arrays["train", source[index]["name"]]["label"]
        np.testing.assert_array_equal(label[0], original)  # where void is 0

        one_hot = np.asarray(jax.nn.one_hot(label[..., 0], table.num_classes))
        assert (one_hot.sum(-1) == 1).all()  # an id outside would be no class at all
        np.testing.assert_array_equal(one_hot[0, ..., table.void.id], original[..., 0] == 0)

        eval_ids = table.eval_lookup[label[..., 0]]
        is_void = eval_ids == labels.VOID
        np.testing.assert_array_equal(is_void[0], original[..., 0] == 0)
        gradient = jax.grad(cross_entropy)(jnp.zeros((*label.shape[:3], 2)), eval_ids, np.ones(2))
        assert not gradient[is_void].any()
        assert gradient[~is_void].all()
        matrix = confusion_matrix(eval_ids, np.zeros_like(eval_ids), 2)
        assert matrix[2].sum() == is_void.sum()  # counted apart
        assert matrix[:2].sum() == (~is_void).sum()


def test_a_far_void_class_is_said_to_cost_channels(folder_dataset, capsys):
    table = folder_dataset.table.to_json().replace('"id": 0', '"id": 255')
    (folder_dataset.source / "classes.json").write_text(table)
    folder.Folder(source=folder_dataset.source, height=6, width=8, data_dir=folder_dataset.data_dir)
    note = capsys.readouterr().err
    assert "has 256 channels for 3 classes" in note
    assert '"void_ids": [255] in place of the class 255' in note
