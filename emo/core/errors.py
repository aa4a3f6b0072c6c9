"""Errors that the user can fix; commands print them as one line and exit with code 2."""


class InputError(ValueError):
    """An input can't be used. The message is one line that names the file or parameter and the fix."""


class OutputError(InputError):
    """A result can't be written (a full disk, no permission); another input would fail in the same way."""
