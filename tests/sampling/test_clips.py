import json
import os
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.inference import restore_model
from sflow_jax.pictures import write_png
from sflow_jax.sampling import clips, comparison, job, translation
from tests.decoded_video import decode
from tests.sampling import runs
from tests.sampling.runs import assert_same_picture, command, pngs, translated
from tests.tiny_run import random_frame, write_frame

SIZE, ODD_SIZE = (32, 40), (37, 51)


@pytest.fixture
def folder(tmp_path):
    """Two sequences of different sizes and lengths; the first one's numbers do not start at 0."""
    folder = tmp_path / "input"
    for number in (8, 9, 10, 11):
        write_frame(folder / "a", f"frame_{number}", random_frame(number, ODD_SIZE))
    for number in range(3):
        write_frame(folder / "deep/b", str(number), random_frame(20 + number))
    return folder


def plan(workdir, folder, output, **options):
    return runs.plan(workdir, folder, output, video=True, **options)


def run(workdir, folder, output, **options):
    sampling = plan(workdir, folder, output, **options)
    translation.translate_missing(sampling)
    clips.encode_missing(sampling)
    return sampling


def write_times(output):
    return {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def contents(output):
    """All results; the record names the output's input alone."""
    return {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*.png")}


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


def test_every_sequence_becomes_numbered_frames_and_a_video(model, workdir, folder, tmp_path):
    output = tmp_path / "out"
    run(workdir, folder, output)
    found = pngs(output)
    assert sorted(found) == [
        *(f"a/frames/{index:06d}.png" for index in range(4)),
        *(f"deep/b/frames/{index:06d}.png" for index in range(3)),
    ]
    # By number, not by name: 9 before 10.
    for index, seed in enumerate((8, 9, 10, 11)):
        expected = translated(model, random_frame(seed, ODD_SIZE))
        assert_same_picture(found[f"a/frames/{index:06d}.png"], expected)
    for name, length, (height, width) in (("a", 4, ODD_SIZE), ("deep/b", 3, SIZE)):
        decoded = decode(output / name / "video.mp4").frames
        assert decoded.shape == (length, height + height % 2, width + width % 2, 3)
        frames = [found[f"{name}/frames/{index:06d}.png"] for index in range(length)]
        shown = decoded[:, :height, :width]
        errors = np.array([[difference(a, b) for b in frames] for a in shown])
        assert (errors.argmin(1) == np.arange(length)).all()
    assert not list(output.rglob("*.part"))


def test_one_draw_is_held_for_a_whole_clip(model, workdir, folder, tmp_path):
    output = tmp_path / "out"
    sampling = run(workdir, folder, output, num_variants=2, seed=3)
    found = pngs(output)
    assert len(found) == 2 * 7
    for variant, controls in enumerate(sampling.variants):
        assert len(decode(output / f"variant_{variant:02d}/a/video.mp4").frames) == 4
        for index in range(3):
            expected = translated(model, random_frame(20 + index), **controls)
            name = f"variant_{variant:02d}/deep/b/frames/{index:06d}.png"
            assert_same_picture(found[name], expected)
    name = "deep/b/frames/000000.png"
    assert difference(found[f"variant_00/{name}"], found[f"variant_01/{name}"]) > 1


def test_a_single_clip_goes_straight_to_the_output_and_is_recorded(workdir, folder, tmp_path):
    run(workdir, folder / "a", tmp_path / "out", fps=12)
    names = {str(p.relative_to(tmp_path / "out")) for p in write_times(tmp_path / "out")}
    frames = {f"frames/{index:06d}.png" for index in range(4)}
    assert names == {*frames, "video.mp4", "sampling.json"}
    record = json.loads((tmp_path / "out/sampling.json").read_text())
    assert (record["video"], record["fps"], record["edges"]) == (True, 12, "cg")
    assert record["first_frames"] == {".": "frame_8"}


def test_the_limit_is_that_of_each_clip(workdir, folder, tmp_path):
    # More frames of the same clips may be added, and the videos follow the limit back again.
    for limit, lengths in ((2, [2, 2]), (None, [4, 3]), (2, [2, 2])):
        run(workdir, folder, tmp_path / "out", limit=limit)
        videos = [tmp_path / "out" / name / "video.mp4" for name in ("a", "deep/b")]
        assert [len(decode(video).frames) for video in videos] == lengths


def test_frames_that_are_no_clip_are_named(workdir, folder, tmp_path):
    def message(name, seed, size=SIZE):
        write_frame(tmp_path / "in", "1", random_frame(0))
        write_frame(tmp_path / "in", name, random_frame(seed, size))
        with pytest.raises(InputError) as error:
            plan(workdir, tmp_path / "in", tmp_path / "out")
        for key in ("label", "cg", "image"):
            (tmp_path / f"in/{key}/{name}.png").unlink()
        return str(error.value).replace(f"{tmp_path}/in/label/", "")

    assert message("3", 1) == (
        "3.png: found this frame after 1.png, expected number 2: the frames of a sequence must be "
        "consecutive (frame_step=0 takes frames in the order of their names)"
    )
    assert message("x", 1) == (
        "x.png: found no frame number, expected one at the end of the name "
        "(frame_step=0 takes frames in the order of their names)"
    )
    assert message("2", 1, ODD_SIZE) == "2.png: found 51x37 pixels, expected 40x32 as in 1.png"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0.0, -15.0])
def test_a_speed_that_no_video_has_is_refused_first(fps, workdir, folder, tmp_path):
    with pytest.raises(InputError, match=f"^--fps: found {fps:g}, expected 1 to 1000$"):
        plan(workdir, folder, tmp_path / "out", fps=fps)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fps", [1, 1000])
def test_the_slowest_and_the_fastest_video_are_written(fps, workdir, folder, tmp_path):
    run(workdir, folder / "a", tmp_path / "out", fps=fps)
    assert decode(tmp_path / "out/video.mp4").fps == fps


def test_images_and_clips_are_not_mixed(workdir, folder, tmp_path):
    run(workdir, folder / "a", tmp_path / "out")
    with pytest.raises(InputError, match=r"video True, not None; other first_frames; exp"):
        runs.plan(workdir, folder / "a", tmp_path / "out")
    # Numbers count from the first frame: with another one, results would change their names.
    write_frame(folder / "a", "frame_7", random_frame(7, ODD_SIZE))
    with pytest.raises(InputError, match="found results of other first_frames; expected the"):
        plan(workdir, folder / "a", tmp_path / "out")


def test_an_interrupted_clip_continues_with_the_next_missing_frame(
    workdir, folder, tmp_path, monkeypatch
):
    run(workdir, folder, tmp_path / "whole", num_variants=2, grid=True)
    written = []

    def write(path, picture):
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(path)
        write_png(path, picture)

    monkeypatch.setattr(translation, "write_png", write)
    with pytest.raises(KeyboardInterrupt):
        run(workdir, folder, tmp_path / "out", num_variants=2, grid=True)
    monkeypatch.setattr(translation, "write_png", write_png)
    before = write_times(tmp_path / "out")
    run(workdir, folder, tmp_path / "out", num_variants=2, grid=True)
    after = write_times(tmp_path / "out")
    assert all(after[path] == before[path] for path in written[:4])  # two frames, both variants
    assert len(contents(tmp_path / "out")) == 14
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_videos_are_made_again_only_when_something_changed(workdir, folder, tmp_path):
    output = tmp_path / "out"
    run(workdir, folder, output, grid=True)
    before = write_times(output)

    def changed(**options):
        run(workdir, folder, output, grid=True, **options)
        now, old = write_times(output), dict(before)
        before.update(now)
        names = {str(path.relative_to(output)) for path in now if now[path] != old.get(path)}
        return names - {"sampling.json"}

    assert changed() == set()
    (output / "a/frames/000002.png").unlink()
    assert changed() == {"a/frames/000002.png", "a/video.mp4", "a/comparison.mp4"}
    os.utime(folder / "deep/b/image/1.png")  # only the comparison shows it
    assert changed() == {"deep/b/comparison.mp4"}
    videos = {f"{name}/{file}.mp4" for name in ("a", "deep/b") for file in ("video", "comparison")}
    assert changed(fps=30) == videos
    assert decode(output / "a/video.mp4").fps == 30


def test_the_comparison_shows_each_frame_beside_its_input(workdir, folder, tmp_path, monkeypatch):
    sampling = run(workdir, folder / "a", tmp_path / "out", num_variants=2, grid=True)
    decoded = decode(tmp_path / "out/comparison.mp4").frames
    height, width = ODD_SIZE
    sheet = np.array(list(comparison.draw_frames(sampling, sampling.clips[0].frames)))
    # label, CG frame, (edges, picture) of two variants, real; the grid's own test knows the cells.
    assert sheet.shape == (4, 16 + height + 2, 7 * (width + 2) - 2, 3)
    for index in range(4):
        np.testing.assert_array_equal(
            sheet[index, 16 : 16 + height, -width:],
            random_frame(8 + index, ODD_SIZE)["image"],
        )
    shown = decoded[:, : sheet.shape[1], : sheet.shape[2]]
    errors = np.array([[difference(a, b) for b in sheet] for a in shown])
    assert (errors.argmin(1) == np.arange(4)).all()
    assert errors.diagonal().max() < 0.5 * errors[~np.eye(4, dtype=bool)].min()


def test_memory_does_not_grow_with_the_length_of_a_clip(workdir, tmp_path, monkeypatch):
    live, most = set(), []

    def read_color(path):
        picture = original(path)
        number = len(most)
        live.add(number)
        weakref.finalize(picture, live.discard, number)
        most.append(len(live))
        return picture

    for number in range(40):
        write_frame(tmp_path / "in", str(number), random_frame(number))
    sampling = plan(workdir, tmp_path / "in", tmp_path / "out", grid=True)
    original = images.read_color
    monkeypatch.setattr(images, "read_color", read_color)
    translation.translate_missing(sampling)
    clips.encode_missing(sampling)
    assert len(most) == 40 + 40 + 3 * 40  # edges; results; edges, results and real images
    assert max(most) <= 8  # two batches of two frames, and what the comparison shows


def test_a_failed_encode_is_one_line_and_keeps_the_frames(workdir, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(InputError) as error:
        run(workdir, folder / "a", tmp_path / "out")
    assert str(error.value).startswith(f"{tmp_path}/out/video.mp4: ")
    before = write_times(tmp_path / "out/frames")
    assert len(before) == 4
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    run(workdir, folder / "a", tmp_path / "out")
    assert write_times(tmp_path / "out/frames") == before
    assert len(decode(tmp_path / "out/video.mp4").frames) == 4


def test_a_killed_command_continues_bit_for_bit(workdir, tmp_path, monkeypatch):
    for number in range(60):
        write_frame(tmp_path / "in", str(number), random_frame(number))

    def arguments(output):
        folders = ["--workdir", workdir, "--input", tmp_path / "in", "--output", output]
        return [*map(str, folders), "--video", "--batch_size", "2"]

    output = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "sflow_jax.sample", *arguments(output)], stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (output / "frames/000007.png").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = write_times(output / "frames")
    finished = [path for path in before if path.suffix == ".png"]
    assert 7 <= len(finished) < 60  # both pictures of a batch are written at once

    result = command(*arguments(output))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{output}: 60 frames in 1 clips\n"
    assert "60/60" in result.stderr
    assert "frame/s" in result.stderr
    after = write_times(output / "frames")
    assert all(after[path] == before[path] for path in finished)
    # The model as the command has it, not the one of these tests that compiles fast.
    monkeypatch.setattr(job, "restore_model", restore_model)
    run(workdir, tmp_path / "in", tmp_path / "whole")
    assert contents(output) == contents(tmp_path / "whole")
    assert (output / "video.mp4").read_bytes() == (tmp_path / "whole/video.mp4").read_bytes()
