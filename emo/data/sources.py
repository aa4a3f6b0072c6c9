"""Who made a piece of footage, who is in it, and what may be done with it: the manifest beside it."""

import csv
from pathlib import Path

from emo.data.clip import ClipInfo


def read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """manifest.csv (`file,speaker,licence,source`) by file name, or nothing."""
    path = folder / "manifest.csv"
    return {row["file"]: row for row in csv.DictReader(path.open())} if path.exists() else {}


def origin(path: Path, manifest: dict[str, dict[str, str]]) -> ClipInfo:
    """What the manifest knows of a file; without a speaker it is a person of its own."""
    row = manifest.get(path.name, {})
    return ClipInfo(path.stem, row.get("speaker", path.stem), row.get("source", path.name), row.get("licence", ""), 0)
