"""Any image file is read as upright 8-bit sRGB; an error is one line."""

import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from emo.core.errors import InputError
from emo.media.image import images_to_tensor, read_image, tensor_to_images

RAMP = np.linspace(0, 255, 96 * 64).reshape(64, 96).astype(np.uint8)
PICTURE = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 40)], axis=-1)  # (64 96 3), no symmetry


def save(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "tga"])  # the usual formats: test_media_kinds.py
def test_lossless_formats_give_the_pixels(tmp_path, suffix):
    picture = read_image(save(tmp_path / f"a.{suffix}", PICTURE))
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
    image = Image.frombytes("P", RAMP.shape[::-1], (RAMP > 128).astype(np.uint8).tobytes())
    image.putpalette([255, 0, 0, 0, 0, 200])
    picture = read_image(save(tmp_path / "a.png", image, transparency=0))
    assert (picture[RAMP <= 128] == (255, 255, 255)).all()
    assert (picture[RAMP > 128] == (0, 0, 200)).all()


@pytest.mark.parametrize("mode", ["1", "LA", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    picture = read_image(save(tmp_path / "a.tiff" if mode in ("CMYK", "YCbCr") else tmp_path / "a.png", image))
    np.testing.assert_allclose(picture, np.asarray(image.convert("RGB")), atol=1)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    path = save(tmp_path / "a.pgm", Image.fromarray(RAMP.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(path), np.dstack([RAMP] * 3))


def test_dark_sixteen_bits_stay_dark(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray((RAMP // 128).astype(np.uint16)))
    assert read_image(path).max() == 0


def test_float_picture_has_white_at_one(tmp_path):
    path = save(tmp_path / "a.tiff", Image.fromarray(RAMP.astype(np.float32) / 255))
    np.testing.assert_array_equal(read_image(path), np.dstack([RAMP] * 3))


def test_lab_becomes_rgb(tmp_path):
    gray = np.zeros((64, 64, 3), np.uint8)
    gray[..., 0] = 137  # L 53.7 of 100, a = b = 0: sRGB gray of about 128
    picture = read_image(save(tmp_path / "a.tiff", Image.frombytes("LAB", (64, 64), gray.tobytes())))
    np.testing.assert_allclose(picture, 128, atol=3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    red, blue = (Image.new("RGB", (64, 64), color) for color in ("red", "blue"))
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


def icc_curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"


def icc_profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 profile of these tags."""
    text = b"test\0"
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78),
        b"wtpt": b"XYZ " + struct.pack(">Iiii", 0, *(round(x * 65536) for x in (0.9642, 1.0, 0.8249))),
        b"cprt": b"text" + bytes(4) + text,
        **tags,
    }
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    head = (
        struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, pcs) + bytes(12) + b"acsp"
    )
    head += bytes(28) + struct.pack(">iii", *(round(x * 65536) for x in (0.9642, 1.0, 0.8249)))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def rgb_profile(columns: list[tuple[float, float, float]], gamma: float) -> bytes:
    """columns: X, Y, Z (of D50) of red, green and blue."""
    points = [b"XYZ " + struct.pack(">Iiii", 0, *(round(x * 65536) for x in column)) for column in columns]
    curves = {name: icc_curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc_profile(b"RGB ", b"XYZ ", dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), points, strict=True)) | curves)


DISPLAY_P3 = rgb_profile([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)], 2.2)
ADOBE_RGB = rgb_profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)], 2.2)
PROPHOTO = rgb_profile([(0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)], 1.8)
GRAY_LINEAR = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": icc_curve(1.0)})


def cmyk_profile() -> bytes:
    """Cyan, magenta and yellow have no color at all, black goes from white to black: L = 100 (1 - K)."""
    corners = [[0 if index & 1 else 255, 128, 128] for index in range(16)]  # the last channel, black, runs fastest
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(sum(corners, [])) + ramp * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": table})


@pytest.mark.parametrize(
    ("profile", "stored", "shown"),
    [
        (DISPLAY_P3, (234, 51, 35), (255, 0, 0)),  # sRGB's red, as a phone stores it
        (DISPLAY_P3, (255, 0, 0), (255, 0, 0)),  # redder than sRGB can be
        (DISPLAY_P3, (128, 128, 128), (128, 128, 128)),
        (ADOBE_RGB, (219, 0, 0), (255, 0, 0)),
        (ADOBE_RGB, (0, 255, 0), (0, 255, 0)),
        (PROPHOTO, (179, 70, 26), (255, 0, 0)),
        (PROPHOTO, (100, 100, 100), (119, 119, 119)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_are_converted_from_their_profile_to_srgb(tmp_path, profile, stored, shown, mode):
    image = Image.new(mode, (64, 64), stored)
    picture = read_image(save(tmp_path / "a.png", image, icc_profile=profile))
    np.testing.assert_allclose(picture[32, 32].astype(int), shown, atol=4)


def test_gray_and_cmyk_have_profiles_too(tmp_path):
    path = save(tmp_path / "a.png", Image.new("L", (64, 64), 55), icc_profile=GRAY_LINEAR)
    np.testing.assert_allclose(read_image(path)[0, 0].astype(int), 128, atol=2)
    path = save(tmp_path / "a.tiff", Image.new("CMYK", (64, 64), (255, 255, 255, 0)), icc_profile=cmyk_profile())
    np.testing.assert_allclose(read_image(path)[0, 0].astype(int), 255, atol=2)
    path = save(tmp_path / "b.tiff", Image.new("CMYK", (64, 64), (0, 0, 0, 255)), icc_profile=cmyk_profile())
    assert read_image(path).max() <= 2


def test_pixels_with_the_profile_of_srgb_stay_as_they_are(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", PICTURE, icc_profile=srgb)), PICTURE)


@pytest.mark.parametrize("profile", [b"no profile", DISPLAY_P3[:200], DISPLAY_P3[:140] + bytes(300), GRAY_LINEAR])
def test_a_broken_profile_counts_as_none(tmp_path, profile):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", PICTURE, icc_profile=profile)), PICTURE)


def test_heic_names_the_package_that_reads_it(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a.heic is HEIC, .* pip install 'emo-portrait\[heic\]'"):
        read_image(path)


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(Image.fromarray(PICTURE)).save(tmp_path / "a.heic", quality=-1, exif=exif.tobytes())
    picture = read_image(tmp_path / "a.heic")
    assert picture.shape in (PICTURE.shape, PICTURE.transpose(1, 0, 2).shape)
    assert np.abs(picture.mean((0, 1)) - PICTURE.mean((0, 1))).max() < 3


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png", "folder/" * 800 + "a.png"])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path, name):
    with pytest.raises(InputError) as error:
        read_image(tmp_path / name)
    assert "\n" not in str(error.value)


def test_images_and_tensors_are_each_other_s_inverse():
    images = np.stack([PICTURE, 255 - PICTURE])
    tensor = images_to_tensor(images)
    assert tensor.shape == (2, 3, 64, 96) and tensor.dtype == torch.float32
    assert tensor.min() == -1 and tensor.max() == 1
    np.testing.assert_array_equal(tensor_to_images(tensor), images)
    np.testing.assert_array_equal(tensor_to_images(3 * tensor)[images == 0], 0)
