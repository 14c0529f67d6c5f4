"""Which frames a simulator's export has.

our own       FOLDER/{label,cg}/NAME.png, or a tree of such folders; classes.json at its top
CARLA         a folder for each camera, such as rgb/ and semantic_segmentation/, CameraRGB/ and
              CameraSemSeg/ or rgb_front/ and seg_front/, at any depth: EPISODE/CAMERA/000000.png
SYNTHIA       SYNTHIA-SEQS-NN-CONDITION/{RGB,GT/LABELS}/Stereo_Left/Omni_F/000000.png
SYNTHIA-RAND  RAND_CITYSCAPES/{RGB,GT/LABELS}/0000000.png
"""

import collections
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

from sflow_jax.data import frame_files, input_frames, listing
from sflow_jax.data.folder.builder import SPLITS
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import require_folder, walk
from sflow_jax.translation import simulators

FOLDER = "folder"
FORMATS = (FOLDER, *simulators.TABLES)

_NESTED = "__"  # stands for "/" in the name of a sequence or frame
_SYNTHIA_LABELS = pathlib.Path("GT", "LABELS")
# What names of folders say of a camera; what else they say, such as 'front', tells cameras apart.
_COLOR_WORDS = re.compile(r"rgb|images?")
_LABEL_WORDS = re.compile(r"semantic_?segmentation|sem_?seg|semantics?|segmentation|seg", re.I)


@dataclasses.dataclass(frozen=True)
class ExportFrame:
    """The files of one frame.

    Attributes:
        name: SPLIT/SEQUENCE/NAME, under which the set has it.
        cg: the simulator's picture.
        label: its class ids, as the simulator wrote them.
        annotations: all that the export has of the frame, but pictures; `label` is among them.
        instance: its map of instances, in our own layout.
    """

    name: str
    cg: pathlib.Path
    label: pathlib.Path
    annotations: Sequence[pathlib.Path]
    instance: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    """What a simulator wrote.

    Attributes:
        format: one of `FORMATS`.
        class_table: of its class ids.
        frames: in the order of their names.
    """

    format: str
    class_table: ClassTable
    frames: Sequence[ExportFrame]


@dataclasses.dataclass(frozen=True)
class _Camera:
    """The folders of one camera in one sequence."""

    name: str
    cg: pathlib.Path
    label: pathlib.Path
    others: Sequence[pathlib.Path]


def find_export(
    folder: pathlib.Path,
    own_table: ClassTable,
    format: str | None = None,
    split: str = SPLITS[0],
    camera_folders: tuple[str, str] | None = None,
) -> Export:
    """Lists the frames of an export.

    Args:
        folder: of the export.
        own_table: the model's, of label maps in our own layout without a classes.json.
        format: one of `FORMATS`; by default the one whose folders are found.
        split: of the set, for frames that are in none.
        camera_folders: the names of the folders of CG frames and of labels, where CARLA's are not
            recognized.

    Raises:
        InputError: there are no frames, their format is not clear, or a file lacks its partner.
    """
    require_folder(folder, "a simulator's output")
    format = format or _recognize(folder, camera_folders)
    if format == FOLDER:
        cameras, table = _own_cameras(folder), _own_classes(folder, own_table)
    else:
        table = simulators.TABLES[format]
        cameras = (
            _synthia_cameras(folder)
            if format.startswith("synthia")
            else _carla_cameras(folder, camera_folders)
        )
    if not cameras:
        raise InputError(f"{folder}: {_describe(folder)}; expected the output of {format}")
    frames: dict[str, ExportFrame] = {}
    left_out = listing.LeftOut()
    for camera in cameras:
        for frame in _list_frames(camera, _sequence(camera.name, split), left_out):
            if frame.name in frames:
                raise InputError(
                    f"{frame.cg}: found another frame {frame.name}, {frames[frame.name].cg}; "
                    "expected names that differ"
                )
            frames[frame.name] = frame
    left_out.report(folder)
    return Export(format, table, [frames[name] for name in sorted(frames)])


def _recognize(folder: pathlib.Path, camera_folders: tuple[str, str] | None) -> str:
    if cameras := _synthia_cameras(folder):
        is_rand = all(camera.label.name == _SYNTHIA_LABELS.name for camera in cameras)
        return simulators.SYNTHIA_RAND.name if is_rand else simulators.SYNTHIA.name
    if not camera_folders and any("label" in names for _, names in _walk(folder)):
        return FOLDER
    if _carla_cameras(folder, camera_folders):
        raise InputError(
            f"{folder}: found the folders of CARLA's cameras, whose class ids mean other classes "
            "since 0.9.14; expected --format carla (0.9.14 and later) or --format carla-0.9.13 "
            "(0.9.13 and before)"
        )
    raise InputError(
        f"{folder}: {_describe(folder)}; expected a label map for each CG frame, as translation "
        "keeps to labels: label/ beside cg/, the semantic segmentation camera of CARLA beside its "
        "RGB camera, or SYNTHIA's GT/LABELS beside RGB"
    )


def _describe(folder: pathlib.Path) -> str:
    """What a folder holds that is not understood."""
    counts = {place: _count_pictures(place) for place, _ in _walk(folder)}
    counts = {place: count for place, count in counts.items() if count}
    if not counts:
        return "found no pictures"
    first = ", ".join(place.name for place in list(counts)[:4])
    total = sum(counts.values())
    pictures = "a picture" if total == 1 else f"{total} pictures"
    return f"found {pictures} in {first}, and no label maps that belong to them"


def _walk(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Each folder, and the names of the folders in it, sorted."""
    for place, names, _ in walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield place, list(names)


def _own_cameras(folder: pathlib.Path) -> list[_Camera]:
    cameras = []
    for group in input_frames.find_groups(folder):
        others = [x for x in _subfolders(group) if x.name not in ("cg", "image")]
        cameras.append(_Camera(_name(folder, group), group / "cg", group / "label", others))
    return cameras


def _own_classes(folder: pathlib.Path, own_table: ClassTable) -> ClassTable:
    path = folder / CLASSES_FILE
    return ClassTable.from_json(path) if path.exists() else own_table


def _synthia_cameras(folder: pathlib.Path) -> list[_Camera]:
    cameras = []
    for drive, names in _walk(folder):
        if "GT" not in names or not (drive / _SYNTHIA_LABELS).is_dir():
            continue
        for label, _ in _walk(drive / _SYNTHIA_LABELS):
            if not _has_pictures(label):
                continue
            camera = label.relative_to(drive / _SYNTHIA_LABELS)
            kinds = [*_subfolders(drive), *_subfolders(drive / "GT")]
            others = [kind / camera for kind in kinds if kind.name not in ("RGB", "GT")]
            name = _name(folder, drive / camera)
            cameras.append(_Camera(name, drive / "RGB" / camera, label, others))
    return cameras


def _carla_cameras(folder: pathlib.Path, camera_folders: tuple[str, str] | None) -> list[_Camera]:
    cameras = []
    for place, names in _walk(folder):
        pairs = [camera_folders] if camera_folders else _pair(place, names)
        pairs = [pair for pair in pairs if set(pair) <= set(names)]
        paired = {name for pair in pairs for name in pair}
        for cg, label in pairs:
            view = _camera_of(label, _LABEL_WORDS)
            others = [
                place / name
                for name in names
                if name == label
                or (name not in paired and (len(pairs) == 1 or view in _plain(name)))
            ]
            own = place if len(pairs) == 1 else place / (view or "camera")
            cameras.append(_Camera(_name(folder, own), place / cg, place / label, others))
    return cameras


def _pair(place: pathlib.Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """The names of folders of CG frames and of labels that belong to one camera."""
    found: dict[str, list[list[str]]] = collections.defaultdict(lambda: [[], []])
    for name in names:
        for kind, words in enumerate((_COLOR_WORDS, _LABEL_WORDS)):
            if words.search(name.lower()):
                found[_camera_of(name, words)][kind].append(name)
                break
    for candidates in found.values():
        if all(candidates) and max(map(len, candidates)) > 1:
            known = ", ".join(sorted(itertools.chain(*candidates)))
            raise InputError(
                f"{place}: found the folders {known}, expected one of CG frames and one of labels; "
                "name them with --cg_folder and --label_folder"
            )
    return [(cg[0], label[0]) for cg, label in found.values() if cg and label]


def _camera_of(name: str, words: re.Pattern) -> str:
    return _plain(words.sub("", name.lower(), count=1))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(x for x in folder.iterdir() if x.is_dir() and not x.name.startswith("."))


def _name(folder: pathlib.Path, place: pathlib.Path) -> str:
    """The path of a place in the export; of the export itself its own name."""
    relative = place.relative_to(folder).as_posix()
    return folder.resolve().name if relative == "." else relative


def _sequence(name: str, split: str) -> str:
    """SPLIT/SEQUENCE; sequences of a set are not nested."""
    parts = name.split("/")
    if len(parts) > 1 and parts[0] in SPLITS:
        split, *parts = parts
    return f"{split}/{_NESTED.join(parts)}"


def _list_frames(camera: _Camera, sequence: str, left_out: listing.LeftOut) -> list[ExportFrame]:
    folders = {"cg": camera.cg, "label": camera.label}
    paths = {
        key: {
            f"{sequence}/{name.replace('/', _NESTED)}": path
            for name, path in listing.list_pictures(folder, key, left_out).items()
        }
        for key, folder in folders.items()
    }
    matched = frame_files.match(
        paths, lambda key, name: folders[key] / f"{name.rpartition('/')[2]}.png"
    )
    others = collections.defaultdict(list)
    for folder in camera.others:
        if folder.is_dir():
            for path in sorted(x for x in folder.iterdir() if x.is_file()):
                others[listing.readable(path.stem)].append(path)
    return [_export_frame(frame, others) for frame in matched]


def _export_frame(
    frame: frame_files.Frame, others: Mapping[str, Sequence[pathlib.Path]]
) -> ExportFrame:
    cg, label = frame.files["cg"], frame.files["label"]
    names = {frame.name.rpartition("/")[2], *(listing.readable(x.stem) for x in (cg, label))}
    annotations = sorted({label, *(path for name in names for path in others.get(name, ()))})
    instances = [path for path in annotations if path.parent.name == "instance"]
    return ExportFrame(frame.name, cg, label, annotations, instances[0] if instances else None)


def _has_pictures(folder: pathlib.Path) -> bool:
    return _count_pictures(folder) > 0


def _count_pictures(folder: pathlib.Path) -> int:
    """How many pictures are in a folder, but not in those below it."""
    suffixes = (path.suffix.lower() for path in folder.iterdir() if path.name[0] != ".")
    return sum(suffix in listing.COLOR_SUFFIXES for suffix in suffixes)
