"""What marks a file bears, as `emo-detect` prints it: watermark, content credentials, metadata."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.core.errors import InputError
from emo.media.html import render_page, render_table
from emo.media.image import IMAGE_SUFFIXES
from emo.media.video import VIDEO_SUFFIXES
from emo.provenance.content_credentials import FoundCredentials, read_credentials
from emo.provenance.detection import Detection, find_watermark, read_evidence
from emo.provenance.metadata import FoundMetadata, read_metadata
from emo.provenance.payload import hash_model_name

KNOWN_MODELS = ("mini",)  # names whose number in a payload is told
LEAST_PROBABILITY = 1e-100  # shown: smaller bounds say no more
NO_MARK = "no mark found, which does not say that it is real"


@dataclass(frozen=True)
class FileReport:
    """The marks of one file.

    Attributes:
        path: The file.
        watermark: What the detector found; None where the file can't be read.
        credentials: Content credentials.
        metadata: XMP and AIGC entries.
        error: Why it can't be read.
    """

    path: Path
    watermark: Detection | None = None
    credentials: FoundCredentials = FoundCredentials("none")
    metadata: FoundMetadata = FoundMetadata()
    error: str | None = None

    @property
    def made_by_emo(self) -> bool:
        """Whether a mark of this package was found that can't get there by chance: a watermark or valid credentials."""
        signed = self.credentials.ours and self.credentials.state == "valid"
        return signed or (self.watermark is not None and self.watermark.found)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        if self.watermark is None:
            return {"file": str(self.path), "error": self.error}
        found = self.watermark
        payload = found.payload
        return {
            "file": str(self.path),
            "made_by_emo": self.made_by_emo,
            "watermark": {
                "found": found.found,
                "false_alarm_probability": max(found.false_alarm_probability, LEAST_PROBABILITY),
                "payload": payload and payload.hex,
                "model": payload and name_model_number(payload.model_id),
                "seconds": [list(stretch) for stretch in found.seconds],
            },
            "c2pa": vars(self.credentials),
            "metadata": vars(self.metadata),
        }

    def as_lines(self) -> list[str]:
        """Return the report for people."""
        if self.watermark is None:
            return [f"{self.path}: {self.error}"]
        return [
            f"{self.path}: made by emo: {'yes' if self.made_by_emo else NO_MARK}",
            f"  watermark: {describe_watermark(self.watermark)}",
            f"  content credentials: {describe_credentials(self.credentials)}",
            f"  metadata: {describe_metadata(self.metadata)}",
        ]


def list_media(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and the pictures and videos in the folders.

    Raises:
        InputError: A folder has none.
    """
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES]
        if not inside:
            raise InputError(f"{path} has no pictures or videos: give another folder")
        found += inside
    return found


def inspect_file(path: Path) -> FileReport:
    """Look for all marks in a file; where it can't be read, the report says so."""
    try:
        return FileReport(path, find_watermark(read_evidence(path)), read_credentials(path), read_metadata(path))
    except InputError as error:
        return FileReport(path, error=str(error))


def name_model_number(number: int) -> str:
    """Return the model's name where it is known, else its number in hexadecimal."""
    names = {hash_model_name(name): name for name in KNOWN_MODELS}
    return names.get(number, f"{number:05x}")


def describe_watermark(found: Detection) -> str:
    """Return one line on the watermark."""
    probability = f"false-alarm probability {max(found.false_alarm_probability, LEAST_PROBABILITY):.0e}"
    if not found.found:
        return f"not found ({probability})"
    payload = found.payload
    read = f"payload {payload.hex}, model {name_model_number(payload.model_id)}" if payload else "payload unreadable"
    where = ", ".join(f"{start:g} to {end:g} s" for start, end in found.seconds)
    return f"found ({probability}), {read}" + (f", at {where}" if where else "")


def describe_credentials(found: FoundCredentials) -> str:
    """Return one line on the content credentials."""
    notes = [note for note in (found.issuer and f"signed by {found.issuer!r}", found.reason) if note]
    return found.state + (f" ({', '.join(notes)})" if notes else "")


def describe_metadata(found: FoundMetadata) -> str:
    """Return one line on the metadata."""
    notes = [found.source_type and f"digital source type {found.source_type}", found.aigc and "AIGC label"]
    return ", ".join(note for note in notes if note) or "none"


def render_report(reports: list[FileReport]) -> str:
    """Return an HTML page with a row for each file."""
    rows = [
        (
            str(report.path),
            report.error or ("yes" if report.made_by_emo else "no mark found"),
            describe_watermark(report.watermark) if report.watermark else "",
            describe_credentials(report.credentials),
            describe_metadata(report.metadata),
        )
        for report in reports
    ]
    head = ("file", "made by emo", "watermark", "content credentials", "metadata")
    note = "<p>Where no mark is found, a file may still be generated, by another program or with its marks removed.</p>"
    return render_page("Marks", [render_table("Marks", rows, head), note])
