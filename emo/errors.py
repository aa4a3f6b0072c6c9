"""The one error that is the user's to mend."""


class InputError(ValueError):
    """What was given can't be used; the message is one line that names the file and the mend."""
