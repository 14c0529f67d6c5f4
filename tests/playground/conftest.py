"""A run whose dataset is there, so that the page has scenes to choose from."""

import pytest

from sflow_jax.playground.scene import Scene
from tests.tiny_run import random_frame, restore_fast, tiny_config, write_run


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("playground") / "run"
    write_run(workdir, tiny_config(**{"dned.input": "edges"}))
    return restore_fast(workdir)


@pytest.fixture(scope="session")
def scene():
    frame = random_frame(0)
    return Scene("street/0001", frame["label"], frame["cg"])
