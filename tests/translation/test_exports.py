import pytest

from sflow_jax.errors import InputError
from sflow_jax.translation.exports import find_export
from sflow_jax.translation.training_set import annotation_path
from tests.tiny_run import TABLE, random_frame, write_frame
from tests.translation.trees import (
    CARLA,
    ids,
    picture,
    raw_tags,
    write,
    write_carla,
    write_synthia,
    write_synthia_rand,
)


def names(export):
    return [frame.name for frame in export.frames]


def annotations(export, folder):
    return [annotation_path(f, a, folder) for f in export.frames for a in f.annotations]


def test_our_own_layout_is_found_with_its_splits_and_classes(tmp_path):
    for group in ("test/a", "b/deep"):
        write_frame(tmp_path / group, "00", random_frame(0))
    export = find_export(tmp_path, TABLE)
    assert (export.format, export.class_table) == ("folder", TABLE)
    assert names(export) == ["test/a/00", "train/b__deep/00"]
    assert annotations(export, tmp_path)[0] == "annotations/test/a/label/00.png"
    (tmp_path / "classes.json").write_text(CARLA.to_json(), encoding="utf-8")
    assert find_export(tmp_path, TABLE).class_table == CARLA


def test_carlas_cameras_are_found_but_not_its_version(tmp_path):
    write_carla(tmp_path, num_frames=2)
    (tmp_path / "episode_0000/boxes").mkdir()
    (tmp_path / "episode_0000/boxes/000007.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected --format carla .* or --format carla-0\.9\.13"):
        find_export(tmp_path, TABLE)
    export = find_export(tmp_path, TABLE, "carla")
    assert names(export) == ["train/episode_0000/000007", "train/episode_0000/000008"]
    assert export.frames[0].cg.parent.name == "CameraRGB"
    assert export.frames[0].label.parent.name == "CameraSemSeg"
    assert sorted(annotations(export, tmp_path)) == [
        "annotations/train/episode_0000/CameraDepth/000007.png",
        "annotations/train/episode_0000/CameraDepth/000008.png",
        "annotations/train/episode_0000/CameraSemSeg/000007.png",
        "annotations/train/episode_0000/CameraSemSeg/000008.png",
        "annotations/train/episode_0000/boxes/000007.json",
    ]


def test_several_cameras_of_one_place_are_sequences_of_their_own(tmp_path):
    for view in ("front", "left"):
        write(tmp_path / f"rgb_{view}/0000.png", picture(0))
        write(tmp_path / f"seg_{view}/0000.png", raw_tags(ids(0, CARLA)))
        write(tmp_path / f"depth_{view}/0000.png", picture(1))
    write(tmp_path / "instance_segmentation/0000.png", raw_tags(ids(0, CARLA), 5))
    export = find_export(tmp_path, TABLE, "carla")
    assert names(export) == ["train/front/0000", "train/left/0000"]
    folders = [path.parent.name for path in export.frames[1].annotations]
    assert folders == ["depth_left", "seg_left"]


def test_folders_of_other_names_are_named_by_the_user(tmp_path):
    write(tmp_path / "output/000001.png", picture(0))
    write(tmp_path / "new_sem_output/000001.png", raw_tags(ids(0, CARLA)))
    with pytest.raises(
        InputError, match="found 2 pictures in new_sem_output, output, and no label"
    ):
        find_export(tmp_path, TABLE)
    folders = "output", "new_sem_output"
    assert len(find_export(tmp_path, TABLE, "carla", camera_folders=folders).frames) == 1


def test_two_folders_of_labels_are_not_chosen_from(tmp_path):
    for name in ("rgb", "semantic", "seg"):
        write(tmp_path / name / "0.png", picture(0))
    with pytest.raises(InputError, match=r"found the folders rgb, seg, semantic, expected one"):
        find_export(tmp_path, TABLE, "carla")


def test_synthias_cameras_and_its_rand_layout(tmp_path):
    export = find_export(write_synthia(tmp_path / "a"), TABLE)
    assert export.format == "synthia"
    assert names(export) == ["train/SYNTHIA-SEQS-04-DAWN__Stereo_Left__Omni_F/000000"]
    found = {path.rpartition("Omni_F/")[2] for path in annotations(export, tmp_path / "a")}
    assert found == {"Depth/000000.png", "GT/COLOR/000000.png", "GT/LABELS/000000.png"}
    export = find_export(write_synthia_rand(tmp_path / "b"), TABLE)
    assert export.format == "synthia-rand"
    assert names(export) == [f"train/RAND_CITYSCAPES/000000{index}" for index in range(2)]


def test_pictures_without_labels_are_told_what_is_missing(tmp_path):
    write(tmp_path / "game/1.png", picture(0))
    with pytest.raises(InputError, match=r"found a picture in game, .*expected a label map for"):
        find_export(tmp_path, TABLE)


def test_game_frames_are_told_what_is_missing(real_data):
    with pytest.raises(InputError, match=r"found 4 pictures in gta, and no label maps"):
        find_export(real_data / "gta", TABLE)


def test_two_files_of_one_name_are_not_chosen_from(tmp_path):
    write_carla(tmp_path)
    cg = tmp_path / "episode_0000/CameraRGB"
    (cg / "000008.PNG").write_bytes((cg / "000008.png").read_bytes())
    with pytest.raises(
        InputError, match=r"000008\.(png|PNG): found 000008\.(PNG|png) beside it, expected"
    ):
        find_export(tmp_path, TABLE, "carla")


def test_jpeg_is_read_for_pictures_and_refused_for_labels(tmp_path):
    for kind, array in (("rgb", picture(0)), ("semantic", raw_tags(ids(0, CARLA))[..., :3])):
        write(tmp_path / kind / "7.jpg", array)
    with pytest.raises(InputError, match=r"semantic.7\.jpg: found a \.jpg file, expected a PNG"):
        find_export(tmp_path, TABLE, "carla")
    (tmp_path / "semantic/7.jpg").unlink()
    write(tmp_path / "semantic/7.png", raw_tags(ids(0, CARLA)))
    (frame,) = find_export(tmp_path, TABLE, "carla").frames
    assert frame.cg.name == "7.jpg"


def test_a_frame_without_labels_is_named(tmp_path):
    write_carla(tmp_path)
    (tmp_path / "episode_0000/CameraSemSeg/000008.png").unlink()
    with pytest.raises(InputError, match=r"CameraSemSeg.000008\.png: not found, expected it as"):
        find_export(tmp_path, TABLE, "carla")


@pytest.mark.parametrize(
    ("write_export", "format"), [(write_carla, "carla"), (write_synthia, "synthia")]
)
def test_a_folder_that_is_linked_into_itself_is_read_once(tmp_path, write_export, format):
    export = write_export(tmp_path / "export")
    expected = names(find_export(export, TABLE, format))
    (export / "again").symlink_to(export)
    assert names(find_export(export, TABLE, format)) == expected
