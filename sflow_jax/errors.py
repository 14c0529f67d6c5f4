"""The errors that a command reports as one line instead of a traceback."""

import contextlib
import os
from collections.abc import Iterator

_LONGEST = 300  # characters of a library's message, which may list every parameter or file


class InputError(ValueError):
    """A mistake in the user's input: a file, a config field or a command-line argument.

    The message names what was given (the file or field), what was found and what was expected.
    Commands print it as one line and exit with status 2.
    """


class TrainingError(RuntimeError):
    """A run that cannot go on, such as one with a non-finite loss.

    The message names the step and the cause. Commands print it as one line and exit with status 1.
    """


def one_line(error: Exception, longest: int | None = _LONGEST) -> str:
    """The message of a library's error, which may have many lines, for one of ours.

    Args:
        error: the library's.
        longest: characters, after which the message is cut; None keeps all.
    """
    return " ".join(str(error).split())[:longest]


@contextlib.contextmanager
def reading_from(place: str | os.PathLike, expected: str) -> Iterator[None]:
    """Turns whatever a library raises for damaged files into an `InputError` that names them.

    Args:
        place: the file or folder that is read.
        expected: what it should be, for the message.

    Raises:
        InputError: the library failed; the message begins with the library's own.
    """
    try:
        yield
    except Exception as error:
        raise InputError(f"{place}: found {one_line(error)}; expected {expected}") from error


@contextlib.contextmanager
def writing_to(folder: str | os.PathLike) -> Iterator[None]:
    """Turns an `OSError` of what writes to `folder` into an `InputError` that names the folder.

    Raises:
        InputError: the folder cannot be written, or its disk is full.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: {error}; expected a folder with room to write") from error
