"""What a player makes of a video file."""

import dataclasses
import pathlib

import cv2
import numpy as np


@dataclasses.dataclass
class DecodedVideo:
    """A video: its codec and pixel format in four letters each, its speed and its frames.

    Attributes:
        codec: such as 'h264'.
        pixel_format: such as 'I420', which is yuv420p.
        fps: frames per second.
        frames: uint8 RGB [T, H, W, 3].
    """

    codec: str
    pixel_format: str
    fps: float
    frames: np.ndarray


def decode(path: pathlib.Path) -> DecodedVideo:
    """Decodes all frames of a video."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (frame := video.read())[0]:
        frames.append(frame[1][..., ::-1])
    return DecodedVideo(
        _letters(video.get(cv2.CAP_PROP_FOURCC)),
        _letters(video.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)),
        video.get(cv2.CAP_PROP_FPS),
        np.array(frames),
    )


def _letters(code: float) -> str:
    return int(code).to_bytes(4, "little").decode()
