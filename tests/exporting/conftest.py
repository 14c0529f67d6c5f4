"""A run whose networks have everything that an export has to know, and frames for it."""

import dataclasses

import numpy as np
import pytest

from sflow_jax.runs.palettes import save_palettes
from tests.tiny_run import TABLE, random_frame, restore_fast, tiny_config, write_run

CHANGES = {
    "edges.quantile": 0.85,
    "dned.input": "gray",
    "generator.palette": "classes",
    "generator.upsampling": "resize",
    "data.height": 32,
    "data.width": 40,
}


def _write_run(workdir, **changes):
    write_run(workdir, tiny_config(**CHANGES, **changes))
    palettes = np.random.RandomState(0).uniform(-1, 1, (3, TABLE.num_classes, 3))
    save_palettes(workdir, palettes.astype(np.float32))
    return workdir


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    return _write_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="session")
def model(workdir):
    return restore_fast(workdir)


@pytest.fixture(scope="session")
def local_model(tmp_path_factory):
    """With a local enhancer, which adds features of two sizes."""
    changes = {"generator.kind": "local", "generator.num_local_blocks": 1}
    return restore_fast(_write_run(tmp_path_factory.mktemp("export") / "local", **changes))


@dataclasses.dataclass(frozen=True)
class Frames:
    """What the sampler of the run takes, in its order."""

    label: np.ndarray
    cg: np.ndarray
    weights: np.ndarray
    style: np.ndarray

    @property
    def arrays(self):
        return self.label, self.cg, self.weights, self.style

    def expected(self, model):
        controls = {"weights": self.weights, "style": self.style}
        return np.asarray(model.translate(self.label, self.cg, **controls)["picture"])


def frames(count, size):
    stored = [random_frame(seed, size) for seed in range(count)]
    label, cg = (np.stack([frame[key] for frame in stored]) for key in ("label", "cg"))
    weights = np.random.RandomState(count).uniform(size=6).astype(np.float32)
    return Frames(label, cg, weights, np.arange(count, dtype=np.int32))


def assert_same_pictures(found, expected):
    assert found.dtype == np.uint8
    assert expected.std() > 10
    assert np.abs(found.astype(int) - expected).max() <= 1
