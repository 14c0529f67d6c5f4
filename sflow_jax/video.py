"""Reads videos of any format and writes H.264 in mp4 files, frame by frame, with ffmpeg."""

import contextlib
import itertools
import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import cv2
import imageio_ffmpeg
import numpy as np
import tqdm

from sflow_jax.errors import InputError

_QUALITY = 18  # x264's constant rate factor: hard to tell from the frames
# A video that somebody else made is one file: a playlist or a script under the name of an mp4 file
# would have ffmpeg read other files and URLs.
_ALONE = (
    "-protocol_whitelist", "file,pipe",
    "-format_whitelist", "avi,gif,m4v,matroska,mov,mp4,mpeg,mpegts,mpegvideo,webm",
)  # fmt: skip
_SHORTEST_BAR = 2  # seconds; no progress bar for less

# Colors that are converted to those of HD video, and tagged so, look right in every player.
_COLORS = (
    "scale=flags=accurate_rnd+full_chroma_int:out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)


def encode(path: pathlib.Path, frames: Iterable[np.ndarray], num_frames: int, fps: float) -> None:
    """Writes a video, whole or not at all, with a progress bar if it takes long.

    The format has no sides of an odd number of pixels: such a side is extended by repeating its
    last pixels.

    Args:
        path: the mp4 file to write; missing folders are made.
        frames: uint8 RGB [H, W, 3], all of one size; at least one. One is held at a time.
        num_frames: how many there are.
        fps: frames per second.

    Raises:
        InputError: ffmpeg is missing, fails, or the file cannot be written.
        ValueError: the frames differ in size.
    """
    part = path.with_name(path.name + ".part")
    shown = iter(tqdm.tqdm(
        frames, desc=f"encoding {path.name}", total=num_frames, unit="frame", delay=_SHORTEST_BAR
    ))  # fmt: skip
    first = next(shown)
    height, width = _even(first).shape[:2]
    checked = _of_one_size(itertools.chain([first], shown))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as log:
            _run(_command(part, height, width, fps), map(_even, checked), log)
        part.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error}; expected ffmpeg with libx264, and room to write"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def is_current(
    path: pathlib.Path, sources: Iterable[pathlib.Path], num_frames: int, fps: float
) -> bool:
    """Whether a video has this length and speed and is not older than any of its sources."""
    if not path.is_file():
        return False
    written = path.stat().st_mtime_ns
    if any(source.stat().st_mtime_ns > written for source in sources):
        return False
    header = cv2.VideoCapture(os.fspath(path))
    try:
        found = header.get(cv2.CAP_PROP_FRAME_COUNT), header.get(cv2.CAP_PROP_FPS)
    finally:
        header.release()
    return found[0] == num_frames and abs(found[1] - fps) < 1e-3 * fps


def decode(path: pathlib.Path) -> Iterator[np.ndarray]:
    """Reads a video frame by frame; one is held at a time.

    OpenCV's reader would take a damaged place for the end of the video.

    Args:
        path: an AVI, GIF, Matroska, MPEG, MP4, QuickTime or WebM file.

    Yields:
        uint8 RGB [H, W, 3], all of one size.

    Raises:
        InputError: ffmpeg is missing, or the file is no video or is damaged.
    """
    try:
        with tempfile.TemporaryFile() as log:
            command = [
                _executable(), "-v", "error", "-xerror", "-nostdin", *_ALONE,
                "-i", os.path.abspath(path),
                "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24",
                "-",
            ]  # fmt: skip
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
                assert process.stdout is not None  # it is a pipe
                try:
                    while (frame := _read_ppm(process.stdout)) is not None:
                        yield frame
                except BaseException:  # including the GeneratorExit of a caller that stops early
                    process.kill()
                    raise
            _check_end(process.returncode, log)
    except OSError as error:
        raise InputError(f"{path}: {error}; expected a whole video that ffmpeg knows") from error


def _read_ppm(stream: IO[bytes]) -> np.ndarray | None:
    """The next picture of a stream in PPM format; None if the stream ends before or within it."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()  # the highest value, 255
    content = stream.read(3 * height * width)
    if len(content) < 3 * height * width:
        return None
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _executable() -> str:
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise FileNotFoundError("found no ffmpeg") from error


def _command(path: pathlib.Path, height: int, width: int, fps: float) -> list[str]:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    codec = ["-c:v", "libx264", "-crf", str(_QUALITY), "-pix_fmt", "yuv420p"]
    return [
        _executable(), "-v", "error", "-y",
        *source, "-framerate", str(fps), "-i", "-", "-vf", _COLORS, *codec,
        "-movflags", "+faststart", "-f", "mp4", os.fspath(path),
    ]  # fmt: skip


def _run(command: Sequence[str], frames: Iterable[np.ndarray], log: IO[bytes]) -> None:
    """Pipes frames through ffmpeg; an OSError says in one line why it failed."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
    ) as process:
        assert process.stdin is not None  # it is a pipe
        try:
            for frame in frames:
                process.stdin.write(frame.tobytes())
        except BrokenPipeError:
            pass  # ffmpeg has ended and said why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    _check_end(process.returncode, log)


def _check_end(status: int, log: IO[bytes]) -> None:
    """Raises an OSError with the first line of ffmpeg's log, if it failed."""
    if status:
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines() or ["no message"]
        # Without '[out#0/mp4 @ 0x5571968032c0] ' before the first one, the cause of the others.
        message = re.sub(r"^(\[[^]]*\] )+", "", lines[0])
        raise OSError(f"ffmpeg ended with status {status}: {message}")


def _of_one_size(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames, checked: ffmpeg sees a stream of bytes and would accept any size."""
    first = None
    for frame in frames:
        first = first or frame.shape
        if frame.shape != first:
            raise ValueError(f"frames of one size expected, found {first} and {frame.shape}")
        yield frame


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
