"""Where each file of a training set lies, and writing those of a frame.

    SET/classes.json                              the model's classes
    SET/train/SEQUENCE/image/NAME.png             the translated frame
    SET/train/SEQUENCE/label/NAME.png             its label map, in the model's classes
    SET/train/SEQUENCE/agreement/NAME.png         0 where a segmenter finds another class
    SET/train/SEQUENCE/instance/NAME.png          where the run needs it
    SET/annotations/train/SEQUENCE/FOLDER/FILE    what the export has of the frame, untouched
    SET/set_aside/train/SEQUENCE/...              frames that are set aside, likewise
    SET/recipe.json, SET/certificate.jsonl        what all was made of

It is a dataset that configs/folder.py and `train_segmenter` read. Of several variants each is a
sequence of its own, SEQUENCE__variant_00.
"""

import pathlib
import shutil

from sflow_jax.files import sha256_of
from sflow_jax.translation.exports import ExportFrame

SET_ASIDE = "set_aside"
_ANNOTATIONS = "annotations"
IMAGE, LABEL, AGREEMENT, INSTANCE = "image", "label", "agreement", "instance"


def relative_path(frame: str, key: str, variant: int | None = None) -> str:
    """Where the set has a file of a frame.

    Args:
        frame: its name, SPLIT/SEQUENCE/NAME.
        key: such as `IMAGE`.
        variant: its number; None where there is only one.
    """
    sequence, _, name = frame.rpartition("/")
    suffix = "" if variant is None else f"__variant_{variant:02d}"
    return f"{sequence}{suffix}/{key}/{name}.png"


def annotation_path(frame: ExportFrame, annotation: pathlib.Path, folder: pathlib.Path) -> str:
    """Where the set has an annotation: in a folder named as the one that the export has it in.

    Args:
        frame: that it belongs to.
        annotation: its file in the export.
        folder: of the export.
    """
    split, sequence, _ = frame.name.split("/")
    # Of EPISODE/CAMERA the sequence says EPISODE already; so of GT/LABELS/Stereo_Left/Omni_F.
    said = {split, *sequence.split("__")}
    own = [part for part in annotation.parent.relative_to(folder).parts if part not in said]
    return "/".join([_ANNOTATIONS, split, sequence, *own, annotation.name])


def find(output: pathlib.Path, relative: str) -> pathlib.Path:
    """A file of the set, be its frame set aside or not; the path where it should be if absent."""
    aside = output / SET_ASIDE / relative
    return aside if aside.exists() else output / relative


def is_annotation(relative: str) -> bool:
    """Whether a path in the set is that of an annotation, which all variants share."""
    return relative.startswith(f"{_ANNOTATIONS}/")


def copy_untouched(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file byte by byte, whole or not at all, if it is not there yet with these bytes.

    Raises:
        OSError: one of them cannot be read or written.
    """
    is_copy = target.is_file() and not target.is_symlink()
    if is_copy and sha256_of(target) == sha256_of(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)  # a link would be written through
    shutil.copyfile(source, part)
    part.replace(target)
