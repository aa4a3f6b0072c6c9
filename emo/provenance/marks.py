"""All marks of one generated video: watermark and label in the frames, metadata and content credentials in the file.

marks = Marks("mini", sources={"portrait": "portrait.png", "sound": "song.wav"})
with VideoWriter("out.mp4", 25, metadata=marks.metadata, on_complete=marks.sign) as writer:
    writer.write(marks.mark_frame(frame))
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emo.provenance.content_credentials import Certificate, sign_video
from emo.provenance.label import Label
from emo.provenance.metadata import append_xmp, make_metadata
from emo.provenance.watermark import Watermark, choose_watermark

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Marks:
    """The marks of one video.

    Args:
        model_name: Name of the model that makes it.
        watermark: "auto": a new random payload; a Watermark; None: no watermark.
        label: Text of a visible label; None: no label.
        label_font: Font file of the label; None: a built-in one.
        certificate: Signs the content credentials; None: one made on this computer.
        sources: What the video was made from: name -> file.
        edited: The video that was changed, for dubbing; its own credentials are kept.

    Raises:
        InputError: A setting can't be used.
    """

    def __init__(
        self,
        model_name: str,
        *,
        watermark: Watermark | str | None = "auto",
        label: str | None = None,
        label_font: str | Path | None = None,
        certificate: Certificate | None = None,
        sources: Mapping[str, str | Path] | None = None,
        edited: str | Path | None = None,
    ):
        self.model_name = model_name
        self.watermark = choose_watermark(watermark, model_name)
        self.label = None if label is None else Label(label, label_font)
        self._certificate, self._sources = certificate, {key: Path(path) for key, path in (sources or {}).items()}
        self._edited = None if edited is None else Path(edited)

    @property
    def payload_hex(self) -> str | None:
        """The watermark's payload; None without a watermark."""
        return None if self.watermark is None else self.watermark.payload.hex

    @property
    def metadata(self) -> dict[str, str]:
        """Entries of the mp4's metadata, for `VideoWriter`."""
        return make_metadata(self.payload_hex, edited=self._edited is not None)

    def mark_frame(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of a frame (H W 3) uint8."""
        if self.label is not None:
            frame = self.label.burn(frame)
        return frame if self.watermark is None else self.watermark.mark(frame)

    def sign(self, path: Path) -> None:
        """Write XMP into a complete mp4, and content credentials where c2pa-python is installed.

        Args:
            path: The mp4, which is changed.
        """
        append_xmp(path, self.payload_hex, edited=self._edited is not None)
        sign_video(
            path,
            model_name=self.model_name,
            payload_hex=self.payload_hex,
            sources=self._sources,
            edited=self._edited,
            certificate=self._certificate,
        )


def name_model(pipeline: "DiffusionPipeline") -> str:
    """Return a pipeline's name for marks: OWNER/NAME of the Hub, or the last part of its folder, never a whole path."""
    parts = Path(str(pipeline.config.get("_name_or_path") or type(pipeline).__name__)).parts
    hub = [part.removeprefix("models--").replace("--", "/", 1) for part in parts if part.startswith("models--")]
    return hub[0] if hub else parts[-1]
