"""Whatever the file, the picture is upright 8-bit RGB; whatever is wrong with it, one line says so."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from emo.core.errors import InputError
from emo.media.image import read_image

RAMP = np.linspace(0, 255, 96 * 64).reshape(64, 96).astype(np.uint8)
PICTURE = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 40)], axis=-1)  # (64 96 3), no symmetry


def save(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm", "tga"])
def test_lossless_formats_give_the_pixels(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    picture = read_image(save(tmp_path / f"a.{suffix}", PICTURE, **options))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, PICTURE)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (4, PICTURE[::-1]),
        (5, PICTURE.transpose(1, 0, 2)),
        (6, np.rot90(PICTURE)),
        (7, np.rot90(PICTURE, 2).transpose(1, 0, 2)),
        (8, np.rot90(PICTURE, -1)),
    ],
)
def test_exif_rotation_is_carried_out(tmp_path, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(read_image(path), PICTURE)


def test_transparency_lies_on_white(tmp_path):
    alpha = np.full(RAMP.shape, 255, np.uint8)
    alpha[:, :32], alpha[:, 32:64] = 0, 128
    picture = read_image(save(tmp_path / "a.png", np.dstack([PICTURE, alpha])))
    assert (picture[:, :32] == 255).all()
    mixed = PICTURE[:, 32:64] * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(picture[:, 32:64], mixed, atol=1)
    np.testing.assert_array_equal(picture[:, 64:], PICTURE[:, 64:])


def test_transparent_palette_entry_lies_on_white(tmp_path):
    image = Image.fromarray((RAMP > 128).astype(np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 200])
    picture = read_image(save(tmp_path / "a.png", image, transparency=0))
    assert (picture[RAMP <= 128] == (255, 255, 255)).all()
    assert (picture[RAMP > 128] == (0, 0, 200)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    picture = read_image(save(tmp_path / "a.tiff" if mode in ("CMYK", "YCbCr") else tmp_path / "a.png", image))
    np.testing.assert_allclose(picture, np.asarray(image.convert("RGB")), atol=1)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(path), np.dstack([RAMP] * 3))


def test_dark_sixteen_bits_stay_dark(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray((RAMP // 128).astype(np.uint16)))
    assert read_image(path).max() == 0


def test_float_picture_has_white_at_one(tmp_path):
    path = save(tmp_path / "a.tiff", Image.fromarray(RAMP.astype(np.float32) / 255))
    np.testing.assert_array_equal(read_image(path), np.dstack([RAMP] * 3))


def test_lab_becomes_rgb(tmp_path):
    grey = np.zeros((64, 64, 3), np.uint8)
    grey[..., 0] = 137  # L 53.7 of 100, a = b = 0: sRGB grey of about 128
    picture = read_image(save(tmp_path / "a.tiff", Image.fromarray(grey, mode="LAB")))
    np.testing.assert_allclose(picture, 128, atol=3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    red.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[blue], lossless=True)
    np.testing.assert_allclose(read_image(tmp_path / f"a.{suffix}"), np.full((64, 64, 3), (255, 0, 0)), atol=2)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def bad_files(folder):
    save(folder / "tiny.png", np.zeros((1, 1, 3), np.uint8))
    save(folder / "narrow.png", np.zeros((200, 63, 3), np.uint8))
    save(folder / "wide.png", np.zeros((64, 8001, 3), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp", "tiff"):
        whole = save(folder / f"whole.{suffix}", noise).read_bytes()
        (folder / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    (folder / "letter.jpg").write_text("Dear reader,\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_header(60000, 60000) + struct.pack(">I", 99) + b"IDAT" + bytes(99))
    (folder / "folder.png").mkdir()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.png", "no such file"),
        ("folder.png", "is a folder"),
        ("letter.jpg", "not a picture"),
        ("empty.png", "not a picture"),
        ("tiny.png", "only 1x1"),
        ("narrow.png", "only 63x200"),
        ("wide.png", "shrink it to at most 8000"),
        ("bomb.png", "shrink it to at most 8000"),
        ("cut.png", "damaged or cut short"),
        ("cut.jpg", "damaged or cut short"),
        ("cut.tiff", "save it"),
        ("cut.webp", "save it"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, name, said):
    bad_files(tmp_path)
    with pytest.raises(InputError) as error:
        read_image(tmp_path / name)
    assert said in str(error.value) and name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(64, 64), (8000, 64), (64, 8000)])
def test_smallest_and_largest_are_read(tmp_path, size):
    height, width = size
    assert read_image(save(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))).shape == (*size, 3)
