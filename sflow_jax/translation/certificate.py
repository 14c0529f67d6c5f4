"""What each frame of a set was made of, in a form that a machine can check.

recipe.json has what all frames share, certificate.jsonl a line of JSON for each frame and variant:

    frame, variant     which one
    inputs             path in the export and SHA-256 of the CG frame and its class ids
    outputs            SHA-256 of each file of the set, annotations included
    agreement          share of the pixels in which a segmenter finds the class of the label map
    class_iou          the same as IoU of each class, in which what is invented counts as well
    seed, controls     what the generator was told: DNED's ensemble weights, the number of a palette
    weights, code      SHA-256 of the networks, and of this package
    recipe             SHA-256 of recipe.json
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from sflow_jax.errors import InputError
from sflow_jax.files import fault_of_path, parse_json, sha256_of, write_whole
from sflow_jax.translation.typed import check_fields

RECIPE_FILE, CERTIFICATE_FILE = "recipe.json", "certificate.jsonl"
_LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "pillow")
_ESCAPED = re.compile("[\udc80-\udcff]")
_PACKAGE = pathlib.Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Line:
    """What is certified of one variant of a frame; see the module.

    Paths of `outputs` are those in the set without `set_aside/`.
    """

    frame: str
    variant: int
    inputs: dict[str, dict[str, str]]
    outputs: dict[str, str]
    agreement: float | None
    class_iou: dict[str, float]
    seed: int | None
    controls: dict[str, Any]
    weights: str
    code: str
    recipe: str

    @property
    def key(self) -> tuple[str, int]:
        """Frame and variant."""
        return self.frame, self.variant


def hash_text(text: str) -> str:
    """The SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_code() -> str:
    """The SHA-256 of all Python files of this package, with their names."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def describe_machine() -> dict[str, Any]:
    """What else the last bit of a picture depends on: libraries and devices."""
    devices = jax.local_devices()
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "machine": platform.machine(),
    }


def read_lines(output: pathlib.Path) -> list[Line]:
    """Reads the certificate; of a last line that an interruption has cut nothing is left.

    Raises:
        InputError: another line is damaged.
    """
    path = output / CERTIFICATE_FILE
    if not path.exists():
        return []
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected what translate wrote") from error
    lines = []
    for number, text in enumerate(texts[:-1], start=1):  # whole lines end with a line break
        try:
            lines.append(_to_line(text))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}: line {number}: {error}; expected what translate wrote"
            ) from error
    return lines


def write_lines(output: pathlib.Path, lines: Iterable[Line]) -> None:
    """Writes the certificate anew, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(output / CERTIFICATE_FILE, "".join(map(_to_text, lines)))


def append_lines(output: pathlib.Path, lines: Sequence[Line]) -> None:
    """Adds lines for frames whose files are all written; not through a link.

    Raises:
        OSError: they cannot be written.
    """

    def open_itself(path: str, mode: int) -> int:
        return os.open(path, mode | os.O_NOFOLLOW, 0o666)

    path = output / CERTIFICATE_FILE
    with open(path, "a", encoding="utf-8", opener=open_itself) as file:
        file.write("".join(map(_to_text, lines)))


def _to_line(text: str) -> Line:
    """Reads a line.

    Raises:
        TypeError, ValueError: it is none.
    """
    line = Line(**parse_json(text))
    check_fields(line)
    for entry in line.inputs.values():
        if entry.keys() != {"path", "sha256"}:
            raise ValueError(f"inputs has {entry!r}")
    for path in (*line.outputs, *(entry["path"] for entry in line.inputs.values())):
        place = pathlib.PurePosixPath(path)
        # Bytes of names that are not UTF-8 are one character each.
        fault = fault_of_path(_ESCAPED.sub("?", path))
        if fault or not place.parts or place.is_absolute() or ".." in place.parts:
            raise ValueError(f"found the path {path!r} outside the folder")
    return line


def _to_text(line: Line) -> str:
    return json.dumps(dataclasses.asdict(line), allow_nan=False) + "\n"
