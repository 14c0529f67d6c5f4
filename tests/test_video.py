import os
import weakref

import imageio_ffmpeg
import numpy as np
import pytest

from sflow_jax import video
from sflow_jax.errors import InputError
from tests.decoded_video import decode

HEIGHT, WIDTH = 37, 51


def frame(index, height=HEIGHT, width=WIDTH):
    """A smooth pattern that moves by three pixels per frame, so that neighbors differ."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin((columns + 3 * index) / 9), np.cos(rows / 15), np.sin((rows - index) / 12)]
    return np.stack([128 + 100 * wave for wave in waves], -1).astype(np.uint8)


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


def test_a_video_of_odd_size_shows_the_frames_themselves(tmp_path):
    path = tmp_path / "new/clip.mp4"
    frames = [frame(index) for index in range(9)]
    video.encode(path, frames, 9, 12.5)
    found = decode(path)
    assert (found.codec, found.pixel_format, found.fps) == ("h264", "I420", 12.5)
    decoded = found.frames
    assert decoded.shape == (9, HEIGHT + 1, WIDTH + 1, 3)
    for index in range(9):
        errors = [difference(decoded[index, :HEIGHT, :WIDTH], other) for other in frames]
        assert errors[index] < 4  # of 255: colors have half the resolution
        assert min(errors[:index] + errors[index + 1 :]) > 8
    # One pixel more at the end of each side, which repeats the last one.
    assert difference(decoded[:, -1, :WIDTH], np.array(frames)[:, -1]) < 4
    assert difference(decoded[:, :HEIGHT, -1], np.array(frames)[:, :, -1]) < 4
    assert os.listdir(path.parent) == ["clip.mp4"]


def test_colors_are_shown_as_they_are(tmp_path):
    colors = np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 64, 128], [255, 255, 255]])
    frames = [np.full((32, 32, 3), color) for color in colors]
    video.encode(tmp_path / "clip.mp4", frames, 5, 15)
    decoded = decode(tmp_path / "clip.mp4").frames
    assert np.abs(decoded.astype(int) - np.array(frames)).max() <= 4


def test_frames_are_not_kept_once_they_are_encoded(tmp_path):
    live, most = set(), []

    def frames():
        for index in range(200):
            picture = frame(index, 32, 32)
            live.add(index)
            weakref.finalize(picture, live.discard, index)
            most.append(len(live))
            yield picture

    video.encode(tmp_path / "clip.mp4", frames(), 200, 15)
    assert len(most) == 200
    # The first, which gives the size, the previous and the present one.
    assert max(most) <= 3


def test_a_full_disk_is_one_line_and_leaves_the_video_that_was_there(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("before")
    (tmp_path / "clip.mp4.part").symlink_to("/dev/full")
    with pytest.raises(InputError) as error:
        video.encode(path, [frame(index, 256, 256) for index in range(30)], 30, 15)
    assert str(error.value).startswith(f"{path}: ffmpeg ended with status ")
    assert str(error.value).endswith(
        "No space left on device; expected ffmpeg with libx264, and room to write"
    )
    assert "\n" not in str(error.value)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_missing_ffmpeg_is_one_line(tmp_path, monkeypatch):
    def message():
        with pytest.raises(InputError) as error:
            video.encode(tmp_path / "clip.mp4", [frame(0)], 1, 15)
        return str(error.value)

    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert "No such file or directory: '/nowhere/ffmpeg'; expected ffmpeg with" in message()

    def no_ffmpeg():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", no_ffmpeg)
    assert "clip.mp4: found no ffmpeg; expected ffmpeg with libx264" in message()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("frame: damaged PNG")])
def test_whatever_stops_the_frames_stops_the_video(error, tmp_path):
    def frames():
        yield frame(0)
        yield frame(1)
        raise error

    with pytest.raises(type(error)) as raised:
        video.encode(tmp_path / "clip.mp4", frames(), 3, 15)
    assert raised.value is error
    assert not os.listdir(tmp_path)


def test_a_video_is_current_until_anything_about_it_changes(tmp_path):
    path, source = tmp_path / "clip.mp4", tmp_path / "frame.png"
    source.write_text("")
    assert not video.is_current(path, [source], 4, 15)
    video.encode(path, map(frame, range(4)), 4, 15)
    assert video.is_current(path, [source], 4, 15)
    assert not video.is_current(path, [source], 5, 15)
    assert not video.is_current(path, [source], 4, 30)
    now = path.stat().st_mtime_ns
    os.utime(source, ns=(now + 1, now + 1))
    assert not video.is_current(path, [source], 4, 15)
    path.write_bytes(path.read_bytes()[:100])
    assert not video.is_current(path, [], 4, 15)


def test_a_speed_of_a_fraction_is_kept(tmp_path):
    video.encode(tmp_path / "clip.mp4", map(frame, range(3)), 3, 29.97)
    assert video.is_current(tmp_path / "clip.mp4", [], 3, 29.97)
    assert not video.is_current(tmp_path / "clip.mp4", [], 3, 30)


def test_frames_of_two_sizes_are_no_video(tmp_path):
    """Not even of as many pixels, which would be read in other places."""
    path = tmp_path / "clip.mp4"
    with pytest.raises(ValueError, match=r"found \(37, 51, 3\) and \(51, 37, 3\)"):
        video.encode(path, [frame(0), frame(1, WIDTH, HEIGHT)], 2, 10)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A video with enough bytes to damage some, and its frames."""
    random = np.random.RandomState(0)
    frames = [random.randint(0, 256, (32, 48, 3)).astype(np.uint8) for _ in range(20)]
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    video.encode(path, frames, 20, 15)
    return path, frames


def test_decoded_frames_are_those_that_were_encoded(tmp_path):
    frames = [frame(index, 32, 48) for index in range(12)]
    video.encode(tmp_path / "clip.mp4", frames, 12, 15)
    decoded = list(video.decode(tmp_path / "clip.mp4"))
    assert decoded[0].dtype == np.uint8
    assert [found.shape for found in decoded] == [(32, 48, 3)] * 12
    for index, found in enumerate(decoded):
        errors = [difference(found, other) for other in frames]
        assert np.argmin(errors) == index
        assert errors[index] < 4


def test_no_more_is_decoded_than_is_asked_for(noise):
    path, _ = noise
    frames = video.decode(path)
    assert next(frames).shape == (32, 48, 3)
    frames.close()  # ends ffmpeg, which waits to be read
    assert len(list(video.decode(path))) == 20


@pytest.mark.parametrize("damage", ["the second half is missing", "bytes that changed"])
def test_damage_is_no_end_of_a_video(noise, tmp_path, damage):
    content = bytearray(noise[0].read_bytes())
    half = len(content) // 2
    if damage == "bytes that changed":
        content[half : half + 2000] = bytes(byte ^ 0x5A for byte in content[half : half + 2000])
    else:
        del content[half:]
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"damaged\.mp4: ffmpeg ended with status .*; expected a"
    ) as error:
        list(video.decode(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_what_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"clip\.mp4: ffmpeg ended with .*; expected a whole video"
    ):
        next(video.decode(path))
