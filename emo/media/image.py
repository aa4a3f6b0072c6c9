"""Read any image file as upright RGB; measure its sharpness.

Any picture file -> upright RGB.

picture (H W 3) uint8

How sharp a picture of a face is, whatever its light and contrast.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from emo.core.errors import InputError

SMALLEST_PIXELS = 64
LARGEST_PIXELS = 8000
FORMATS = "PNG, JPEG or WebP"


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file of any format that Pillow reads: (H W 3) uint8 RGB.

    The rotation that a camera notes in EXIF is carried out, transparency lies on white, and of an animation
    the first frame is taken. Grey, palette, CMYK, Lab, 16-bit and floating-point pictures become 8-bit RGB.

    Raises InputError: no such file, a folder, not a picture, damaged, a side under 64 or over 8,000 pixels.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a picture file")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes on size and on odd metadata; our own checks decide
        return np.array(_load(path))


def _load(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            _check_size(path, *image.size)
            image.load()
            return _rgb(_upright(image))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read; save it as {FORMATS}") from error
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except Exception as error:  # each decoder has errors of its own for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} is damaged or cut short ({reason}); save it again as {FORMATS}"
        raise InputError(message) from error


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST_PIXELS:
        needed = f"{SMALLEST_PIXELS} pixels a side are the least"
        raise InputError(f"{path} is only {width}x{height}; {needed}, take a larger picture")
    if max(width, height) > LARGEST_PIXELS:
        raise InputError(_too_large(path, f" ({width}x{height})"))


def _too_large(path: Path, size: str = "") -> str:
    return f"{path} is too large{size}; shrink it to at most {LARGEST_PIXELS} pixels a side"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that can't be parsed says nothing about the rotation
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey of greater depth -> (H W) uint8: integers have white at 65,535; floats at 1, 255 or 65,535."""
    whites = [65535] if values.dtype.kind in "iu" else [1, 255, 65535]
    values = np.nan_to_num(values.astype(np.float32))
    peak = values.max()
    white = next((white for white in whites if peak <= white), peak)
    return np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)


NOISE_PIXELS = 1.0  # sigma of the blur before: noise is no sharpness


def sharpness(grey: np.ndarray, inside: np.ndarray) -> float:
    """grey (H W) uint8, inside (H W) bool, where to look -> the Laplacian's energy over the gradient's, 1 / pixels²:
    neither light nor contrast counts, and a blur of s pixels leaves about 1 / (2 s² + 2)."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), NOISE_PIXELS)
    bend = cv2.Laplacian(soft, cv2.CV_32F)
    slope = [cv2.Sobel(soft, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1)]
    return float((bend[inside] ** 2).mean() / max(1e-6, sum((s[inside] ** 2).mean() for s in slope)))
