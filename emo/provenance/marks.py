"""All marks of one generated video: watermark and label in the frames, metadata and content credentials in the file.

marks = Marks("mini", sources={"portrait": "portrait.png", "sound": "song.wav"})
with VideoWriter("out.mp4", 25, metadata=marks.metadata, on_complete=marks.sign) as writer:
    writer.write(marks.mark_frame(frame))
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emo.core.errors import InputError
from emo.provenance.content_credentials import Certificate, sign_video
from emo.provenance.metadata import append_xmp, make_metadata
from emo.provenance.watermark import Watermark, choose_watermark

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

DEFAULT_LABEL = "AI-generated"
LABEL_HEIGHT_RATIO = 0.06  # of the letters, of the frame's shorter side
MAX_LABEL_CHARACTERS = 60
LABEL_BOX_OPACITY = 0.55


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


class Label:
    """Burns a visible text into a corner of all frames.

    China's GB 45438-2025 asks for letters of at least 5 % of the shorter side and at least 2 seconds at the start; the
    EU's AI Act (article 50) for a clear notice at the first sight. A label over the whole video meets both, also after
    a cut.

    Args:
        text: The text, of one line.
        font: A TrueType or OpenType font; None: a built-in one with Latin letters.

    Raises:
        InputError: The text is empty, too long, or has letters that the built-in font lacks; the font can't be read.
    """

    def __init__(self, text: str = DEFAULT_LABEL, font: str | Path | None = None):
        if not text.strip() or len(text) > MAX_LABEL_CHARACTERS or "\n" in text:
            raise InputError(f"label={text!r}: give one line of 1 to {MAX_LABEL_CHARACTERS} characters")
        if font is None and any(ord(letter) > 0xFF for letter in text):
            raise InputError(f"label={text!r}: the built-in font has Latin letters only, give label_font=FILE.ttf")
        self.text, self.font = text, font
        self._load_font(16)

    def burn(self, frame: np.ndarray) -> np.ndarray:
        """Return a copy of a frame (H W 3) uint8 with the text in its lower left corner."""
        patch, opacity = _draw(self, *frame.shape[:2])
        labeled, (height, width) = frame.copy(), opacity.shape[:2]
        margin = max(1, min(frame.shape[:2]) // 50)
        top = frame.shape[0] - margin - height
        corner = labeled[top : top + height, margin : margin + width]
        corner[:] = np.rint(corner * (1 - opacity) + patch * opacity).astype(np.uint8)
        return labeled

    def _load_font(self, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        try:
            return ImageFont.load_default(size) if self.font is None else ImageFont.truetype(str(self.font), size)
        except OSError as error:
            raise InputError(f"{self.font} can't be read as a font: give a .ttf or .otf file") from error


@lru_cache(maxsize=4)
def _draw(label: Label, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The label of a frame's size: colors (h w 3) and how much they cover (h w 1), 0 to 1."""
    size = LABEL_HEIGHT_RATIO * min(height, width)
    while True:
        font = label._load_font(size)
        x0, y0, x1, y1 = font.getbbox(label.text)
        pad = max(2, round(size / 4))
        box = round(x1 - x0) + 2 * pad, round(y1 - y0) + 2 * pad
        if box[0] <= 0.95 * width or size < 6:
            break
        size *= 0.9  # a long text on a narrow picture
    letters = Image.new("L", box)
    ImageDraw.Draw(letters).text((pad - x0, pad - y0), label.text, fill=255, font=font)
    ink = np.asarray(letters, np.float32)[: height - 2, : width - 2, None] / 255
    return 255 * ink, np.maximum(ink, LABEL_BOX_OPACITY)
