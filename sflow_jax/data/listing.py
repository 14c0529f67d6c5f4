"""Which files of a folder are frames, and what each frame is called.

Names come from many systems. A frame's name is in NFC, which macOS does not write, and readable
whatever the encoding of the file system. What begins with a dot (such as macOS' `._*`) is never a
frame. Files that are not read are counted and reported: none is left out silently.
"""

import collections
import os
import pathlib
import re
import sys
import unicodedata
from collections.abc import Collection, Iterator, Mapping

from sflow_jax.data import photographs
from sflow_jax.data.images import COLOR_KEYS
from sflow_jax.errors import InputError
from sflow_jax.files import walk

COLOR_SUFFIXES = tuple(sorted({".png", *photographs.SUFFIXES}))
_TEXTS = (".csv", ".db", ".json", ".md", ".txt", ".xml", ".yaml", ".yml")  # nobody misses a frame
_READ = f"images are {' '.join(COLOR_SUFFIXES)}, label maps .png"
_MAC_FOLDER = "__MACOSX"  # of archives: it mirrors all files as `._*`

# Of Cityscapes, in whose folders colors, polygons and train ids lie beside the label maps.
_PUBLISHED_ENDINGS = {
    "image": re.compile(r"_leftImg8bit$"),
    "label": re.compile(r"(_gt(Fine|Coarse))?_labelIds$"),
    "instance": re.compile(r"(_gt(Fine|Coarse))?_instanceIds$"),
}
_LAST_WORD = re.compile(r"[_.-](?=[^_.\-/]*[A-Za-z])[^_.\-/]+$")  # not a number, which tells frames


class LeftOut:
    """The files that a command does not read, for one note about all of them."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._example: pathlib.Path | None = None

    def add(self, path: pathlib.Path) -> None:
        """Counts a file, if it may be a picture."""
        if path.suffix.lower() in _TEXTS:
            return
        self._counts[path.suffix.lower() or "without ending"] += 1
        self._example = self._example or path

    def describe(self) -> str:
        """Such as '3 files are not read (2 .heic, 1 .raw), such as a/x.heic'; '' without any."""
        if not self._example:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._counts.most_common())
        total = self._counts.total()
        found = f"{counted(total, 'file')} {'is' if total == 1 else 'are'} not read"
        return f"{found} ({kinds}), such as {readable(self._example)}"

    def report(self, folder: pathlib.Path, read: str = _READ) -> None:
        """Prints a note, if there is anything to say; `read` tells what is read."""
        if found := self.describe():
            print(f"note: {readable(folder)}: {found}; {read}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """Such as '1 file' or '2 files'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def readable(path: str | os.PathLike) -> str:
    """A path or name as text that can be printed and stored, in NFC.

    Bytes that are not in the file system's encoding are read as UTF-8 or, failing that, Latin-1.
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(text)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    return unicodedata.normalize("NFC", text)


def list_pictures(folder: pathlib.Path, key: str, left_out: LeftOut) -> dict[str, pathlib.Path]:
    """Lists the pictures in a folder and in those below it.

    Args:
        folder: of one key; where it does not exist, there are none.
        key: 'image', 'label', 'cg', 'instance' or 'annotation'; all but colors are PNGs.
        left_out: counts the other files.

    Returns:
        The files by the names of their frames: their paths in the folder, without ending, sorted.

    Raises:
        InputError: two files have the same name, or ids are in a format that may change them.
    """
    pictures: dict[str, pathlib.Path] = {}
    for path in _select(_walk(folder), key, left_out):
        name = readable(path.relative_to(folder).with_suffix(""))
        if name in pictures:
            raise InputError(
                f"{readable(path)}: found {readable(pictures[name].name)} beside it, expected one "
                "file for each frame"
            )
        pictures[name] = path
    return dict(sorted(pictures.items()))


def without_endings(
    paths: Mapping[str, Mapping[str, pathlib.Path]],
) -> tuple[dict[str, dict[str, pathlib.Path]], dict[str, str]]:
    """Takes off what the names of a key end with, such as '_leftImg8bit', if that pairs more files.

    Args:
        paths: the files of each key by the name of their frame.

    Returns:
        The same without the endings, and the ending of each key, '' where there is none.
    """
    endings = {key: _common_ending(names) for key, names in paths.items()}
    shortened = {
        key: {name.removesuffix(endings[key]): path for name, path in names.items()}
        for key, names in paths.items()
    }
    if _num_complete(shortened.values()) > _num_complete(paths.values()):
        return shortened, endings
    return {key: dict(names) for key, names in paths.items()}, dict.fromkeys(paths, "")


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for place, folders, names in walk(folder):
        folders[:] = sorted(x for x in folders if not x.startswith(".") and x != _MAC_FOLDER)
        yield from (place / name for name in sorted(names) if not name.startswith("."))


def _select(found: Iterator[pathlib.Path], key: str, left_out: LeftOut) -> list[pathlib.Path]:
    """The pictures of a key; of Cityscapes' several files of a frame the one of the key."""
    pictures = []
    for path in found:
        suffix = path.suffix.lower()
        if suffix == ".png" or (key in COLOR_KEYS and suffix in COLOR_SUFFIXES):
            pictures.append(path)
        elif suffix in COLOR_SUFFIXES:
            raise InputError(
                f"{readable(path)}: found a {suffix} file, expected a PNG with the ids of the "
                f"{key}s: other formats may change ids"
            )
        else:
            left_out.add(path)
    published = _PUBLISHED_ENDINGS.get(key)
    if published and any(published.search(path.stem) for path in pictures):
        for path in pictures:
            if not published.search(path.stem):
                left_out.add(path)
        pictures = [path for path in pictures if published.search(path.stem)]
    return pictures


def _common_ending(names: Collection[str]) -> str:
    """The last words that all names share, such as '_gtFine_labelIds'."""
    ending, rest = "", list(names)
    while rest:
        last = {match[0] if (match := _LAST_WORD.search(name)) else "" for name in rest}
        word = last.pop()
        if last or not word:
            break
        ending = word + ending
        rest = [name.removesuffix(word) for name in rest]
    return ending


def _num_complete(names: Collection[Collection[str]]) -> int:
    """How many frames have a file of every key."""
    return len(set.intersection(*map(set, names))) if names else 0
