"""Files that appear whole or not at all, so that a kill never leaves half of one."""

import pathlib


def write_whole(path: pathlib.Path, content: bytes | str) -> None:
    """Writes a file beside its place and renames it, making the folders that are missing.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)
