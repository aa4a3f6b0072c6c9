"""What became of each source of a prepared set: nothing is done twice, and every loss has its reason.

`ledger.jsonl` lies beside the clips, with a line for each source that is done. What was left out has a picture
`dropped/NAME.jpg`, where there is a face to show.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from emo.core.errors import OutputError


@dataclass
class Piece:
    """A face through a shot, or a still that talks."""

    name: str
    seconds: float
    reason: str = ""  # why it was left out; empty: it is the clip of that name


def read_ledger(folder: Path) -> dict[str, list[Piece]]:
    """Source -> its pieces; empty without a ledger. A line that was not finished is passed over."""
    path = folder / "ledger.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["source"]: [Piece(**piece) for piece in row["pieces"]] for row in rows}


class Ledger:
    """Goes on where it stopped."""

    def __init__(self, folder: Path):
        self.path = folder / "ledger.jsonl"
        self.done = set(read_ledger(folder))
        if self.path.exists():
            whole = self.path.read_bytes()
            os.truncate(self.path, whole.rfind(b"\n") + 1)

    def add(self, source: str, pieces: list[Piece]) -> None:
        """Says what was left out, and writes the line. Raises OutputError."""
        for piece in pieces:
            if piece.reason:
                print(f"left out: {piece.name}: {piece.reason}", flush=True)
        row = {"source": source, "pieces": [asdict(piece) for piece in pieces]}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            mend = "free some space or choose another folder"
            raise OutputError(f"{self.path} can't be written ({error.strerror}); {mend}") from error
        self.done.add(source)
