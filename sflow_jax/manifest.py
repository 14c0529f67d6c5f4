"""A list of a folder's files with their sizes and SHA-256 sums, by which damage to them is found.

It is written into the folder when that is whole. A folder without one, of an earlier version, is
taken as it is. It guards against damage, not against somebody who writes another list.
"""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Collection, Iterable

from sflow_jax.errors import InputError
from sflow_jax.files import read_json, sha256_of, write_json

MANIFEST_FILE = "manifest.json"
_THREADS = min(4, os.cpu_count() or 1)  # hashing lets other threads of Python go on


def write_manifest(folder: pathlib.Path, left_out: Collection[str] = ()) -> None:
    """Reads all files of a folder, at any depth, and writes the list of them.

    Args:
        folder: that is whole.
        left_out: the names of files that will still change.

    Raises:
        OSError: a file cannot be read, or the list not be written.
    """
    sizes = {name: size for name, size in _sizes(folder).items() if name not in left_out}
    sums = _sums(folder, sizes)
    write_json(
        folder / MANIFEST_FILE,
        {"files": {name: {"bytes": sizes[name], "sha256": sums[name]} for name in sorted(sizes)}},
    )


def has_manifest(folder: pathlib.Path) -> bool:
    """Whether a folder has a list of its files."""
    return (folder / MANIFEST_FILE).is_file()


def check_sizes(folder: pathlib.Path) -> None:
    """Checks that each file in the list is there in its size, without reading it.

    Raises:
        InputError: names the first that is not, or the list is damaged.
    """
    found = _sizes(folder)
    for name, entry in _read(folder).items():
        if name not in found:
            raise InputError(f"{folder}: found no {name}, expected {entry['bytes']} bytes of it")
        if found[name] != entry["bytes"]:
            raise InputError(
                f"{folder / name}: found {found[name]} bytes, expected {entry['bytes']}"
            )


def check_contents(folder: pathlib.Path, suffix: str = "") -> None:
    """Checks that each file in the list is what was written.

    Args:
        folder: with a list; others pass.
        suffix: leaves out the content of files whose names end otherwise.

    Raises:
        InputError: names the first that is not, or the list is damaged.
    """
    check_sizes(folder)
    files = {name: entry for name, entry in _read(folder).items() if name.endswith(suffix)}
    try:
        sums = _sums(folder, files)
    except OSError as error:
        raise InputError(f"{folder}: {error}; expected files that can be read") from error
    for name, entry in files.items():
        if sums[name] != entry["sha256"]:
            raise InputError(
                f"{folder / name}: damaged: its SHA-256 is {sums[name][:16]}..., "
                f"expected {entry['sha256'][:16]}..."
            )


def fingerprint(folder: pathlib.Path, part: str) -> str:
    """What tells the content of some files from any other, by the list alone.

    Args:
        folder: with a list.
        part: which is in the names of these files.

    Returns:
        16 hexadecimal digits; '' for a folder without a list.

    Raises:
        InputError: the list is damaged.
    """
    files = _read(folder)
    if not files:
        return ""
    lines = [f"{name} {files[name]['sha256']}\n" for name in sorted(files) if part in name]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _read(folder: pathlib.Path) -> dict[str, dict]:
    """The entries by name; none of a folder without a list."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return {}
    content = read_json(path, "what wrote the folder")
    try:
        return {
            name: {"bytes": entry["bytes"], "sha256": str(entry["sha256"])}
            for name, entry in content["files"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: found no sizes and sums, expected those of files") from error


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    """The sizes of all regular files in a folder but the list itself, by their paths in it.

    What a list names is never opened by that name: it could lead anywhere.
    """
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST_FILE
    }


def _sums(folder: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 sums of files by name."""
    names = list(names)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        paths = [folder / name for name in names]
        return dict(zip(names, threads.map(sha256_of, paths), strict=True))
