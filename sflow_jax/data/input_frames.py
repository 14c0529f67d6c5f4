"""Finds and checks the frames to translate, before any of them is translated.

    FOLDER/label/NAME.png     8-bit class ids
    FOLDER/cg/NAME.jpg        the simulator's frame (JPEG, PNG or another common format),
    FOLDER/image/NAME.jpg     or the real one, whose edges guide the generator
    FOLDER/instance/NAME.png  ids of instances, for a method that needs them

or any tree of such folders, such as `SEQUENCE/{label,cg,image}` or an exported dataset.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from sflow_jax.data import frame_files, images, listing
from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import require_folder, walk

EDGE_SOURCES = ("cg", "image", "none")

INPUT_KEYS = ("label", "cg", "image")
ReadLabelMap = Callable[[pathlib.Path], np.ndarray]
"""Reads a label map, uint8 [H, W, 1]."""

_CHECKED_AT_ONCE = 64  # bounds the memory of the check


@dataclasses.dataclass(frozen=True)
class InputFrame:
    """The files of one frame to translate.

    Attributes:
        name: its path in the input folder, without `label/` and without `.png`.
        label: its label map.
        edges: the image whose edges guide the generator, or None.
        real: the real image to show next to the result, or None.
        size: height and width, pixels.
        instance: its map of instances, for a method that needs one, or None.
    """

    name: str
    label: pathlib.Path
    edges: pathlib.Path | None
    real: pathlib.Path | None
    size: tuple[int, int]
    instance: pathlib.Path | None = None

    @property
    def guides(self) -> list[pathlib.Path]:
        """The files that its translation depends on."""
        return [path for path in (self.label, self.edges, self.instance) if path]

    @property
    def files(self) -> list[pathlib.Path]:
        """All of its files."""
        return [*self.guides, self.real] if self.real else self.guides


@dataclasses.dataclass(frozen=True)
class Clip:
    """Consecutive frames of one size.

    Attributes:
        name: the path of their folder in the input folder; '.' for the input folder itself.
        frames: in the order of their numbers.
    """

    name: str
    frames: Sequence[InputFrame]


@dataclasses.dataclass(frozen=True)
class InputBatch:
    """Frames of one size that are translated together.

    Attributes:
        frames: at most B.
        label: uint8 [B, H, W, 1], class ids; the last frame is repeated to fill the batch.
        edge_image: uint8 RGB [B, H, W, 3], likewise.
        inputs: what else the method needs, by key, such as `instance` uint16 [B, H, W, 1].
    """

    frames: Sequence[InputFrame]
    label: np.ndarray
    edge_image: np.ndarray
    inputs: Mapping[str, np.ndarray]


def find_groups(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the folders that hold a folder `label`, sorted: `folder` itself or folders below it.

    Raises:
        InputError: not a folder, without label maps, or with frames but without their label maps.
    """
    require_folder(folder, "a folder of frames")
    groups = []
    for directory, names, _ in walk(folder):
        keys = [key for key in INPUT_KEYS if key in names]
        if keys and "label" not in keys:
            label_folder = directory / "label"
            raise InputError(f"{label_folder}: not found, expected the label maps of {keys[0]}/")
        if keys:
            groups.append(directory)
        names[:] = [name for name in names if name not in INPUT_KEYS and not name.startswith(".")]
    if not groups:
        raise InputError(f"{folder}: found no folder 'label' in it or below, expected label maps")
    return sorted(groups)


def resolve_edge_source(groups: Sequence[pathlib.Path], edges: str) -> str:
    """Decides where edges come from, the same for all frames: 'cg', 'image' or 'none'.

    Args:
        groups: folders that hold a folder `label`.
        edges: one of these, or 'auto' for 'cg' where there is one and else 'image'.

    Raises:
        InputError: 'auto', and there is neither.
    """
    if edges != "auto":
        return edges
    for source in ("cg", "image"):
        if any((group / source).is_dir() for group in groups):
            return source
    raise InputError(
        f"{groups[0]}: found neither cg/ nor image/ next to label/, "
        "expected one of them, or --edges none"
    )


def list_frames(
    folder: pathlib.Path,
    groups: Sequence[pathlib.Path],
    edge_source: str,
    with_real: bool = False,
    input_keys: Sequence[str] = (),
) -> list[InputFrame]:
    """Lists the frames of all groups in the order of their names.

    Args:
        folder: the input folder, from which names count.
        groups: its folders with a folder `label`.
        edge_source: 'cg', 'image' or 'none'; a frame must have this file.
        with_real: also take the real images of the frames that have one.
        input_keys: what else a frame must have, of `instance`.

    Raises:
        InputError: a file lacks its partner or its label map's header is wrong, or there is none.
    """
    left_out = listing.LeftOut()
    keys = ["label", *([] if edge_source == "none" else [edge_source]), *input_keys]
    try:
        frames = [
            frame
            for group in groups
            for frame in _list_group(folder, group, keys, with_real, left_out)
        ]
    finally:  # what is not read may be why there is an error
        left_out.report(folder)
    if not frames:
        raise InputError(f"{groups[0] / 'label'}: found no PNG files, expected label maps")
    by_name: dict[str, InputFrame] = {}
    for frame in frames:  # a/label/b/1.png and a/b/label/1.png
        other = by_name.setdefault(frame.name, frame)
        if other is not frame:
            raise InputError(
                f"{frame.label}: found the frame {frame.name!r} in {other.label} too, expected one"
            )
    return sorted(frames, key=lambda frame: frame.name)


def _list_group(
    folder: pathlib.Path,
    group: pathlib.Path,
    keys: Sequence[str],
    with_real: bool,
    left_out: listing.LeftOut,
) -> Iterator[InputFrame]:
    """The frames of one folder; `keys` are those that they must have."""
    paths = {key: listing.list_pictures(group / key, key, left_out) for key in keys}
    matched = frame_files.match(paths, lambda key, name: group / key / f"{name}.png")
    real = _find_real(group, matched) if with_real else {}
    place = pathlib.PurePath(listing.readable(group.relative_to(folder)))
    for frame in matched:
        label = frame.files["label"]
        header = images.check_header(label, "label")
        yield InputFrame(
            name=str(place / frame.name),
            label=label,
            edges=next((frame.files[key] for key in EDGE_SOURCES if key in frame.files), None),
            real=real.get(label),
            size=(header.height, header.width),
            instance=frame.files.get("instance"),
        )


def _find_real(
    group: pathlib.Path, frames: Sequence[frame_files.Frame]
) -> dict[pathlib.Path, pathlib.Path]:
    """The real images by the label maps of their frames."""
    label = {frame.name: frame.files["label"] for frame in frames}
    image = listing.list_pictures(group / "image", "image", listing.LeftOut())
    paths, _ = listing.without_endings({"label": label, "image": image})
    return {
        path: paths["image"][name]
        for name, path in paths["label"].items()
        if name in paths["image"]
    }


def find_clips(frames: Iterable[InputFrame], frame_step: int = 1) -> list[Clip]:
    """Sorts the frames of each folder by the numbers at the end of their names.

    Args:
        frames: of all folders.
        frame_step: from the number of a frame to the next one's; see `frame_files.consecutive`.

    Raises:
        InputError: a name has no number at its end, or the frames of a folder are not consecutive
            or differ in size.
    """
    folders: dict[str, dict[str, InputFrame]] = {}
    for frame in frames:
        name = os.path.dirname(frame.name) or "."
        folders.setdefault(name, {})[frame.name] = frame
    clips = []
    for name, members in folders.items():
        labels = {frame.name: frame.label for frame in members.values()}
        order = frame_files.consecutive(labels, frame_step)
        clip = Clip(name, [members[frame_name] for frame_name in order])
        first = clip.frames[0]
        for frame in clip.frames:
            _require_size(frame.label, frame.size, first)
        clips.append(clip)
    return clips


def check_frames(frames: Sequence[InputFrame], class_table: ClassTable) -> None:
    """Reads every file of the frames once, in threads and with a progress bar.

    Raises:
        InputError: the first file that is damaged, of a wrong kind or size, or with unknown ids.
    """
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor,
        tqdm.tqdm(total=len(frames), desc="checking", unit="frame", leave=False) as bar,
    ):
        for start in range(0, len(frames), _CHECKED_AT_ONCE):
            some = frames[start : start + _CHECKED_AT_ONCE]
            for _ in executor.map(lambda frame: _check_frame(frame, class_table), some):
                bar.update()


def read_batches(
    frames: Sequence[InputFrame],
    batch_sizes: Mapping[tuple[int, int], int],
    read_label_map: ReadLabelMap,
) -> Iterator[InputBatch]:
    """Reads frames in batches of one size.

    Args:
        frames: what to read.
        batch_sizes: B for each size of frames, the same for all batches of a size.
        read_label_map: reads the label map of a frame, in the classes of the model.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for size, batch_size in batch_sizes.items():
            same_size = [frame for frame in frames if frame.size == size]
            for start in range(0, len(same_size), batch_size):
                some = same_size[start : start + batch_size]
                arrays = {
                    "label": pool.map(read_label_map, [frame.label for frame in some]),
                    "edge_image": pool.map(_read_edge_image, some),
                }
                if some[0].instance:
                    paths = [frame.instance for frame in some if frame.instance]
                    arrays["instance"] = pool.map(images.read_instance_map, paths)
                stacks = {key: _stack(list(maps), batch_size) for key, maps in arrays.items()}
                yield InputBatch(some, stacks.pop("label"), stacks.pop("edge_image"), stacks)


def _stack(arrays: list[np.ndarray], batch_size: int) -> np.ndarray:
    return np.stack(arrays + arrays[-1:] * (batch_size - len(arrays)))


def _read_edge_image(frame: InputFrame) -> np.ndarray:
    # An image of one color has no edges.
    return images.read_color(frame.edges) if frame.edges else np.zeros((*frame.size, 3), np.uint8)


def _check_frame(frame: InputFrame, class_table: ClassTable) -> None:
    images.read_label_map(frame.label, class_table)
    if frame.instance:
        instance = images.read_instance_map(frame.instance)
        _require_size(frame.instance, instance.shape[:2], frame)
    for path in filter(None, (frame.edges, frame.real)):
        _require_size(path, images.read_color(path).shape[:2], frame)


def _require_size(path: pathlib.Path, size: tuple[int, int], reference: InputFrame) -> None:
    """Sizes are (height, width)."""
    images.require_size(path, size[::-1], reference.label, reference.size[::-1])
