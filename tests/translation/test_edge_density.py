import dataclasses

import numpy as np
import pytest

from sflow_jax.data.input_frames import InputFrame
from sflow_jax.translation import edge_density
from sflow_jax.translation.edge_density import EdgeDensity, compare_edges
from tests.tiny_run import tiny_config
from tests.translation.trees import SIZE, write


def stripes(period):
    """A column of light in every so many: three of `period` columns are edges."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, period // 2 :: period] = 255
    return image


@pytest.fixture
def measured(model, tmp_path, monkeypatch):
    """CG frames with stripes in every tenth column, training images in every fifth."""
    write(tmp_path / "cg.png", stripes(10))
    frame = InputFrame("x", tmp_path / "cg.png", tmp_path / "cg.png", None, SIZE)
    (tmp_path / "data").mkdir()
    examples = [{"image": stripes(5)[None]}] * 3

    class Dataset:
        def source(self, split):
            return {"train": examples}[split]

    monkeypatch.setattr(edge_density, "open_dataset", lambda path: Dataset())

    def measure(**options):
        changed = dataclasses.replace(
            model, config=tiny_config(**options), dataset=str(tmp_path / "data")
        )
        return compare_edges(changed, [frame])

    return measure


def test_flat_cg_frames_are_given_the_density_of_training_images(measured):
    found = measured(**{"dned.input": "edges"})
    assert (found.cg, found.training) == pytest.approx((0.3, 0.6))
    assert found.proposal == pytest.approx(0.4)
    assert "30.0 % of the pixels of CG frames, 60.0 % of training images" in found.describe()
    assert "--edge_quantile 0.4 gives CG frames as many" in found.describe()


def test_nothing_is_proposed_where_it_would_change_nothing(measured):
    assert measured(**{"dned.input": "gray"}).proposal is None
    assert measured(**{"dned.input": "edges", "edges.quantile": 0.8}).proposal is None
    similar = EdgeDensity(0.1, None, cg=0.11, training=0.12, matters=True)
    assert similar.proposal is None
    assert EdgeDensity(0.1, None, cg=0.11, training=None, matters=True).proposal is None
