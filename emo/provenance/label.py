"""The visible label that `--label` burns into the frames: a line of text in a corner, from the first frame to the last.

China's GB 45438-2025 asks for letters of at least 5 % of the shorter side and at least 2 seconds at the start; the EU's
AI Act (article 50) for a clear notice at the first sight. A label over the whole video meets both, also after a cut.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emo.core.errors import InputError

DEFAULT_LABEL = "AI-generated"
HEIGHT_RATIO = 0.06  # of the letters, of the frame's shorter side
MOST_CHARACTERS = 60
BOX_OPACITY = 0.55


class Label:
    """Burns a text into frames.

    Args:
        text: The text, of one line.
        font: A TrueType or OpenType font; None: a built-in one with Latin letters.

    Raises:
        InputError: The text is empty, too long, or has letters that the built-in font lacks; the font can't be read.
    """

    def __init__(self, text: str = DEFAULT_LABEL, font: str | Path | None = None):
        if not text.strip() or len(text) > MOST_CHARACTERS or "\n" in text:
            raise InputError(f"label={text!r}: give one line of 1 to {MOST_CHARACTERS} characters")
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
    size = HEIGHT_RATIO * min(height, width)
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
    return 255 * ink, np.maximum(ink, BOX_OPACITY)
