"""Log the results of each source of a prepared set: no source is processed twice, each rejection has its reason.

`processing_log.jsonl` lies beside the clips, with a line for each source that is done. A face that was dropped has a
picture `dropped/NAME.jpg`.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from emo.core.errors import InputError, OutputError

FILE_NAME, OLD_FILE_NAME = "processing_log.jsonl", "ledger.jsonl"


@dataclass
class LogItem:
    """A tracked face of a video, or a talking still.

    Attributes:
        name: Name of the clip.
        seconds: Its length.
        reason: Why it was dropped; empty: it is the clip of that name.
    """

    name: str
    seconds: float
    reason: str = ""


def read_processing_log(folder: Path) -> dict[str, list[LogItem]]:
    """Read the results of the sources of a folder of clips; an unfinished last line is skipped.

    Returns:
        The items of each source; empty without a log.

    Raises:
        InputError: The folder has a log under its old name.
    """
    path = folder / FILE_NAME
    if not path.exists() and (folder / OLD_FILE_NAME).exists():
        raise InputError(f"{folder / OLD_FILE_NAME}: rename it to {FILE_NAME}")
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["source"]: [LogItem(**piece) for piece in row["pieces"]] for row in rows}


class ProcessingLog:
    """The log of a folder, to continue where it stopped.

    Attributes:
        done: The sources that are logged.
    """

    def __init__(self, folder: Path):
        """Open the log of a folder and cut off an unfinished last line."""
        self.path = folder / FILE_NAME
        self.done = set(read_processing_log(folder))
        if self.path.exists():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)

    def add(self, source: str, items: list[LogItem]) -> None:
        """Write the line of a source and print its rejected items.

        Args:
            source: Key of the source.
            items: Results of the source.

        Raises:
            OutputError: The log can't be written.
        """
        for item in items:
            if item.reason:
                print(f"left out: {item.name}: {item.reason}", flush=True)
        row = {"source": source, "pieces": [asdict(item) for item in items]}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            fix = "free some space or choose another folder"
            raise OutputError(f"{self.path} can't be written ({error.strerror}); {fix}") from error
        self.done.add(source)
