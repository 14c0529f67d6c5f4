"""The whole table of golden losses; `test_loop.py` compares what its runs log with it as well."""

import pytest

from tests.training import golden_losses


@pytest.mark.long
def test_losses_are_those_that_they_were(tmp_path):
    for stage, found in golden_losses.train(tmp_path).items():
        assert len(found) == golden_losses.NUM_STEPS
        golden_losses.check(stage, found)
