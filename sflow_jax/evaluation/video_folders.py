"""FVD of one folder of videos against another, read recursively.

A video is a file that ffmpeg knows, or a folder of images numbered at the end of their names. Of
each, all frames are used in consecutive clips that do not overlap; a rest at its end is left out,
and so are videos shorter than a clip.
"""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tqdm

from sflow_jax import sharding, video
from sflow_jax.data import listing
from sflow_jax.data.frame_files import consecutive
from sflow_jax.data.images import check_header, read_color, require_size
from sflow_jax.errors import InputError
from sflow_jax.evaluation.distances import FEWEST
from sflow_jax.evaluation.folders import (
    ComparedFolder,
    compute_statistics,
    format_scores,
    walk,
)
from sflow_jax.files import require_folder
from sflow_jax.metrics import fvd
from sflow_jax.metrics.frechet import frechet_distance

SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")

_MOST_NAMED = 3
_FRAMES_FOLDER = "frames"  # of `sample --video`, which writes the video next to it


@dataclasses.dataclass(frozen=True)
class Video:
    """One video.

    Attributes:
        path: the video file, or the folder of its frames.
        frames: its images in the order of their numbers; none of a video file.
    """

    path: pathlib.Path
    frames: Sequence[pathlib.Path] = ()

    def read(self) -> Iterator[np.ndarray]:
        """Reads uint8 RGB [H, W, 3] one by one.

        Raises:
            InputError: a file is missing or damaged.
        """
        return map(read_color, self.frames) if self.frames else video.decode(self.path)

    def sizes(self, most: int) -> Iterator[tuple[pathlib.Path, tuple[int, int]]]:
        """The (width, height) of all frames by their headers, or of the first so many decoded ones.

        Raises:
            InputError: a file is missing or damaged.
        """
        for path in self.frames:
            yield path, check_header(path, "image").size
        if not self.frames:
            for frame in itertools.islice(video.decode(self.path), most):
                yield self.path, frame.shape[1::-1]


@dataclasses.dataclass(frozen=True)
class Videos(ComparedFolder):
    """The videos of a folder, which give at least two clips; see `find_videos`.

    Attributes:
        videos: at least one, in the order of their names.
        clip_frames: frames of the clips that they are cut into.
    """

    videos: Sequence[Video]
    clip_frames: int

    def check(self) -> None:
        """Finds out whether videos can be decoded, are long enough and of one size.

        Those that are shorter than a clip are set aside with a note.

        Raises:
            InputError: one is damaged or of another size, or too few are long enough.
        """
        short, long = [], []
        first: tuple[pathlib.Path, tuple[int, int]] | None = None
        for one in tqdm.tqdm(self.videos, f"checking {self.name}", unit="video", leave=False):
            sizes = list(one.sizes(self.clip_frames))
            if len(sizes) < self.clip_frames:
                short.append((one, len(sizes)))
                continue
            long.append(one)
            first = first or sizes[0]
            for path, size in sizes:
                require_size(path, size, *first)
        self._require_clips(short, long)
        if short:
            found = ", ".join(f"{one.path} ({count})" for one, count in short[:_MOST_NAMED])
            more = ", ..." if len(short) > _MOST_NAMED else ""
            print(
                f"note: {self.folder}: set aside {listing.counted(len(short), 'video')} of "
                f"{len(self.videos)}, shorter than a clip of {self.clip_frames} frames: "
                f"{found}{more}",
                file=sys.stderr,
            )

    def _require_clips(self, short: Sequence[tuple[Video, int]], long: Sequence[Video]) -> None:
        """Checks that there are two clips."""
        if len(long) >= FEWEST:
            return
        needed, reason = self.clip_frames, ""
        one, count = short[0] if short else (long[0], 0)
        if long:
            needed *= FEWEST
            reason = f", {FEWEST} clips as it is the only {self.name} video"
            reason += " that is long enough" if short else ""
            one, count = long[0], len(list(long[0].sizes(needed)))
        if count < needed:
            raise InputError(
                f"{one.path}: found {count} frames, expected at least {needed}{reason}"
            )

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Reads uint8 RGB [N, T, H, W, 3], N at most `batch_size`, with a progress bar.

        Raises:
            InputError: a file is missing or damaged.
        """
        clips = self._clips()
        while batch := list(itertools.islice(clips, batch_size)):
            yield np.stack(batch)

    def _clips(self) -> Iterator[np.ndarray]:
        for one in tqdm.tqdm(sharding.share_of_host(self.videos), self.name, unit="video"):
            yield from fvd.cut_clips(one.read(), self.clip_frames)


def find_videos(
    name: str, folder: pathlib.Path, clip_frames: int = fvd.CLIP_FRAMES, frame_step: int = 1
) -> Videos:
    """Finds the videos in a folder and in those below it.

    A second copy of a video is left out: a video file next to its frames, or next to a folder
    `frames` of them, as `sample --video` writes it. Where there are label maps in a folder `label`,
    the video is in the folder `image` next to it.

    Args:
        name: 'real' or 'fake'.
        folder: to search.
        clip_frames: frames of a clip, at least 9.
        frame_step: from the number of a frame to the next one's; see `frame_files.consecutive`.

    Raises:
        InputError: it is no folder, holds no video, or the frames of one are not consecutive.
    """
    require_folder(folder, f"a folder of {name} videos")
    left_out = listing.LeftOut()
    try:
        videos = sorted(_walk(folder, frame_step, left_out), key=lambda one: one.path)
    finally:
        left_out.report(folder, f"videos are {' '.join(SUFFIXES)}, or folders of numbered images")
    if not videos:
        raise InputError(
            f"{folder}: found no video, expected files ({', '.join(SUFFIXES)}) or folders of "
            "numbered images"
        )
    paths = [path for one in videos for path in one.frames or [one.path]]
    return Videos(name, folder, paths, videos, clip_frames)


def _walk(folder: pathlib.Path, frame_step: int, left_out: listing.LeftOut) -> Iterator[Video]:
    for place, paths in walk(folder):
        files = [path for path in paths if path.suffix.lower() in SUFFIXES]
        pictures = [path for path in paths if path.suffix.lower() in listing.COLOR_SUFFIXES]
        for path in paths:
            if path not in files and path not in pictures:
                left_out.add(path)
        if pictures and not _are_thumbnails(pictures, files):
            yield Video(place, _in_order(pictures, frame_step))
            continue
        for path in pictures:
            left_out.add(path)
        if not _holds_pictures(place / _FRAMES_FOLDER):
            yield from map(Video, files)


def _in_order(pictures: Sequence[pathlib.Path], frame_step: int) -> list[pathlib.Path]:
    by_stem: dict[str, pathlib.Path] = {}
    for path in pictures:
        if path.stem in by_stem:
            other = by_stem[path.stem].name
            raise InputError(f"{path}: found {other} beside it, expected one file for each frame")
        by_stem[path.stem] = path
    return [by_stem[stem] for stem in consecutive(by_stem, frame_step)]


def _are_thumbnails(pictures: Sequence[pathlib.Path], files: Sequence[pathlib.Path]) -> bool:
    """Whether pictures show what is in the video files beside them, and are no frames."""
    stems = tuple(path.stem for path in files)
    return len(pictures) <= len(files) or all(path.stem.startswith(stems) for path in pictures)


def _holds_pictures(folder: pathlib.Path) -> bool:
    return folder.is_dir() and any(
        path.suffix.lower() in listing.COLOR_SUFFIXES for path in folder.iterdir()
    )


def compare_videos(
    real_folder: pathlib.Path,
    fake_folder: pathlib.Path,
    clip_frames: int = fvd.CLIP_FRAMES,
    cache_dir: pathlib.Path | None = None,
    frame_step: int = 1,
) -> dict[str, object]:
    """Computes the Fréchet video distance between two folders of videos.

    Args:
        real_folder: of real videos, all of one size.
        fake_folder: of generated videos, all of one size, which may be another.
        clip_frames: frames of the clips, at least 9.
        cache_dir: the folder of the weights and of the real videos' statistics; by default
            $SFLOW_CACHE or ~/.cache/sflow_jax.
        frame_step: from the number of a frame to the next one's, of folders of frames.

    Returns:
        A record: the folders, their numbers of videos and of clips, the clips' length, the protocol
        and `scores`, which has `fvd`.

    Raises:
        InputError: the weights are absent (the message has the command that gets them), or the
            videos of a folder cannot be decoded, are too short, differ in size or are too few.
    """
    real = find_videos("real", real_folder, clip_frames, frame_step)
    fake = find_videos("fake", fake_folder, clip_frames, frame_step)
    extractor = fvd.i3d_extractor(cache_dir)
    protocol = fvd.PROTOCOL.name
    key = {"protocol": protocol, "clip_frames": str(clip_frames)}
    statistics = compute_statistics(real, fake, extractor, key, cache_dir)
    first, second = (part.gaussian for part in statistics)
    return {
        "real": str(real_folder.absolute()),
        "fake": str(fake_folder.absolute()),
        "num_real": len(real.videos),
        "num_fake": len(fake.videos),
        "num_real_clips": first.count,
        "num_fake_clips": second.count,
        "clip_frames": clip_frames,
        "protocol": protocol,
        "scores": {"fvd": frechet_distance(first, second)},
    }


def format_video_report(record: Mapping) -> str:
    """The table of a record of `compare`, under what a reader has to know."""
    notes = [
        f"{name}: {listing.counted(record[f'num_{name}'], 'video')} in {record[name]}, "
        f"{listing.counted(record[f'num_{name}_clips'], 'clip')}"
        for name in ("real", "fake")
    ]
    notes.append(
        f"I3D logits of consecutive clips of {record['clip_frames']} frames by the protocol "
        f"{record['protocol']}. Compare FVD only between equal numbers of clips of one length."
    )
    return format_scores(notes, record["scores"])
