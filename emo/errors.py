"""The errors that are the user's to mend; each message is one line that names the file and the mend."""


class InputError(ValueError):
    """What was given can't be used."""


class OutputError(InputError):
    """The result can't be written: a full disk, no permission. Another input would fare no better."""
