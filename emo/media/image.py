"""Read any image file as upright sRGB, convert images to tensors and back, measure sharpness.

Images are (H W 3) uint8 RGB.
"""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from emo.core.errors import InputError
from emo.core.files import check_input_file

if TYPE_CHECKING:
    import torch

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MIN_PIXELS, MAX_PIXELS = 64, 8000  # of a side
FORMATS = "PNG, JPEG or WebP"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}  # of pictures that are searched for in a folder
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # bytes 8..11 of the file
ICC_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}  # color space in an ICC profile's header
SRGB_TOLERANCE = 2  # levels: a profile that changes no color by more is sRGB, and pixels stay as they are
TIFF_PHOTOMETRIC, TIFF_STRIP_OFFSETS, TIFF_STRIP_BYTES, TIFF_YCBCR = 262, 273, 279, 6  # tags and a value of TIFF 6.0
NOISE_PIXELS = 1.0  # sigma of the blur before sharpness is measured: so that noise does not count


def read_image(path: str | Path) -> np.ndarray:
    """Read the image of a file of any format that Pillow supports, and HEIC where pillow-heif is installed.

    The rotation that a camera notes in EXIF is carried out, colors are converted to sRGB by the file's ICC profile,
    transparent pixels lie on white, and the first frame of an animation is taken. Gray, palette, CMYK, YCbCr, Lab,
    16-bit and floating-point images become 8-bit RGB.

    Args:
        path: The file.

    Returns:
        (H W 3) uint8 sRGB.

    Raises:
        InputError: The file is missing or damaged, is not an image, or has a side under MIN_PIXELS or over MAX_PIXELS.
    """
    path = Path(path)
    check_input_file(path, "picture file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes on size and on odd metadata; our own checks decide
        return np.array(_load(path))


def _load(path: Path) -> Image.Image:
    try:
        with _open(path) as image:
            _check_size(path, *image.size)
            return _to_rgb(_rotate_upright(_decode(path, image)))
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


def _open(path: Path) -> Image.Image:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        try:
            import pillow_heif
        except ImportError as error:
            fix = f"pip install 'emo-portrait[heic]', or save it as {FORMATS}"
            raise InputError(f"{path} is HEIC, which needs pillow-heif: {fix}") from error
        heif = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
        _check_size(path, *heif.size)
        return heif.to_pillow()
    return Image.open(path)


def _decode(path: Path, image: Image.Image) -> Image.Image:
    """The decoded image. Pillow before 12 takes an uncompressed YCbCr TIFF for RGBX and finds too few bytes."""
    try:
        image.load()
        return image
    except OSError:
        tags = getattr(image, "tag_v2", {})
        if tags.get(TIFF_PHOTOMETRIC) != TIFF_YCBCR:
            raise
        ends = [sum(span) for span in zip(tags[TIFF_STRIP_OFFSETS], tags[TIFF_STRIP_BYTES], strict=True)]
        if max(ends) > path.stat().st_size:  # it is indeed cut short
            raise
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), flags)
        if pixels is None:
            raise
        decoded = Image.fromarray(pixels[..., ::-1])
        decoded.info = dict(image.info)
        return decoded


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < MIN_PIXELS:
        needed = f"{MIN_PIXELS} pixels a side are the least"
        raise InputError(f"{path} is only {width}x{height}; {needed}, take a larger picture")
    if max(width, height) > MAX_PIXELS:
        raise InputError(_too_large(path, f" ({width}x{height})"))


def _too_large(path: Path, size: str = "") -> str:
    return f"{path} is too large{size}; shrink it to at most {MAX_PIXELS} pixels a side"


def _rotate_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that can't be parsed says nothing about the rotation
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode -> 8-bit sRGB, on white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("RGBA", "RGBX", "RGBa", "P", "PA"):
        image = image.convert("RGBA").convert("RGB") if image.mode != "RGBX" else image.convert("RGB")
    elif image.mode in ("LA", "La", "1"):
        image = image.convert("L")
    image = _convert_to_srgb(image, profile)
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode RGB, L, CMYK or LAB -> mode RGB, sRGB; a broken or missing profile counts as the usual one."""
    srgb = ImageCms.createProfile("sRGB")
    if profile and ICC_MODES.get(profile[16:20]) == image.mode:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            convert = ImageCms.buildTransform(source, srgb, image.mode, "RGB", intent, flags)
            if image.mode != "RGB" or not _is_identity(convert):
                return ImageCms.applyTransform(image, convert) or image  # None only where it works in place
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a broken profile says nothing about colors
            pass
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _is_identity(convert: ImageCms.ImageCmsTransform) -> bool:
    """Check whether a transform of RGB leaves all colors as they are, but for rounding."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    changed = np.asarray(ImageCms.applyTransform(Image.fromarray(colors), convert))
    return int(np.abs(changed.astype(int) - colors).max()) <= SRGB_TOLERANCE


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Gray of greater depth -> (H W) uint8: integers have white at 65,535; floats at 1, 255 or 65,535."""
    whites = [65535] if values.dtype.kind in "iu" else [1, 255, 65535]
    values = np.nan_to_num(values.astype(np.float32))
    peak = values.max()
    white = next((white for white in whites if peak <= white), peak)
    return np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)


def images_to_tensor(
    images: np.ndarray, device: "torch.device | str" = "cpu", dtype: "torch.dtype | None" = None
) -> "torch.Tensor":
    """Convert images for a network.

    Args:
        images: (N H W 3) uint8.
        device: Device of the tensor.
        dtype: Type of the tensor, float32 by default.

    Returns:
        (N 3 H W) in [-1, 1].
    """
    import torch  # here, so that reading an image without a network does not load torch

    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return tensor.permute(0, 3, 1, 2).to(dtype or torch.float32) / 127.5 - 1


def tensor_to_images(tensor: "torch.Tensor") -> np.ndarray:
    """Convert a network's (N 3 H W) in [-1, 1], limited to that range, to (N H W 3) uint8, rounded."""
    import torch

    levels = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a square image.

    Args:
        image: (s s 3) uint8.
        size: New side, pixels.

    Returns:
        (size size 3) uint8.
    """
    if len(image) == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if len(image) > size else cv2.INTER_CUBIC)


def measure_sharpness(gray: np.ndarray, inside: np.ndarray) -> float:
    """Measure how sharp a picture is, independent of its light and contrast.

    Args:
        gray: (H W) uint8.
        inside: (H W) bool, the pixels to measure.

    Returns:
        The energy of the Laplacian over that of the gradient, 1 / pixels²; a blur of s pixels leaves about
        1 / (2 s² + 2).
    """
    laplacian, gradient = edge_energies(gray)
    return float(laplacian[inside].mean() / max(1e-6, gradient[inside].mean()))


def edge_energies(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the squared Laplacian and the squared gradient of a picture (H W) uint8, its noise suppressed: (H W)
    float32 each."""
    blurred = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), NOISE_PIXELS)
    gradient = [cv2.Sobel(blurred, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1)]
    return cv2.Laplacian(blurred, cv2.CV_32F) ** 2, gradient[0] ** 2 + gradient[1] ** 2
