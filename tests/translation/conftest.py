"""One run with tiny networks, and a segmenter that sees road everywhere."""

import numpy as np
import pytest

from sflow_jax.evaluation.segmenters import NamedSegmenter
from sflow_jax.sampling import job as sampling_job
from sflow_jax.translation import job
from tests.tiny_run import restore_fast, tiny_config, write_run


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    write_run(workdir, tiny_config(**{"data.dataset": "folder"}))
    return workdir, restore_fast(workdir)


@pytest.fixture
def workdir(run, monkeypatch):
    """The folder of the run; all tests that restore it share one jitted translation."""
    folder, model = run
    monkeypatch.setattr(sampling_job, "restore_model", lambda *_: model)
    return folder


@pytest.fixture
def model(run):
    return run[1]


@pytest.fixture
def sees_road(monkeypatch):
    segmenter = NamedSegmenter("who sees road", lambda pictures: np.zeros(pictures.shape[:3], int))
    monkeypatch.setattr(job, "load_segmenter", lambda *_: segmenter)
