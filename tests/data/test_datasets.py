"""The list of datasets: an entry is all that a new one needs beside its builder."""

import subprocess
import sys

import numpy as np
import pytest

from configs import default
from sflow_jax import configuration
from sflow_jax.data import builder, datasets, labels
from sflow_jax.data.example import Schema
from sflow_jax.errors import InputError
from sflow_jax.options import OPTIONS
from sflow_jax.prepare import prepare
from tests.conftest import PROJECT_ROOT


def _gray_example(level: int) -> dict:
    image = np.full((1, 16, 24, 3), level, np.uint8)
    return {"image": image, "label": image[..., :1] * 0, "name": f"gray/{level:03d}"}


class Grays(builder.ExampleBuilder, skip_registration=True):
    """As many plain images as the config says."""

    def __init__(self, *, height, width, frames, count, data_dir):
        self._count = count
        super().__init__(
            schema=Schema(height, width, frames),
            class_table=labels.STREETS,
            contents=str(count),
            data_dir=data_dir,
        )

    @property
    def split_sizes(self):
        return {"train": self._count}

    def recipe(self, split):
        return _gray_example, range(self._count)


def test_a_dataset_is_added_by_one_entry(tmp_path, monkeypatch):
    entry = datasets.Dataset(
        f"{__name__}:Grays", has_source=False, arguments={"count": "num_train"}
    )
    monkeypatch.setitem(datasets.DATASETS, "grays", entry)
    config = default.get_config()
    config.data.update(dataset="grays", height=16, width=24, num_train=3, data_dir=str(tmp_path))
    configuration.check(config)
    prepared = prepare(config.data)
    assert prepared.num_examples == {"train": 3}
    assert [example["image"].max() for example in prepared.source("train")] == [0, 1, 2]


def test_a_dataset_that_is_not_in_the_list_is_refused():
    config = default.get_config()
    config.data.dataset = "kitti"
    expected = "expected one of streets, cityscapes, synthia, folder$"
    with pytest.raises(InputError, match=rf"^config\.data\.dataset: found 'kitti', {expected}"):
        configuration.check(config)
    with pytest.raises(InputError, match=rf"^config\.data\.dataset: found 'kitti', {expected}"):
        prepare(config.data)


def test_every_entry_names_a_builder_and_fields_of_the_config():
    for name, dataset in datasets.DATASETS.items():
        made = dataset.builder_class()
        assert issubclass(made, builder.ExampleBuilder)
        assert made.name == name
        assert OPTIONS.keys() >= {f"data.{field}" for field in dataset.arguments.values()}


def test_the_list_imports_no_builder():
    code = (
        "import sys; import sflow_jax.data.datasets; "
        "sys.exit('tensorflow_datasets' in sys.modules or 'cv2' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0
    )
