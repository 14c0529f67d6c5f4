"""Files that are written whole or not at all, and checks of the paths that users give."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

from sflow_jax.errors import InputError

_LONGEST_NAME = 255  # bytes, of a file or folder; the limit of common file systems
_LONGEST_PATH = 4095
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib has made one slash of two


def named_path(option: str, text: str) -> pathlib.Path:
    """The path that an option of the command line names; it may begin with '~'.

    Args:
        option: such as '--workdir', for messages.
        text: its value.

    Raises:
        InputError: it is empty, or no file system can hold it.
    """
    if fault := fault_of_path(text):
        raise InputError(f"{option}: found {fault}, expected the path of a file or folder")
    return user_path(text)


def fault_of_path(text: str) -> str:
    """What is wrong with a path, for a message; '' if nothing is."""
    if not text.strip():
        return "nothing"
    if "\0" in text:
        return "a NUL character"
    try:
        content = text.encode()
    except UnicodeEncodeError:
        return f"{text!r}, which is not UTF-8"
    longest = max(map(len, content.split(b"/")))
    if longest > _LONGEST_NAME:
        return f"a name of {longest} bytes, longer than {_LONGEST_NAME}"
    return (
        f"{len(content)} bytes, more than {_LONGEST_PATH}" if len(content) > _LONGEST_PATH else ""
    )


def walk(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str], list[str]]]:
    """Like `os.walk`, through links too, but not into those that lead back to a folder above."""
    for directory, folders, files in os.walk(folder, followlinks=True):
        place = pathlib.Path(directory)
        above = {os.path.realpath(part) for part in (place, *place.parents)}
        folders[:] = [
            name
            for name in folders
            if not (place / name).is_symlink() or os.path.realpath(place / name) not in above
        ]
        yield place, folders, files


def user_path(path: str | os.PathLike) -> pathlib.Path:
    """A path that may begin with '~', as users write it.

    Raises:
        InputError: there is no home directory, or it is a URL, which would become a folder `gs:`.
    """
    if _URL.match(os.fspath(path)):
        raise InputError(
            f"{path}: found a URL, expected a path on this machine, such as the folder where the "
            "bucket is mounted"
        )
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: found no home directory, expected $HOME or another path"
        ) from error


def write_whole(path: pathlib.Path, content: bytes | str) -> None:
    """Writes a file under a temporary name and renames it: a kill leaves no half of it.

    Folders that are missing are made; text is UTF-8 in every locale.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # no other process's
    part.unlink(missing_ok=True)  # a link in a folder that was copied would be written through
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder to write to, which gets its name when all is written and is removed otherwise.

    Args:
        folder: which is new or empty.

    Raises:
        OSError: it cannot be written.
    """
    is_there = folder.exists()  # perhaps mounted there, so that nothing can take its place
    place = folder.resolve()
    name = f"{place.name}.{os.getpid()}.part"
    part = place / name if is_there else place.with_name(name)
    part.mkdir(parents=True)
    try:
        yield part
        if is_there:
            for path in part.iterdir():
                path.replace(place / path.name)
            part.rmdir()
        else:
            part.replace(place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_json(path: pathlib.Path, value: object) -> None:
    """Writes a value as indented JSON, whole or not at all.

    Raises:
        OSError: the file cannot be written.
        ValueError: the value holds an infinity or NaN, which JSON does not know.
    """
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def parse_json(text: str) -> Any:
    """Like `json.loads`, with a ValueError too for what would end in a RecursionError."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("found brackets within brackets, too deep to be read") from error


def read_json(path: pathlib.Path, writer: str) -> Any:
    """Reads a JSON file that a command wrote.

    Args:
        path: the file.
        writer: what wrote it, such as 'training', for messages.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_found(path, f"what {writer} wrote") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected the JSON that {writer} wrote") from error


def read_json_object(path: pathlib.Path, writer: str) -> dict[str, Any]:
    """The same of a file that holds an object.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    content = read_json(path, writer)
    if not isinstance(content, dict):
        found = type(content).__name__
        raise InputError(f"{path}: found a {found}, expected the JSON that {writer} wrote")
    return content


def sha256_of(path: pathlib.Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_held(path: pathlib.Path, name: str, size: int) -> None:
    """Checks that an array is no larger than the file that it is read from, before it is made.

    Weights are stored as they are, so that a small file of a large array was made to fill memory.

    Args:
        path: the file.
        name: of the array.
        size: of the array in bytes, as the file declares it.

    Raises:
        ValueError: the file cannot hold it.
    """
    if size > (held := path.stat().st_size):
        raise ValueError(f"{name} of {size} bytes in a file of {held}")


def require_stored_archive(path: pathlib.Path) -> None:
    """Checks by its headers that a zip archive declares no more than it holds; others pass.

    Raises:
        ValueError: it was made to fill memory.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                require_held(path, member.filename, member.file_size)


def not_found(path: pathlib.Path, expected: str) -> InputError:
    """The error for a path that does not exist."""
    return InputError(f"{path}: not found; expected {expected}")


def require_folder(folder: pathlib.Path, expected: str) -> None:
    """Checks that a folder exists.

    Args:
        folder: what the user gave.
        expected: what it should be, such as 'a folder of real images'.

    Raises:
        InputError: it does not exist or is a file.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: found {found}, expected {expected}")


def require_no_file(folder: pathlib.Path) -> None:
    """Checks that a folder is there or can be made.

    Raises:
        InputError: a file is in its place, or in that of a folder above it.
    """
    found = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not found.is_dir():
        raise InputError(f"{folder}: found the file {found}, expected a folder or nothing there")


def require_new_folder(folder: pathlib.Path) -> None:
    """Checks that results written to a folder cannot be mixed with other files.

    Raises:
        InputError: it is a file, or a folder that is not empty.
    """
    if holds_something(folder):
        raise InputError(f"{folder}: already exists, expected a new or empty folder")


def holds_something(folder: pathlib.Path) -> bool:
    """Whether a path is a file, or a folder that is not empty."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
