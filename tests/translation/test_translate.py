import dataclasses
import json
import os

import numpy as np
import pytest

from sflow_jax.data import images
from sflow_jax.data.class_map import ClassMap
from sflow_jax.data.folder.builder import Folder
from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import sha256_of
from sflow_jax.runs import lock
from sflow_jax.translate import make_set
from sflow_jax.translation import certificate, production
from sflow_jax.translation.job import Settings
from sflow_jax.translation.simulators import CARLA
from sflow_jax.translation.training_set import copy_untouched
from sflow_jax.translation.verification import read_recipe, verify
from tests.commands import run_command
from tests.tiny_run import TABLE, random_frame, write_frame
from tests.translation.trees import (
    SIZE,
    TO_TINY,
    ids,
    picture,
    raw_tags,
    relabeled,
    write,
    write_carla,
)

IMAGES = "train/episode_0000/image"


def translate(workdir, folder, output, least=None, **changes):
    class_map = ClassMap(changes.pop("names", TO_TINY), {})
    settings = Settings(
        workdir, folder, **{"format": "carla", "class_map": class_map, "batch_size": 2, **changes}
    )
    make_set(settings, output, "--class_map", least)


@pytest.fixture
def export(tmp_path):
    return write_carla(tmp_path / "export")


def check(output, count=None):
    return verify(output, Settings.from_json(read_recipe(output)), count)


def test_every_frame_has_what_the_generator_makes_of_its_labels(model, workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    for index in range(3):
        name = f"{7 + index:06d}.png"
        expected = relabeled(ids(index, CARLA), CARLA, TABLE, TO_TINY)
        label = images.read_label_map(tmp_path / "set/train/episode_0000/label" / name, TABLE)
        np.testing.assert_array_equal(label[..., 0], expected)
        # In batches of two, for which everything is compiled already.
        batch = [np.stack([array] * 2) for array in (expected[..., None], picture(index))]
        drawn = np.asarray(model.translate(*batch)["picture"])[0]
        found = images.read_color(tmp_path / "set" / IMAGES / name).astype(int)
        assert found.std() > 2
        assert np.abs(found - drawn).max() <= 1
        for camera in ("CameraSemSeg", "CameraDepth"):
            copied = tmp_path / "set/annotations/train/episode_0000" / camera / name
            assert copied.read_bytes() == (export / "episode_0000" / camera / name).read_bytes()
    assert not (tmp_path / "set/annotations/train/episode_0000/CameraRGB").exists()


def test_the_set_is_a_dataset(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set", num_variants=2)
    assert ClassTable.from_json(tmp_path / "set/classes.json") == TABLE
    dataset = Folder(
        source=tmp_path / "set", height=0, width=0, frames=2, data_dir=tmp_path / "prepared"
    )
    dataset.check()
    assert dataset.split_sizes == {"train": 4}  # two pairs of each variant
    first = [
        images.read_color(tmp_path / f"set/train/episode_0000__variant_0{k}/image/000007.png")
        for k in range(2)
    ]
    assert (first[0] != first[1]).any()


def test_the_certificate_says_what_a_frame_was_made_of(workdir, export, tmp_path, sees_road):
    translate(workdir, export, tmp_path / "set", num_variants=2, seed=5)
    lines = certificate.read_lines(tmp_path / "set")
    assert [line.key for line in lines[:3]] == [
        (f"train/episode_0000/{name}", variant)
        for name, variant in (("000007", 0), ("000008", 0), ("000007", 1))
    ]
    line = lines[2]
    label = relabeled(ids(0, CARLA), CARLA, TABLE, TO_TINY)
    assert line.agreement == pytest.approx((label == 2).mean(), abs=1e-4)
    # All that is not road is invented: its IoU is its share; of the others nothing is found.
    assert line.class_iou == {"road": line.agreement, "car": 0, "sky": 0}
    assert line.inputs["label"] == {
        "path": "episode_0000/CameraSemSeg/000007.png",
        "sha256": sha256_of(export / "episode_0000/CameraSemSeg/000007.png"),
    }
    assert line.seed == 5
    assert np.isclose(sum(line.controls["weights"]), 1)
    mask = tmp_path / "set/train/episode_0000__variant_01/agreement/000007.png"
    expected = np.where(label == 2, 255, 0)
    np.testing.assert_array_equal(images.read_instance_map(mask)[..., 0], expected)


def test_a_second_look_finds_all_as_certified(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set", num_variants=2)
    found = check(tmp_path / "set")
    assert (found.problems, found.notes) == ([], [])
    assert found.num_regenerated == 6
    assert found.num_files == 3 * (2 + 2 * 2 + 2) + 1  # inputs; images and labels; annotations
    assert check(tmp_path / "set", 0).num_regenerated == 0
    assert check(tmp_path / "set", 1).num_regenerated == 4  # a batch of two, two variants


@pytest.mark.parametrize(
    "place",
    [
        f"set/{IMAGES}/000008.png",
        "set/train/episode_0000/label/000007.png",
        "set/classes.json",
        "set/annotations/train/episode_0000/CameraSemSeg/000007.png",
        "export/episode_0000/CameraRGB/000009.png",
    ],
)
def test_one_byte_of_a_file_is_noticed(place, workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    content = bytearray((tmp_path / place).read_bytes())
    content[-20] ^= 1
    (tmp_path / place).write_bytes(content)
    (problem,) = check(tmp_path / "set", 0).problems
    assert problem.startswith(f"{tmp_path / place}: found SHA-256 ")


def test_another_picture_with_its_own_hash_is_not_made_again(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    path = tmp_path / "set" / IMAGES / "000007.png"
    changed = images.read_color(path).copy()
    changed[3, 4, 1] ^= 1
    path.write_bytes(images.encode_png(changed))
    lines = certificate.read_lines(tmp_path / "set")
    lines[0].outputs[f"{IMAGES}/000007.png"] = sha256_of(path)
    certificate.write_lines(tmp_path / "set", lines)
    assert check(tmp_path / "set", 0).problems == []
    assert check(tmp_path / "set").problems == [f"{path}: made again, it differs by up to 1 of 255"]


def test_files_added_or_lost_and_another_recipe_are_noticed(workdir, export, tmp_path):
    output = tmp_path / "set"
    translate(workdir, export, output)
    (output / IMAGES / "000010.png").write_bytes((output / IMAGES / "000009.png").read_bytes())
    (output / IMAGES / "000008.png").unlink()
    problems = check(output, 0).problems
    assert any("000010.png: is not certified" in problem for problem in problems)
    assert any("000008.png: not found, expected SHA-256" in problem for problem in problems)
    recipe = read_recipe(output) | {"seed": 1}
    (output / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    assert any("another recipe.json" in problem for problem in check(output, 0).problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "found a list, expected the JSON that translate wrote"),
        ("{}", "KeyError('workdir'); expected the JSON that translate wrote"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / "recipe.json").write_text(content, encoding="utf-8")
    done = run_command("translate", "--output", tmp_path, "--verify")
    assert (done.status, done.errors) == (2, f"error: {tmp_path / 'recipe.json'}: {message}\n")


@pytest.mark.parametrize(
    "place",
    [
        "annotations/train/episode_0000/CameraDepth/more.json",
        f"{IMAGES}/000007.jpg",
        f"{IMAGES}/deep/000007.png",
        "notes.txt",
        f"set_aside/{IMAGES}/000007.png",
    ],
)
def test_whatever_is_added_is_noticed(place, workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    path = tmp_path / "set" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((tmp_path / "set" / IMAGES / "000007.png").read_bytes())
    assert any("not certified" in x or "twice" in x for x in check(tmp_path / "set", 0).problems)


def test_an_annotation_of_equal_size_is_renewed_and_no_link_written_through(tmp_path):
    source, target, victim = (tmp_path / name for name in ("a", "b", "victim"))
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    victim.write_bytes(b"mine")
    (tmp_path / "b.part").symlink_to(victim)
    copy_untouched(source, target)
    assert target.read_bytes() == b"new"
    assert victim.read_bytes() == b"mine"


def test_a_set_is_compared_without_the_export_but_not_made_again(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    export.rename(tmp_path / "elsewhere")
    found = check(tmp_path / "set", 0)
    assert (found.problems, found.num_files) == ([], 3 * 4 + 1)
    assert found.notes == [f"{export}: is not here, and was not compared"]
    with pytest.raises(InputError, match=r"export: not found; expected .* named with --input"):
        check(tmp_path / "set")
    settings = Settings.from_json(read_recipe(tmp_path / "set"))
    moved = dataclasses.replace(settings, input=tmp_path / "elsewhere")
    assert verify(tmp_path / "set", moved, None).problems == []


def test_an_interruption_loses_nothing_and_changes_nothing(workdir, export, tmp_path, monkeypatch):
    translate(workdir, export, tmp_path / "whole", num_variants=2)
    original, calls = production.certificate.append_lines, []

    def interrupted(output, lines):
        calls.append(lines)
        if len(calls) == 2:  # in the midst of a batch: a half line is left
            (output / "certificate.jsonl").open("a").write('{"frame": "tra')
            raise KeyboardInterrupt
        original(output, lines)

    monkeypatch.setattr(production.certificate, "append_lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        translate(workdir, export, tmp_path / "set", num_variants=2)
    assert len(certificate.read_lines(tmp_path / "set")) == 2
    translate(workdir, export, tmp_path / "set", num_variants=2)
    pairs = [
        sorted(certificate.read_lines(tmp_path / name), key=lambda line: line.key)
        for name in ("whole", "set")
    ]
    assert [line.outputs for line in pairs[0]] == [line.outputs for line in pairs[1]]
    assert check(tmp_path / "set").problems == []
    calls.clear()
    translate(workdir, export, tmp_path / "set", num_variants=2)
    assert not calls


def test_other_settings_are_not_mixed_in(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    with pytest.raises(InputError, match="seed None, not 3; other variants; expected the same"):
        translate(workdir, export, tmp_path / "set", seed=3)


def test_a_recipe_that_is_none_is_not_continued(workdir, export, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/recipe.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="found a list, expected the JSON that translate wrote"):
        translate(workdir, export, tmp_path / "set")


def test_two_processes_do_not_write_one_set(workdir, export, tmp_path):
    with (
        lock.hold(tmp_path, ".set.lock"),
        pytest.raises(InputError, match=f"in use by process {os.getpid()} on "),
    ):
        translate(workdir, export, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_frames_of_little_agreement_are_set_aside_and_come_back(
    workdir, export, tmp_path, sees_road
):
    output = tmp_path / "set"
    translate(workdir, export, output)
    lines = sorted(certificate.read_lines(output), key=lambda line: line.agreement)
    middle = lines[1].agreement
    translate(workdir, export, output, least=middle)
    lowest = lines[0].frame.rpartition("/")[2]
    assert [path.stem for path in output.glob("set_aside/train/*/*/*.png")] == [lowest] * 3
    listed = (output / "set_aside.txt").read_text(encoding="utf-8")
    assert listed == f"{lines[0].agreement} {IMAGES}/{lowest}.png\n"
    assert check(output).problems == []
    translate(workdir, export, output)
    assert len(list((output / IMAGES).iterdir())) == 3
    # The frames of a clip go together, by their mean.
    translate(workdir, export, tmp_path / "clip", least=lines[2].agreement, video=True)
    assert not list((tmp_path / "clip" / IMAGES).iterdir())


def test_agreement_needs_a_segmenter(workdir, export, tmp_path):
    with pytest.raises(InputError, match="--min_agreement: found no segmenter"):
        translate(workdir, export, tmp_path / "set", least=0.5)
    assert not (tmp_path / "set").exists()


def test_classes_that_nothing_stands_for_are_listed_with_their_pixels(workdir, export, tmp_path):
    odd = ids(0, CARLA)
    odd[0, :3], odd[1, :2] = 77, 26
    write(export / "episode_0000/CameraSemSeg/000008.png", raw_tags(odd))
    counts = [(frame == 24).sum() for frame in (ids(0, CARLA), odd, ids(2, CARLA))]
    with pytest.raises(InputError) as caught:
        translate(workdir, export, tmp_path / "set", names={})
    message = str(caught.value)
    assert f"'road line' (id 24): {sum(counts)} pixels" in message
    assert "in 3 frames" in message
    assert "'bridge' (id 26): 2 pixels (0.052 %) in 1 frame" in message
    assert "(id 77): 3 pixels" in message
    assert 'such as {"road line": "void"}: void, road, car, sky' in message
    assert not (tmp_path / "set").exists()


def test_instances_of_our_own_layout_are_annotations_of_a_run_without_use_for_them(
    workdir, tmp_path
):
    arrays = random_frame(1) | {"instance": np.full((*SIZE, 1), 3, np.uint16)}
    write_frame(tmp_path / "in/test/a", "00", arrays)
    translate(workdir, tmp_path / "in", tmp_path / "set", format=None, names={})
    copied = tmp_path / "set/annotations/test/a/instance/00.png"
    assert copied.read_bytes() == (tmp_path / "in/test/a/instance/00.png").read_bytes()
    label = images.read_label_map(tmp_path / "set/test/a/label/00.png", TABLE)
    np.testing.assert_array_equal(label, arrays["label"])


def test_labels_and_frames_of_other_sizes_are_refused(workdir, export, tmp_path):
    write(export / "episode_0000/CameraRGB/000008.png", picture(0)[:16])
    with pytest.raises(InputError, match=r"000008\.png: found 40x16 pixels, expected 40x32"):
        translate(workdir, export, tmp_path / "set")


def test_the_command_fails_when_a_byte_has_changed(workdir, export, tmp_path):
    translate(workdir, export, tmp_path / "set")
    path = tmp_path / "set" / IMAGES / "000008.png"
    path.write_bytes(path.read_bytes() + b"x")
    arguments = "--output", tmp_path / "set", "--verify", "--regenerate", 0
    done = run_command("translate", *arguments)
    assert done.status == 2
    assert f"{path}: found SHA-256 {sha256_of(path)}, certified" in done.output
    assert "set: 1 difference from certificate.jsonl, expected none" in done.errors
