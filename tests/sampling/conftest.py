"""One run with tiny networks for all tests of sampling."""

import pytest

from sflow_jax.sampling import job
from tests.tiny_run import restore_fast, tiny_config, write_run


@pytest.fixture(scope="package")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    write_run(workdir, tiny_config())
    return workdir


@pytest.fixture(scope="package")
def model(workdir):
    return restore_fast(workdir)


@pytest.fixture(autouse=True)
def _compile_once(model, workdir, monkeypatch):
    """All tests that restore this run share one jitted translation."""

    def restore(folder, step=None, changes=None):
        return model if folder == workdir else restore_fast(folder, step)

    monkeypatch.setattr(job, "restore_model", restore)
