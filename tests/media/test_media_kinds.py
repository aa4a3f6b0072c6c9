"""Every kind of sound and picture that people bring gives the right samples and pixels."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo.media.audio import read_audio
from emo.media.image import read_image

RATE = 16000  # Hz, of what is read
TONES = ((170, 0.30), (410, 0.22), (930, 0.18), (1430, 0.15))  # Hz and amplitude: below half of the lowest rate


def voice(rate: int, seconds: float = 1.0) -> np.ndarray:
    """(S,) the sound of all files: tones that swell, the same at each rate."""
    times = np.arange(round(seconds * rate)) / rate
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * times / seconds)
    return swell * sum(amplitude * np.sin(2 * np.pi * hz * times) for hz, amplitude in TONES)


# name, codec, Hz, layout, gain of each channel, gain of what is read, largest error
SOUNDS = [
    ("pcm8.wav", "pcm_u8", 16000, "mono", (1,), 1, 8e-3),
    ("pcm16.wav", "pcm_s16le", 44100, "mono", (1,), 1, 5e-4),
    ("pcm24.wav", "pcm_s24le", 48000, "mono", (1,), 1, 5e-4),
    ("pcm32.wav", "pcm_s32le", 48000, "mono", (1,), 1, 5e-4),
    ("float.wav", "pcm_f32le", 48000, "mono", (1,), 1, 5e-4),
    ("double.wav", "pcm_f64le", 48000, "mono", (1,), 1, 5e-4),
    ("mono.mp3", "libmp3lame", 44100, "mono", (1,), 1, 0.05),
    ("stereo.mp3", "libmp3lame", 44100, "stereo", (1, 1), 1, 0.05),
    ("mono.m4a", "aac", 48000, "mono", (1,), 1, 0.03),
    ("stereo.m4a", "aac", 44100, "stereo", (1, 1), 1, 0.03),
    ("mono.flac", "flac", 44100, "mono", (1,), 1, 5e-4),
    ("5.1.flac", "flac", 48000, "5.1", (1,) * 6, 1, 5e-4),
    ("flac.ogg", "flac", 48000, "mono", (1,), 1, 5e-4),
    ("opus.ogg", "libopus", 48000, "mono", (1,), 1, 0.03),
    ("stereo.opus", "libopus", 48000, "stereo", (1, 1), 1, 0.03),
    ("surround.m4a", "aac", 48000, "5.1", (0, 0, 1, 0, 0, 0), 1 / 6, 0.03),
    ("left.wav", "pcm_s16le", 16000, "stereo", (1, 0), 1 / 2, 5e-4),
    ("right.mp3", "libmp3lame", 44100, "stereo", (0, 1), 1 / 2, 0.03),
    ("center.wav", "pcm_s16le", 48000, "5.1", (0, 0, 1, 0, 0, 0), 1 / 6, 5e-4),
    ("antiphase.wav", "pcm_s16le", 44100, "stereo", (1, -1), 1, 5e-4),
    ("antiphase.flac", "flac", 44100, "5.1", (0.5, -0.5, 0, 0, 0, 0), 0.5, 5e-4),
    ("partly_antiphase.mp3", "libmp3lame", 44100, "stereo", (-0.5, 0.8), 0.15, 0.03),
    *((f"{rate}.wav", "pcm_s16le", rate, "mono", (1,), 1, 5e-4) for rate in (4000, 6000, 8000, 11025, 22050, 32000)),
    *((f"{rate}.wav", "pcm_s16le", rate, "mono", (1,), 1, 5e-4) for rate in (88200, 96000, 176400, 192000)),
    ("Lied №5 'live' 歌.wav", "pcm_s16le", 16000, "mono", (1,), 1, 5e-4),
    ("x" * 251 + ".wav", "pcm_s16le", 16000, "mono", (1,), 1, 5e-4),
]


def check_sound(path: Path, gain: float, largest_error: float) -> None:
    """What is read has the length of `voice`, its time and its loudness."""
    wave, expected = read_audio(path, RATE), gain * voice(RATE)
    assert wave.dtype == np.float32 and len(wave) == pytest.approx(RATE, abs=0.001 * RATE)
    length = min(len(wave), len(expected))
    np.testing.assert_allclose(wave[:length], expected[:length], atol=largest_error)


@pytest.mark.parametrize(("name", "codec", "rate", "layout", "gains", "gain", "largest_error"), SOUNDS)
def test_a_sound_gives_its_samples(write_sound, name, codec, rate, layout, gains, gain, largest_error):
    path = write_sound(name, [voice(rate)[:, None] * np.array(gains)], rate, codec, layout)
    check_sound(path, gain, largest_error)


@pytest.mark.parametrize(("name", "codec", "largest_error"), [("a.mov", "pcm_s16le", 5e-4), ("a.mp4", "aac", 0.03)])
def test_a_video_gives_its_sound(write_clip, name, codec, largest_error):
    frames = [np.full((64, 64, 3), shade, np.uint8) for shade in range(25)]
    path = write_clip(name, frames, np.arange(25) / 25, voice(48000)[:, None], rate=48000, codec=codec)
    check_sound(path, 1, largest_error)


X, Y = np.meshgrid(np.arange(96), np.arange(64))
PICTURE = np.stack([80 + X, 70 + Y, 200 - X // 2 - Y], axis=-1).astype(np.uint8)  # (64 96 3), no symmetry, smooth
GRAY = (2 * X + Y).astype(np.uint8)
GRAY_RGB = np.dstack([GRAY] * 3)
# of red, green and blue: X, Y, Z of Display P3 under D50
P3_TO_XYZ = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
XYZ_TO_SRGB = np.array([[3.1341, -1.6174, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]])


def p3_profile() -> bytes:
    """Display P3 with a gamma of 2.2, as the smallest profile that states it."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(2.2 * 256)) + b"\0\0"
    points = [b"XYZ " + struct.pack(">Iiii", 0, *(round(x * 65536) for x in column)) for column in P3_TO_XYZ.T]
    tags = dict(
        zip((b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"), [*points, curve, curve, curve], strict=True)
    )
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", *(round(x * 65536) for x in (0.9642, 1.0, 0.8249)))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def p3_as_srgb(picture: np.ndarray) -> np.ndarray:
    """(H W 3) of Display P3 -> the same colors in sRGB."""
    linear = np.clip((picture / 255) ** 2.2 @ P3_TO_XYZ.T @ XYZ_TO_SRGB.T, 0, 1)
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def on_white(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H W 3) and opacity (H W) of 255 -> (H W 3)."""
    return picture * (alpha[..., None] / 255) + 255 - alpha[..., None]


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


ALPHA = (255 - GRAY).astype(np.uint8)
FINE = {"quality": 95, "subsampling": 0}
PALETTE = Image.fromarray(PICTURE).quantize(64)
STORED = {  # orientation -> how a camera stores the picture
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: np.rot90(PICTURE),
    7: np.rot90(PICTURE, 2).transpose(1, 0, 2),
    8: np.rot90(PICTURE, -1),
}
# name, what is saved, options of the format, what is read, largest error
PICTURES = [
    ("rgb.png", PICTURE, {}, PICTURE, 0),
    ("rgb.jpg", PICTURE, FINE, PICTURE, 4),
    ("half_chroma.jpeg", PICTURE, {"quality": 95, "subsampling": 2}, PICTURE, 6),
    ("progressive.jpg", PICTURE, FINE | {"progressive": True}, PICTURE, 4),
    ("lossless.webp", PICTURE, {"lossless": True}, PICTURE, 0),
    ("lossy.webp", PICTURE, {"quality": 95}, PICTURE, 8),
    ("rgb.tiff", PICTURE, {}, PICTURE, 0),
    ("lzw.tif", PICTURE, {"compression": "tiff_lzw"}, PICTURE, 0),
    ("ycbcr.tiff", Image.fromarray(PICTURE).convert("YCbCr"), {}, PICTURE, 3),
    ("cmyk.tiff", Image.fromarray(PICTURE).convert("CMYK"), {}, PICTURE, 1),
    ("cmyk.jpg", Image.fromarray(PICTURE).convert("CMYK"), FINE, PICTURE, 5),
    ("gray.png", GRAY, {}, GRAY_RGB, 0),
    ("gray.jpg", GRAY, FINE, GRAY_RGB, 3),
    ("gray.tiff", GRAY, {}, GRAY_RGB, 0),
    ("gray16.png", GRAY.astype(np.uint16) * 257, {}, GRAY_RGB, 0),
    ("gray16.tiff", GRAY.astype(np.uint16) * 257, {}, GRAY_RGB, 0),
    ("palette.png", PALETTE, {}, np.asarray(PALETTE.convert("RGB")), 0),
    ("alpha.png", np.dstack([PICTURE, ALPHA]), {}, on_white(PICTURE, ALPHA), 1),
    ("alpha.webp", np.dstack([PICTURE, ALPHA]), {"lossless": True, "exact": True}, on_white(PICTURE, ALPHA), 1),
    ("alpha.tiff", np.dstack([PICTURE, ALPHA]), {}, on_white(PICTURE, ALPHA), 1),
    ("gray_alpha.png", np.dstack([GRAY, ALPHA]), {}, on_white(GRAY_RGB, ALPHA), 1),
    *((f"orientation{k}.jpg", stored, FINE | {"exif": orientation(k)}, PICTURE, 4) for k, stored in STORED.items()),
    ("orientation6.webp", STORED[6], {"lossless": True, "exif": orientation(6)}, PICTURE, 0),
    ("orientation6.tiff", STORED[6], {"exif": orientation(6)}, PICTURE, 0),
    ("p3.png", PICTURE, {"icc_profile": p3_profile()}, p3_as_srgb(PICTURE), 3),
    ("p3.webp", PICTURE, {"icc_profile": p3_profile(), "lossless": True}, p3_as_srgb(PICTURE), 3),
    ("p3.tiff", PICTURE, {"icc_profile": p3_profile()}, p3_as_srgb(PICTURE), 3),
    # what an iPhone writes
    ("p3_6.jpg", STORED[6], FINE | {"icc_profile": p3_profile(), "exif": orientation(6)}, p3_as_srgb(PICTURE), 6),
    ("Bildnis №5 'Ömer' 肖像.png", PICTURE, {}, PICTURE, 0),
    ("x" * 251 + ".png", PICTURE, {}, PICTURE, 0),
]


@pytest.mark.parametrize(("name", "saved", "options", "expected", "largest_error"), PICTURES)
def test_a_picture_gives_its_pixels(tmp_path, name, saved, options, expected, largest_error):
    image = saved if isinstance(saved, Image.Image) else Image.fromarray(np.ascontiguousarray(saved))
    image.save(tmp_path / name, **options)
    picture = read_image(tmp_path / name)
    assert picture.dtype == np.uint8 and picture.shape == (64, 96, 3)
    np.testing.assert_allclose(picture.astype(int), expected, atol=largest_error)
