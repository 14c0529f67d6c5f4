import os
import pathlib
import unicodedata

import pytest

from sflow_jax.data import frame_files, listing
from sflow_jax.errors import InputError


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _names(folder, key="image"):
    left_out = listing.LeftOut()
    return list(listing.list_pictures(folder, key, left_out)), left_out.describe()


def test_every_format_and_every_folder_below_is_listed(tmp_path):
    _touch(tmp_path, "b.JPG", "a.png", "sub/deep/c.webp", "1.5.jpeg")
    assert _names(tmp_path) == (["1.5", "a", "b", "sub/deep/c"], "")
    assert _names(tmp_path / "absent") == ([], "")


def test_what_is_not_read_is_counted(tmp_path):
    _touch(tmp_path, "a.png", "a.heic", "b.HEIC", "x.exr", "notes.txt", "README")
    assert _names(tmp_path) == (
        ["a"],
        f"4 files are not read (2 .heic, 1 without ending, 1 .exr), such as {tmp_path}/README",
    )


def test_what_macos_adds_is_no_frame(tmp_path):
    _touch(tmp_path, "a.png", "._a.png", ".DS_Store", "__MACOSX/._a.png", ".hidden/b.png")
    assert _names(tmp_path) == (["a"], "")


@pytest.mark.parametrize("names", [("a.png", "a.PNG"), ("a.png", "a.jpg"), ("s/a.png", "s/a.tif")])
def test_two_files_of_one_frame_are_refused(names, tmp_path):
    _touch(tmp_path, *names)
    with pytest.raises(InputError, match=r"a\.\w+: found a\.\w+ beside it, expected one file for"):
        _names(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_ids_are_pngs(suffix, tmp_path):
    _touch(tmp_path, f"a{suffix}")
    for key in ("label", "instance"):
        with pytest.raises(InputError, match=rf"a{suffix}: found a {suffix} file, expected a PNG"):
            _names(tmp_path, key)
    assert _names(tmp_path) == (["a"], "")


def test_a_folder_that_is_linked_into_itself_is_listed_once(tmp_path):
    _touch(tmp_path, "sub/a.png")
    (tmp_path / "sub/again").symlink_to(tmp_path)
    assert _names(tmp_path) == (["sub/a"], "")


def _paths(**names):
    return {
        key: {name: pathlib.Path(key, f"{name}.png") for name in some}
        for key, some in names.items()
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            {
                "image": ["aachen_0_19_leftImg8bit", "bonn_0_19_leftImg8bit"],
                "label": ["aachen_0_19_gtFine_labelIds", "bonn_0_19_gtFine_labelIds"],
            },
            ["aachen_0_19", "bonn_0_19"],
        ),
        ({"image": ["f_1_rgb", "f_2_rgb"], "label": ["f_1", "f_2"]}, ["f_1", "f_2"]),
        ({"image": ["x.rgb"], "label": ["x.seg"], "cg": ["x-cg"]}, ["x"]),
        # What pairs as it is, is left as it is.
        ({"image": ["a_rgb", "b_rgb"], "label": ["a_rgb", "b_rgb"]}, ["a_rgb", "b_rgb"]),
    ],
)
def test_endings_that_differ_between_folders_are_taken_off(names, expected):
    frames = frame_files.match(_paths(**names), lambda key, name: pathlib.Path(name))
    assert [frame.name for frame in frames] == expected
    assert all(set(frame.files) == set(names) for frame in frames)


def test_a_missing_partner_is_named_with_its_ending():
    paths = _paths(image=["1_rgb", "2_rgb"], label=["1_seg"])
    paths["label"]["3_seg"] = pathlib.Path("label/3_seg.png")
    with pytest.raises(InputError, match=r"^image/3_rgb: not found, expected it as the image of"):
        frame_files.match(paths, lambda key, name: pathlib.Path(key, name))


def test_of_cityscapes_annotations_the_ids_are_taken(tmp_path):
    endings = ("color", "instanceIds", "labelIds", "labelTrainIds")
    _touch(tmp_path, *(f"bonn_1_19_gtFine_{ending}.png" for ending in endings))
    _touch(tmp_path, "bonn_1_19_gtFine_polygons.json")
    names, left_out = _names(tmp_path, "label")
    assert names == ["bonn_1_19_gtFine_labelIds"]
    assert left_out.startswith("3 files are not read (3 .png)")
    assert _names(tmp_path, "instance")[0] == ["bonn_1_19_gtFine_instanceIds"]


def test_names_of_macos_and_linux_are_the_same(tmp_path):
    for form in ("NFC", "NFD"):
        _touch(tmp_path / form, unicodedata.normalize(form, "Überführung_1.png"))
    assert _names(tmp_path / "NFC") == _names(tmp_path / "NFD")


def test_names_in_latin_1_are_readable(tmp_path):
    path = os.fsencode(tmp_path) + "/Straße_1.png".encode("latin-1")
    with open(path, "wb"):
        pass
    assert _names(tmp_path) == (["Straße_1"], "")


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (5, ["f_0", "f_5", "f_10"]),
        (0, ["f_1", "f_2", "f_10"]),
        (0, ["1305031102.175304", "1305031102.9", "1305031103.0"]),
        (0, ["b_2", "c_10", "night"]),
    ],
)
def test_frames_in_steps_or_by_time_stamp(step, names):
    paths = {name: pathlib.Path(f"{name}.png") for name in reversed(names)}
    assert frame_files.consecutive(paths, step) == names


def test_a_gap_says_which_step_the_numbers_have():
    paths = {name: pathlib.Path(f"{name}.png") for name in ("f_0", "f_5", "f_10")}
    with pytest.raises(InputError, match=r"consecutive \(numbered in steps: frame_step=5 says"):
        frame_files.consecutive(paths)
    with pytest.raises(InputError, match=r"consecutive \(frame_step=0 takes frames in the order"):
        frame_files.consecutive(dict(list(paths.items())[:2]), 2)
