"""Files that are written whole or not at all, and checks of the paths that users give."""

import hashlib
import json
import os
import pathlib
from typing import Any

from sflow_jax.errors import InputError


def user_path(path: str | os.PathLike) -> pathlib.Path:
    """A path that may begin with '~', as users write it.

    Raises:
        InputError: there is no home directory.
    """
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
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)


def write_json(path: pathlib.Path, value: object) -> None:
    """Writes a value as indented JSON, whole or not at all.

    Raises:
        OSError: the file cannot be written.
        ValueError: the value holds an infinity or NaN, which JSON does not know.
    """
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: pathlib.Path, writer: str) -> Any:
    """Reads a JSON file that a command wrote.

    Args:
        path: the file.
        writer: what wrote it, such as 'training', for messages.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_found(path, f"what {writer} wrote") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; expected the JSON that {writer} wrote") from error


def sha256_of(path: pathlib.Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
