"""A tiny `streets` dataset and its config, for the tests of training."""

import pytest

from configs import streets


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def config(data_dir):
    config = streets.get_test_config()
    config.data.data_dir = str(data_dir)
    return config
