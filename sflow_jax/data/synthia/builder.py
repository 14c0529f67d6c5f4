"""Builder of SYNTHIA's video sequences (Ros et al., CVPR 2016) from their published layout.

SOURCE/SYNTHIA-SEQS-NN-CONDITION/RGB/Stereo_{Left,Right}/Omni_{F,B,L,R}/000000.png
SOURCE/SYNTHIA-SEQS-NN-CONDITION/GT/LABELS/Stereo_{Left,Right}/Omni_{F,B,L,R}/000000.png
"""

import itertools
import os
import pathlib
from collections.abc import Sequence

from sflow_jax.data import frame_files, frame_reading, labels, listing
from sflow_jax.errors import InputError

_DRIVE = "SYNTHIA-SEQS-"
_CAMERA = "Stereo_*/Omni_*"
_FOLDERS = {"image": pathlib.Path("RGB"), "annotation": pathlib.Path("GT", "LABELS")}
_SPLITS = ("train", "validation", "test")


class Synthia(frame_files.FrameFilesBuilder):
    """SYNTHIA's drives with the labels of `labels.SYNTHIA` and instances.

    All cameras in the source are read. Each camera of a drive is one video sequence; its frames
    are named such as 'SYNTHIA-SEQS-04-DAWN/Stereo_Left/Omni_F/000012'.

    SYNTHIA publishes no splits, so each sequence is cut into three blocks in the order of its
    frames: the last tenth, rounded down, is for test, the tenth before for validation, and the
    rest, at least 80 %, for training. The cameras of a drive, which see the same places, are thus
    cut at the same frames, and so are single frames and pairs or clips: no frame that one stage
    trained on tests another stage. None spans two blocks. A split without examples is left out.
    """

    def __init__(
        self,
        *,
        source: str | os.PathLike,
        height: int,
        width: int,
        frames: int = 1,
        frame_step: int = 1,
        data_dir: str | os.PathLike | None = None,
    ):
        """Lists the files.

        Args:
            source: the folder with one or more `SYNTHIA-SEQS-NN-CONDITION`, or one of these.
            height: of the examples, in pixels; 0 (with width 0) keeps 1280x760.
            width: of the examples, in pixels.
            frames: consecutive frames of each example; pairs have the flow between them.
            frame_step: from the number of a frame to the next one's; 0 takes their order alone.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.

        Raises:
            InputError: the folder is no such dataset, a file lacks its partner, or the frames of
                pairs have gaps.
        """
        frame_files.check_example_size(height, width, frames)
        source = pathlib.Path(source)
        frame_files.check_directory(source)
        super().__init__(
            splits=_list_splits(source, frames, frame_step),
            class_table=labels.SYNTHIA,
            source=source,
            height=height,
            width=width,
            read=frame_reading.read_annotated_frame,
            data_dir=data_dir,
        )


def _list_splits(
    source: pathlib.Path, num_frames: int, frame_step: int
) -> dict[str, list[tuple[frame_files.Frame, ...]]]:
    splits: dict[str, list[tuple[frame_files.Frame, ...]]] = {split: [] for split in _SPLITS}
    left_out = listing.LeftOut()
    for drive in _list_drives(source):
        for camera in _list_cameras(drive):
            sequence = _list_sequence(drive, camera, num_frames, frame_step, left_out)
            for split, block in zip(_SPLITS, _cut(sequence), strict=True):
                splits[split] += frame_files.windows(block, num_frames)
    left_out.report(source)
    return {split: examples for split, examples in splits.items() if examples}


def _list_drives(source: pathlib.Path) -> list[pathlib.Path]:
    if source.name.startswith(_DRIVE):
        return [source]
    drives = sorted(path for path in source.glob(f"{_DRIVE}*") if path.is_dir())
    if not drives:
        raise InputError(f"{source}: found no drive, expected folders {_DRIVE}NN-CONDITION")
    return drives


def _list_cameras(drive: pathlib.Path) -> list[pathlib.Path]:
    """The cameras of a drive, such as Stereo_Left/Omni_F, even if one lacks images or labels."""
    cameras = {
        path.relative_to(drive / folder)
        for folder in _FOLDERS.values()
        for path in (drive / folder).glob(_CAMERA)
        if path.is_dir()
    }
    if not cameras:
        raise InputError(f"{drive}: found no camera, expected folders RGB/{_CAMERA}")
    return sorted(cameras)


def _list_sequence(
    drive: pathlib.Path,
    camera: pathlib.Path,
    num_frames: int,
    frame_step: int,
    left_out: listing.LeftOut,
) -> list[frame_files.Frame]:
    """The frames of a camera in order; for pairs and clips, without gaps."""
    folders = {key: drive / folder / camera for key, folder in _FOLDERS.items()}
    paths = {
        key: {
            f"{drive.name}/{camera.as_posix()}/{name}": path
            for name, path in listing.list_pictures(folder, key, left_out).items()
        }
        for key, folder in folders.items()
    }
    if not any(paths.values()):
        raise InputError(f"{folders['image']}: found no images, expected 000000.png and so on")
    frames = frame_files.match(
        paths, lambda key, name: folders[key] / f"{name.rpartition('/')[2]}.png"
    )
    return frame_files.consecutive_frames(frames, num_frames, folders["image"], frame_step)


def _cut(sequence: Sequence[frame_files.Frame]) -> list[Sequence[frame_files.Frame]]:
    """Cuts a sequence into its blocks for training, validation and test."""
    tenth = len(sequence) // 10
    borders = (0, len(sequence) - 2 * tenth, len(sequence) - tenth, len(sequence))
    return [sequence[start:end] for start, end in itertools.pairwise(borders)]
