"""The one exception that means "the user can fix this"."""


class InputError(ValueError):
    """A mistake in the user's input: a file, a config field or a command-line argument.

    The message names what was given (the file or field), what was found and what was expected.
    Commands print it as one line and exit with status 2, without a traceback.
    """
