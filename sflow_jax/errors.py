"""The errors that a command reports as one line instead of a traceback."""


class InputError(ValueError):
    """A mistake in the user's input: a file, a config field or a command-line argument.

    The message names what was given (the file or field), what was found and what was expected.
    Commands print it as one line and exit with status 2.
    """


def one_line(error: Exception) -> str:
    """The message of a library's error, which may have several lines, for one of ours."""
    return " ".join(str(error).split())


class TrainingError(RuntimeError):
    """A run that cannot go on, such as one with a non-finite loss.

    The message names the step and the cause. Commands print it as one line and exit with status 1.
    """
