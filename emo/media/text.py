"""Text files that come whole or not at all."""

from pathlib import Path

from emo.errors import OutputError


def write_whole(path: Path, text: str) -> None:
    """In UTF-8; a file of that name is replaced at once. Raises OutputError: no such folder, a full disk."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} can't be written ({error.strerror}): check its folder and the free space") from error
