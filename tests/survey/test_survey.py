"""What `prepare --check` finds, on a folder whose contents are known."""

import shutil

import numpy as np
import pytest

from configs import folder
from sflow_jax.data import images, labels
from sflow_jax.data.folder import Folder
from sflow_jax.survey import measures
from sflow_jax.survey.findings import findings
from sflow_jax.survey.report import make_report
from tests.tiny_run import write_frame

TABLE = labels.ClassTable(
    "toy",
    (
        labels.LabelClass(0, "void", (0, 0, 0), None),
        labels.LabelClass(2, "road", (128, 64, 128), 0),
        labels.LabelClass(3, "car", (0, 0, 142), 1),
        labels.LabelClass(7, "moon", (9, 9, 9), 2),
    ),
)
SIZE = 64, 96


def picture(shift: int = 0, levels: int = 255) -> np.ndarray:
    """Smooth waves that move to the right, with three bright columns: known edges and motion."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    waves = np.sin((x - shift) / 7) + np.cos(y / 9 + (x - shift) / 23)
    return np.repeat(((waves + 2) / 4 * levels)[..., None], 3, -1).astype(np.uint8)


def label_map(car_columns: int) -> np.ndarray:
    label = np.full((*SIZE, 1), 2, np.uint8)
    label[:, :car_columns] = 3
    label[:8] = 0
    return label


@pytest.fixture
def source(tmp_path):
    for split, sequence, cars in (("train", "a", 24), ("test", "b", 48)):
        for index in range(2):
            frame = {
                "image": picture(3 * index + (sequence == "b")),
                "label": label_map(cars),
                "cg": np.full((*SIZE, 3), 100, np.uint8),
            }
            write_frame(tmp_path / split / sequence, f"{index:04d}", frame)
    (tmp_path / "classes.json").write_text(TABLE.to_json())
    return tmp_path


def survey(source, frames=2, **changes):
    config = folder.get_config()
    config.edges.threshold = 0.02
    config.update_from_flattened_dict(changes)
    height, width = SIZE
    return measures.take(Folder(source=source, height=height, width=width, frames=frames), config)


def test_classes_edges_and_motion_are_those_of_the_files(source):
    found = survey(source)
    pixels = found.pixels("train") / found.pixels("train").sum()
    assert pixels[[0, 2, 3]] == pytest.approx([1 / 8, 7 / 8 * 3 / 4, 7 / 8 / 4])
    (pair,) = found.splits["train"]
    gray = picture().astype(np.float64)[..., 0] / 255
    padded = np.pad(gray, 1, mode="reflect")
    sums = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    assert pair.edges == pytest.approx((abs(sums - 4 * gray) > 0.02).mean(), abs=0.02)
    assert pair.cg_edges == 0
    assert pair.motion[0] == pytest.approx(3, abs=0.5)  # pixels to the right
    assert not found.faults


def test_what_stands_out_is_said_with_what_helps(source):
    shutil.copytree(source / "train/a", source / "validation/c")
    text = "\n".join(findings(survey(source, frames=1)))
    assert "no label map has: moon" in text
    assert "pictures of validation are also in train, such as c/0000" in text
    assert "--config.edges.quantile=0.9" in text
    write_frame(source / "test/b", "0001", {"label": np.full((*SIZE, 1), 7, np.uint8)})
    assert "test has classes that train lacks: moon" in "\n".join(findings(survey(source)))
    text = "\n".join(findings(survey(source, **{"edges.quantile": 0.9})))
    assert "edges" not in text


def test_all_files_with_faults_are_named_once(source):
    bad = source / "train/a/label/0001.png"
    bad.write_bytes(images.encode_png(np.full((*SIZE, 1), 99, np.uint8)))
    broken = source / "test/b/image/0000.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    found = survey(source, frames=1)
    assert sorted(fault.partition(": ")[0] for fault in found.faults) == [str(broken), str(bad)]
    assert len(found.splits["train"]) == 1
    report = make_report(found, "title", "command")
    assert report.notes[0].startswith("Files with faults: 2. ")
    assert "no label map has" not in "\n".join(report.notes)  # those of the faults may
    assert [row[0] for row in report.tables[0].rows] == list(found.faults)


def test_where_nothing_can_be_read_nothing_else_is_said(source):
    for path in source.glob("*/*/image/*.png"):
        path.write_bytes(path.read_bytes()[:-20])
    report = make_report(survey(source, frames=1), "title", "command")
    faults = "Files with faults: 4. They have to be mended before training."
    assert list(report.notes) == [faults, "Nothing could be read."]
    assert [table.title for table in report.tables] == ["Faults"]


def test_the_report_has_plots_and_every_class(source):
    report = make_report(survey(source), "title", "command")
    assert set(report.pictures) == {"scenes", "classes", "edges", "motion"}
    rows = {row[0]: row for row in report.tables[1].rows}
    assert rows["car"] == ["car", "3", "1", "21.88", "43.75", "100", "100"]
    assert rows["void"][2] == "-"
    still = make_report(survey(source, frames=1), "title", "command")
    assert "motion" not in still.pictures
