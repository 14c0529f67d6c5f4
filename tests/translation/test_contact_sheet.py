import dataclasses

import numpy as np
import pytest

from sflow_jax.data.class_map import ClassMap
from sflow_jax.translation.contact_sheet import draw_sheet
from sflow_jax.translation.job import Settings, plan
from sflow_jax.translation.production import produce_missing
from tests.tiny_run import TABLE
from tests.translation.trees import CARLA, SIZE, TO_TINY, ids, picture, relabeled, write_carla

SCALE = 384 // SIZE[1]
PITCH = SIZE[0] * SCALE + 2 + 16  # the picture, a gap and a title


@pytest.fixture
def made(workdir, tmp_path):
    settings = Settings(
        workdir, write_carla(tmp_path / "in"), "carla", None, ClassMap(TO_TINY, {}), batch_size=2
    )
    translation = plan(settings, tmp_path / "set", "--class_map")
    lines = sorted(produce_missing(translation), key=lambda line: line.frame)
    agreements = (0.9, 0.2, 0.5)
    return translation, [
        dataclasses.replace(line, agreement=agreement)
        for line, agreement in zip(lines, agreements, strict=True)
    ]


def cell(sheet, row, column):
    """One pixel of each block of a picture that was multiplied up."""
    top, left = 32 + row * PITCH, column * (SIZE[1] * SCALE + 2)
    shown = sheet[top : top + SIZE[0] * SCALE, left : left + SIZE[1] * SCALE]
    return shown[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def test_rows_show_labels_and_cg_frames_from_the_least_agreement_on(made):
    sheet = draw_sheet(*made)
    for row, index in enumerate((1, 2, 0)):
        label = relabeled(ids(index, CARLA), CARLA, TABLE, TO_TINY)
        np.testing.assert_array_equal(cell(sheet, row, 0), TABLE.palette[label])
        np.testing.assert_array_equal(cell(sheet, row, 1), picture(index))
    titles = [sheet[16 + row * PITCH : 32 + row * PITCH] for row in range(3)]
    assert all((title < 128).any() for title in titles)
    assert (titles[0] != titles[1]).any()
