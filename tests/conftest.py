"""Fixtures shared by all tests."""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One cache of compiled functions for all tests, deleted in the end by the process that made it.
if "SFLOW_TEST_CACHE" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="sflow_jax-tests-")
    os.environ["XDG_CACHE_HOME"] = os.environ["SFLOW_TEST_CACHE"] = _CACHE.name

import pytest

from tests.fast_jit import FAST_FLAGS

# Before JAX starts: eight virtual devices, so that data parallelism is tested on any machine, and
# fast compilation of everything, be it a single operation.
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {FAST_FLAGS}")

# XLA divides sums among as many threads: the same last bits on any number of cores.
os.environ.setdefault("NPROC", "2")

PROJECT_ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of a machine on which no result may depend: no UTF-8, a far time zone, a home not to be written.
UNUSUAL_ENVIRONMENT = {"LC_ALL": "C", "TZ": "Pacific/Chatham", "HOME": "/dev/null/home"}

# Whole trainings, and networks of full size.
LONGEST = (
    "test_loop.py",
    "test_distributed.py",
    "test_parallel.py",
    "test_real_sequence.py",
    "test_evaluate_networks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: of several workers none is then left alone with one at the end.

    Workers take from the end of what another has left; what comes first stays together, and its
    fixtures are made once.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder with real sample frames; skips the test where it is absent."""
    default = PROJECT_ROOT.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("SFLOW_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real samples: {folder} does not exist (set SFLOW_TEST_DATA)")
    return folder
