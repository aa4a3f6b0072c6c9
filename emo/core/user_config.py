"""The folder of a user's settings: which notices were read, and a certificate of his own."""

import os
from pathlib import Path

from emo.core.errors import InputError
from emo.core.files import write_text_atomic


def config_folder() -> Path:
    """Return $XDG_CONFIG_HOME/emo, else ~/.config/emo, on Windows %APPDATA%/emo. It need not exist."""
    home = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "emo"


def is_remembered(name: str) -> bool:
    """Check whether `remember` was called with this name before.

    Args:
        name: A file name.

    Returns:
        False also where the folder can't be read.
    """
    try:
        return (config_folder() / name).exists()
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return False


def remember(name: str, text: str) -> bool:
    """Write a small text for later runs.

    Args:
        name: A file name.
        text: Its content.

    Returns:
        Whether it was written; a read-only home folder is no error.
    """
    try:
        config_folder().mkdir(parents=True, exist_ok=True)
        write_text_atomic(config_folder() / name, text)
    except (OSError, RuntimeError, InputError):
        return False
    return True
