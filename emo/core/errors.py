"""Errors that the user can fix. Each message is one line that names the file and the fix."""


class InputError(ValueError):
    """What was given can't be used."""


class OutputError(InputError):
    """The result can't be written: a full disk, no permission. Another input would fare no better."""
