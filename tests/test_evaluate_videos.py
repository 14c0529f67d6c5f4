import json
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sflow_jax import evaluate, video
from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.evaluation import folders, video_folders
from sflow_jax.metrics import fvd
from sflow_jax.metrics.feature_statistics import FeatureExtractor
from sflow_jax.metrics.frechet import GaussianStream, frechet_distance
from sflow_jax.metrics.inception_input import InputProtocol
from tests.recorded_reads import record_reads

BATCH_SIZE = 8
FOLDERS = ("real", "fake")
LENGTH = 9  # of clips


def random_frames(count, seed=0, size=(6, 10)):
    return np.random.RandomState(seed).randint(0, 256, (count, *size, 3)).astype(np.uint8)


def write_frames(folder, frames):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        # frame_9 comes before frame_10, which the names alone would not tell.
        (folder / f"frame_{index}.png").write_bytes(images.encode_png(frame))


def write_videos(folder, lengths=(LENGTH,) * 3, seed=0, size=(6, 10)):
    """Folders of frames."""
    for index, length in enumerate(lengths):
        write_frames(folder / f"{index}", random_frames(length, 100 * seed + index, size))
    return folder


def features(clips):
    """Brightness of the first, the third and the last frame, and two colors."""
    frames, colors = clips.mean((2, 3, 4)), clips.mean((1, 2, 3))
    columns = frames[:, 0], frames[:, 2], frames[:, -1], colors[:, 1], colors[:, 2]
    return (jnp if isinstance(clips, jnp.ndarray) else np).stack(columns, -1)


def make_stub(cache_dir=None, batch_size=BATCH_SIZE, scale=1):
    protocol = InputProtocol("test", lambda clips: clips, lambda clips: clips.astype(jnp.float32))
    network, variables = lambda scale, clips: scale * features(clips), np.float32(scale)
    return FeatureExtractor(network, variables, protocol, batch_size)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with the weights of a network that is no I3D, but fast."""
    monkeypatch.setattr(fvd, "i3d_extractor", make_stub)
    return tmp_path / "cache"


@pytest.fixture
def read_files(monkeypatch):
    """The PNG files that are decoded from now on."""
    return record_reads(monkeypatch, video_folders)


def refuse(*_):
    raise AssertionError("nothing may be computed")


@pytest.mark.parametrize("batch_size", [BATCH_SIZE, 2 * BATCH_SIZE])
def test_fvd_is_that_of_all_clips_whatever_the_batches(tmp_path, cache, monkeypatch, batch_size):
    monkeypatch.setattr(fvd, "i3d_extractor", lambda _: make_stub(batch_size=batch_size))
    lengths = {"real": (9, 20, 35, 9, 27), "fake": (18, 17, 36)}
    starts = {"real": 1 + 2 + 3 + 1 + 3, "fake": 2 + 1 + 4}
    gaussians = []
    for seed, (name, some) in enumerate(lengths.items()):
        size = (6, 10 - 2 * seed)  # of another size
        write_videos(tmp_path / name, some, seed, size)
        stream = GaussianStream()
        for index, length in enumerate(some):
            frames = random_frames(length, 100 * seed + index, size).astype(np.float64)
            clips = [frames[start : start + LENGTH] for start in range(0, length - 8, LENGTH)]
            stream.update(features(np.stack(clips)))
        gaussians.append(stream.gaussian())
    record = video_folders.compare_videos(tmp_path / "real", tmp_path / "fake", LENGTH, cache)
    assert record["scores"] == {"fvd": pytest.approx(frechet_distance(*gaussians), rel=1e-4)}
    assert record["scores"]["fvd"] > 1
    assert (record["num_real"], record["num_fake"]) == (5, 3)
    assert (record["num_real_clips"], record["num_fake_clips"]) == tuple(starts.values())
    assert (record["clip_frames"], record["protocol"]) == (LENGTH, "frechet_video_distance")


def test_identical_videos_have_no_distance_but_the_order_of_frames_counts(tmp_path, cache):
    pair = [write_videos(tmp_path / name, (18, 9, 9)) for name in FOLDERS]
    assert video_folders.compare_videos(*pair, LENGTH, cache)["scores"]["fvd"] == pytest.approx(
        0, abs=1e-6
    )
    first, third = (tmp_path / "fake/0" / f"frame_{index}.png" for index in (0, 2))
    contents = first.read_bytes(), third.read_bytes()
    third.write_bytes(contents[0])
    first.write_bytes(contents[1])
    assert video_folders.compare_videos(*pair, LENGTH, cache)["scores"]["fvd"] > 1e-3


def test_the_real_videos_are_read_once_until_something_changes(
    tmp_path, cache, read_files, monkeypatch
):
    real, fake = write_videos(tmp_path / "real"), write_videos(tmp_path / "fake", seed=1)

    def read_from_real(clip_frames=LENGTH):
        read_files.clear()
        record = video_folders.compare_videos(real, fake, clip_frames, cache)
        assert len([path for path in read_files if fake in path.parents]) == 27
        return record, len(read_files) - 27

    first, count = read_from_real()
    assert count == 27
    assert read_from_real() == (first, 0)
    os.utime(real / "1/frame_0.png", ns=(1, 1))
    assert read_from_real() == (first, 27)
    monkeypatch.setattr(fvd, "i3d_extractor", lambda _: make_stub(scale=2))
    second, count = read_from_real()
    assert count == 27
    assert second["scores"]["fvd"] == pytest.approx(4 * first["scores"]["fvd"], rel=1e-4)


def test_clips_of_another_length_have_other_statistics(tmp_path, cache):
    pair = [write_videos(tmp_path / name, (27, 27), seed) for seed, name in enumerate(FOLDERS)]
    counts = [
        [
            video_folders.compare_videos(*pair, length, cache)[f"num_{name}_clips"]
            for name in FOLDERS
        ]
        for length in (9, 13)
    ]
    assert counts == [[6, 6], [4, 4]]


def test_no_more_than_a_batch_is_in_memory(tmp_path, read_files):
    found = video_folders.find_videos("real", write_videos(tmp_path / "real", (40, 9)), LENGTH)
    lengths = []
    for batch in found.batches(3):
        lengths.append(len(batch))
        assert len(read_files) <= LENGTH * sum(lengths) + 4  # and the rest of a video
    assert lengths == [3, 2]


def test_hosts_share_the_videos(tmp_path, monkeypatch):
    found = video_folders.find_videos("real", write_videos(tmp_path / "real", (18, 9, 27)), LENGTH)
    alone = np.concatenate(list(found.batches(4)))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts = []
    for host in range(2):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        parts += found.batches(4)
    assert [len(part) for part in parts] == [4, 1, 1]  # the first and the third, then the second
    together = np.concatenate(parts)
    np.testing.assert_array_equal(together[[0, 1, 5, 2, 3, 4]], alone)


def names(folder):
    found = video_folders.find_videos("real", folder, LENGTH)
    return {str(one.path.relative_to(folder)): len(one.frames) for one in found.videos}


def test_what_sampling_writes_is_not_counted_twice(tmp_path):
    for clip in ("a", "b/variant_00"):
        write_frames(tmp_path / clip / "frames", random_frames(2))
        (tmp_path / clip / "video.mp4").write_bytes(b"")
        (tmp_path / clip / "comparison.mp4").write_bytes(b"")
    write_frames(tmp_path / "c", random_frames(3))
    (tmp_path / "c/video.mp4").write_bytes(b"")
    (tmp_path / "d.MP4").write_bytes(b"")
    (tmp_path / "sampling.json").write_bytes(b"")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    assert names(tmp_path) == {"a/frames": 2, "b/variant_00/frames": 2, "c": 3, "d.MP4": 0}


def test_of_what_sampling_reads_the_real_frames_count(tmp_path):
    for key in ("label", "cg", "image", "instance"):
        write_frames(tmp_path / "drive" / key, random_frames(2))
    assert names(tmp_path) == {"drive/image": 2}
    write_frames(tmp_path / "other/label", random_frames(2))
    with pytest.raises(InputError, match=r"other/image: not found, expected the frames of label/$"):
        names(tmp_path)


def test_files_and_folders_of_frames_are_videos(tmp_path, cache):
    """Files against their own decoded frames."""
    for index, count in enumerate((LENGTH, 2 * LENGTH + 3)):
        path = tmp_path / f"real/{index}.mp4"
        video.encode(path, random_frames(count, index, (32, 48)), count, 15)
        write_frames(tmp_path / f"fake/{index}", video.decode(path))
    record = video_folders.compare_videos(tmp_path / "real", tmp_path / "fake", LENGTH, cache)
    assert record["scores"]["fvd"] == pytest.approx(0, abs=1e-6)
    assert record["num_real_clips"] == record["num_fake_clips"] == 3


def test_the_command_writes_what_it_prints(tmp_path, cache, monkeypatch, capsys):
    monkeypatch.setenv("SFLOW_CACHE", str(cache))
    real = write_videos(tmp_path / "real", (32, 16, 16))
    fake = write_videos(tmp_path / "fake", (16, 17), seed=1)
    output = tmp_path / "out/scores"
    options = {"real": str(real), "fake": str(fake), "output": str(output)}
    evaluate._score_folders(
        types.SimpleNamespace(**options, videos=True, clip_frames=None, frame_step=None)
    )
    printed = capsys.readouterr()
    assert "real: 100%" in printed.err
    assert "fake: 100%" in printed.err
    metrics = json.loads((output / "metrics.json").read_text())
    assert {key: metrics[key] for key in ("num_real", "num_real_clips", "num_fake_clips")} == {
        "num_real": 3,
        "num_real_clips": 4,
        "num_fake_clips": 2,
    }
    table = (output / "scores.txt").read_text()
    assert table in printed.out
    assert f"real: 3 videos in {real}, 4 clips" in table
    assert f"fake: 2 videos in {fake}, 2 clips" in table
    assert "clips of 16 frames" in table
    assert table.splitlines()[-1].split() == ["fvd", f"{metrics['scores']['fvd']:.6f}"]


def test_without_the_weights_there_is_no_fvd(tmp_path, monkeypatch):
    monkeypatch.setattr(video_folders, "compute_statistics", refuse)
    pair = [write_videos(tmp_path / name) for name in FOLDERS]
    message = r"weights of i3d are not there; get them with: .*\.weights get i3d --cache_dir"
    with pytest.raises(InputError, match=message):
        video_folders.compare_videos(*pair, LENGTH, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("wrong", FOLDERS)
def test_a_folder_needs_videos(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(fvd, "i3d_extractor", refuse)
    pair = [tmp_path / name for name in FOLDERS]
    for folder in pair:
        if folder.name != wrong:
            write_videos(folder)
    with pytest.raises(InputError, match=f"{wrong}: found nothing, expected a folder of {wrong} v"):
        video_folders.compare_videos(*pair)
    (tmp_path / wrong).mkdir()
    (tmp_path / wrong / "notes.txt").write_text("")
    with pytest.raises(InputError, match=f"{wrong}: found no video, expected files"):
        video_folders.compare_videos(*pair)


@pytest.mark.parametrize("wrong", FOLDERS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no video", r"3\.mp4: ffmpeg ended with .*; expected a whole video that ffmpeg knows$"),
        ("size", r"1/frame_5\.png: found 12x6 pixels, expected 10x6 as in .*0/frame_0\.png$"),
        ("size of a file", r"3\.mp4: found 48x32 pixels, expected 10x6 as in .*0/frame_0\.png$"),
        ("gap", r"1/frame_5\.png: found this frame after frame_3\.png, expected number 4"),
        ("truncated", r"1/frame_5\.png: truncated PNG"),
    ],
)
def test_bad_videos_are_named_before_anything_is_computed(
    tmp_path, cache, wrong, damage, message, monkeypatch
):
    pair = [write_videos(tmp_path / name) for name in FOLDERS]
    if wrong == "fake":  # the real videos may take hours
        monkeypatch.setattr(folders, "cached", refuse)
    monkeypatch.setattr(FeatureExtractor, "_start", refuse)
    bad, path = tmp_path / wrong / "1/frame_5.png", tmp_path / wrong / "3.mp4"
    if damage == "size of a file":
        video.encode(path, random_frames(LENGTH, 0, (32, 48)), LENGTH, 15)
    elif damage == "no video":
        path.write_bytes(b"no video")
    elif damage == "size":
        bad.write_bytes(images.encode_png(np.zeros((6, 12, 3), np.uint8)))
    elif damage == "gap":
        (tmp_path / wrong / "1/frame_4.png").unlink()
    else:
        bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(InputError, match=message) as error:
        video_folders.compare_videos(*pair, LENGTH, cache)
    assert "\n" not in str(error.value)


def test_short_videos_among_many_are_set_aside(tmp_path, cache, capsys):
    pair = [write_videos(tmp_path / name, (18, 9, 20), seed) for seed, name in enumerate(FOLDERS)]
    expected = video_folders.compare_videos(*pair, LENGTH, cache)["scores"]
    assert "note:" not in capsys.readouterr().err
    write_frames(pair[0] / "3", random_frames(8))
    video.encode(pair[1] / "4.mp4", random_frames(5, 0, (32, 48)), 5, 15)  # of another size, too
    record = video_folders.compare_videos(*pair, LENGTH, cache)
    assert record["scores"] == expected
    assert (record["num_real_clips"], record["num_fake_clips"]) == (5, 5)
    notes = capsys.readouterr().err
    assert f"note: {pair[0]}: set aside 1 video of 4, shorter than a clip of 9 frames: " in notes
    assert f"{pair[1]}/4.mp4 (5)" in notes
    short = write_videos(tmp_path / "short", (8, 7))
    with pytest.raises(InputError, match=r"short/0: found 8 frames, expected at least 9$"):
        video_folders.compare_videos(pair[0], short, LENGTH, cache)
    write_frames(short / "2", random_frames(12))
    message = "short/2: found 12 frames, expected at least 18, 2 clips as it is the only fake "
    with pytest.raises(InputError, match=message):
        video_folders.compare_videos(pair[0], short, LENGTH, cache)


def test_frames_and_clips_may_have_any_format(tmp_path, cache):
    frames = [random_frames(LENGTH, index) for index in range(3)]
    for index, some in enumerate(frames):
        write_frames(tmp_path / f"real/{index}", some)
    fake = tmp_path / "fake"
    (fake / "jpeg").mkdir(parents=True)
    for index, frame in enumerate(frames[0]):  # one clip, of two formats
        suffix = ".jpg" if index % 2 else ".webp"
        Image.fromarray(frame).save(fake / f"jpeg/{index}{suffix}", quality=100, subsampling=0)
    gray = [Image.fromarray(x).quantize() for x in frames[1]]
    gray[0].save(fake / "a.gif", save_all=True, append_images=gray[1:], duration=40)
    write_frames(fake / "png", frames[2])
    assert names(fake) == {"a.gif": 0, "jpeg": LENGTH, "png": LENGTH}
    record = video_folders.compare_videos(tmp_path / "real", fake, LENGTH, cache)
    assert record["num_fake_clips"] == 3
    other = write_videos(tmp_path / "other", seed=7)
    far = video_folders.compare_videos(tmp_path / "real", other, LENGTH, cache)
    assert record["scores"]["fvd"] < far["scores"]["fvd"] / 4


@pytest.mark.parametrize("thumbnails", [["a.jpg", "b.jpg"], ["a_1.png", "a_2.png", "b_1.png"]])
def test_thumbnails_are_no_video(thumbnails, tmp_path, capsys):
    for name in ["a.mp4", "b.mp4", *thumbnails]:
        (tmp_path / name).touch()
    assert names(tmp_path) == {"a.mp4": 0, "b.mp4": 0}
    assert f"{len(thumbnails)} files are not read" in capsys.readouterr().err


def test_frames_in_steps_and_twice(tmp_path):
    write_frames(tmp_path / "a", random_frames(2))
    (tmp_path / "a/frame_1.png").rename(tmp_path / "a/frame_5.png")
    with pytest.raises(InputError, match=r"frame_5\.png: found this frame after frame_0\.png"):
        names(tmp_path)
    for step in (5, 0):
        assert len(video_folders.find_videos("real", tmp_path, LENGTH, step).videos) == 1
    (tmp_path / "a/frame_5.jpg").touch()
    with pytest.raises(InputError, match=r"a/frame_5\.\w+: found frame_5\.\w+ beside it, expected"):
        names(tmp_path)


def test_one_video_has_to_give_two_clips(tmp_path, cache):
    pair = [
        write_videos(tmp_path / name, (lengths,), seed)
        for name, lengths, seed in (("real", 17, 0), ("fake", 18, 1))
    ]
    message = "real/0: found 17 frames, expected at least 18, 2 clips as it is the only real video$"
    with pytest.raises(InputError, match=message):
        video_folders.compare_videos(*pair, LENGTH, cache)
    record = video_folders.compare_videos(pair[1], pair[1], LENGTH, cache)
    assert record["num_real_clips"] == 2
    assert record["scores"]["fvd"] == pytest.approx(0, abs=1e-6)
    assert f"fake: 1 video in {pair[1]}, 2 clips\n" in video_folders.format_video_report(record)


def test_damaged_frames_are_no_score(tmp_path, cache):
    pair = [write_videos(tmp_path / name) for name in FOLDERS]
    path = tmp_path / "fake/2/frame_8.png"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"frame_8\.png: damaged PNG \(a checksum is wrong\)"):
        video_folders.compare_videos(*pair, LENGTH, cache)
