import cv2
import numpy as np
import pytest

from sflow_jax.data.input_frames import find_clips, find_groups, list_frames
from sflow_jax.errors import InputError


def _write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = 1 if "label" in path.relative_to(folder).parts else 3
        picture = np.zeros((16, 24, channels), np.uint8)
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def _list(folder, with_real=False):
    return list_frames(folder, find_groups(folder), "cg", with_real)


def test_frames_have_any_format_and_lie_in_folders_below(tmp_path, capsys):
    _write(tmp_path, "label/1.png", "cg/1.jpg", "label/sub/2.png", "cg/sub/2.webp")
    (tmp_path / "cg/sub/3.heic").touch()
    frames = _list(tmp_path)
    assert [frame.name for frame in frames] == ["1", "sub/2"]
    assert [frame.edges.name for frame in frames] == ["1.jpg", "2.webp"]
    assert [clip.name for clip in find_clips(frames)] == [".", "sub"]
    assert "1 file is not read (1 .heic)" in capsys.readouterr().err


def test_real_images_may_have_an_ending_and_be_absent(tmp_path):
    _write(tmp_path, "label/1_gtFine_labelIds.png", "label/2_gtFine_labelIds.png")
    _write(tmp_path, "cg/1.png", "cg/2.png", "image/2_leftImg8bit.jpg")
    frames = _list(tmp_path, with_real=True)
    assert [frame.name for frame in frames] == ["1", "2"]
    assert [frame.real and frame.real.name for frame in frames] == [None, "2_leftImg8bit.jpg"]


def test_clips_may_be_numbered_in_steps(tmp_path):
    _write(tmp_path, *(f"{key}/{number:04}.png" for key in ("label", "cg") for number in (0, 5)))
    frames = _list(tmp_path)
    with pytest.raises(InputError, match="expected number 1: the frames of a sequence must be"):
        find_clips(frames)
    for step in (5, 0):
        (clip,) = find_clips(frames, step)
        assert [frame.name for frame in clip.frames] == ["0000", "0005"]


def test_two_folders_may_not_name_the_same_frame(tmp_path):
    _write(tmp_path, "label/b/1.png", "cg/b/1.png", "b/label/1.png", "b/cg/1.png")
    with pytest.raises(
        InputError, match=r"label/1\.png: found the frame 'b/1' in .*1\.png too, ex"
    ):
        _list(tmp_path)
