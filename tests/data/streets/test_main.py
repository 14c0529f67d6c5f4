import subprocess
import sys
import weakref

import numpy as np
import pytest

from sflow_jax.data import images, labels
from sflow_jax.data.streets import __main__ as drive
from sflow_jax.data.streets import render_clip, simulator
from sflow_jax.data.streets.plan import FARTHEST
from sflow_jax.data.streets.scene import sample_scene
from sflow_jax.errors import InputError

SIZE = {"height": 24, "width": 48}


def read_frame(folder, index):
    paths = {key: folder / key / f"{index:06d}.png" for key in ("label", "cg", "image", "instance")}
    return {
        "label": images.read_label_map(paths["label"], labels.STREETS),
        "cg": images.read_color(paths["cg"]),
        "image": images.read_color(paths["image"]),
        "instance": images.read_instance_map(paths["instance"]),
    }


def test_the_files_are_the_frames_of_one_clip(tmp_path):
    drive.write_drive(tmp_path / "drive", 7, num_frames=3, **SIZE)
    clip = render_clip(7, num_frames=3, **SIZE)
    assert len([p for p in (tmp_path / "drive").rglob("*") if p.is_file()]) == 3 * 4
    for index in range(3):
        for key, array in read_frame(tmp_path / "drive", index).items():
            np.testing.assert_array_equal(array, clip[key][index], strict=True)
    assert (clip["image"][0] != clip["image"][1]).mean() > 0.5  # it drives


def test_frames_are_not_kept_once_they_are_written(monkeypatch, tmp_path):
    live, most = set(), []

    def render_frames(*args, **options):
        for index, arrays in enumerate(original(*args, **options)):
            live.add(index)
            weakref.finalize(arrays["image"], live.discard, index)
            most.append(len(live))
            yield arrays
            del arrays

    original = simulator.render_frames
    monkeypatch.setattr(simulator, "render_frames", render_frames)
    drive.write_drive(tmp_path / "drive", 7, num_frames=12, height=8, width=16)
    assert len(most) == 12
    assert max(most) <= 3


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "label").mkdir()
    with pytest.raises(InputError) as error:
        drive.write_drive(tmp_path, 7, num_frames=1, **SIZE)
    assert str(error.value) == f"{tmp_path}: already exists, expected a new or empty folder"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/drive: .*; expected a folder with room to write"):
        drive.write_drive(tmp_path / "file/drive", 7, num_frames=1, **SIZE)


def test_the_command_shows_its_progress_and_knows_where_the_street_ends(tmp_path):
    def command(*options):
        return subprocess.run(
            [sys.executable, "-m", "sflow_jax.data.streets", "--output", str(tmp_path), *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    result = command("--num_frames=2", "--height=16", "--width=32", "--seed=3")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path}: 2 frames\n"
    assert "frame/s" in result.stderr
    expected = render_clip(3, num_frames=2, height=16, width=32)["image"][1]
    np.testing.assert_array_equal(read_frame(tmp_path, 1)["image"], expected)
    result = command("--height=15")  # less than sampling takes
    assert result.returncode == 2
    assert "flag --height=15: 15 is not an integer in the range [16, 16384]" in result.stderr
    result = command("--num_frames=121")
    assert result.returncode == 2
    assert "--num_frames=121: 121 is not an integer in the range [1, 120]" in result.stderr


def test_the_longest_drive_stays_in_its_street():
    for seed in range(50):
        scene = sample_scene(seed)
        end = scene.drive.pose(simulator.LONGEST_DRIVE - 1)[0][2]
        assert end < FARTHEST - 30, seed
