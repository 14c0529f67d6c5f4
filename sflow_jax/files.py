"""Where files can be written, and files that a kill never leaves half of."""

import pathlib


def nearest_existing(path: pathlib.Path) -> pathlib.Path:
    """The path itself, or the folder in which making it would begin."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def write_whole(path: pathlib.Path, content: bytes | str) -> None:
    """Writes a file beside its place and renames it, making the folders that are missing.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)
