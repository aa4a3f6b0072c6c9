"""What many tests share: two seconds of synthetic sound and video, and a drawn portrait."""

import wave as riff
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

SAMPLE_RATE = 16000
FPS = 25


@pytest.fixture(scope="session")
def wave() -> np.ndarray:
    """(S,) float32, 2 s at 16 kHz: bursts of a 220 Hz buzz, 0.3 s on, 0.2 s off."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 220 * k * seconds) / k for k in range(1, 8))
    return (0.2 * buzz * (seconds % 0.5 < 0.3)).astype(np.float32)


@pytest.fixture(scope="session")
def sound_path(wave, tmp_path_factory) -> Path:
    """`wave` as a 16-bit wav file."""
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    with riff.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((wave * 32767).astype("<i2").tobytes())
    return path


def draw_face(opening: float = 0.0, size: int = 192) -> np.ndarray:
    """(size size 3) uint8: a drawn face; `opening` 0 to 1 opens the mouth."""
    picture = Image.new("RGB", (size, size), (120, 140, 160))
    pen = ImageDraw.Draw(picture)
    unit = size / 192
    for box, colour in [
        ((46, 30, 146, 170), (222, 180, 150)),
        ((66, 78, 86, 88), (250, 250, 250)),
        ((106, 78, 126, 88), (250, 250, 250)),
        ((72, 78, 82, 88), (60, 40, 30)),
        ((112, 78, 122, 88), (60, 40, 30)),
        ((64, 64, 88, 69), (70, 50, 40)),
        ((104, 64, 128, 69), (70, 50, 40)),
        ((90, 100, 102, 116), (200, 150, 125)),
        ((78, 134 - 8 * opening, 114, 140 + 8 * opening), (150, 60, 60)),
    ]:
        pen.ellipse([unit * value for value in box], fill=colour)
    return np.array(picture)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """(192 192 3) uint8: a drawn face."""
    return draw_face()


@pytest.fixture(scope="session")
def portrait_path(portrait, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    Image.fromarray(portrait).save(path)
    return path


@pytest.fixture(scope="session")
def clip_path(wave, tmp_path_factory) -> Path:
    """2 s of H.264 and AAC at 25 fps, 192x192: the drawn face, its mouth open while the sound is on."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width = video.height = 192
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for index in range(2 * FPS):
            opening = float(index / FPS % 0.5 < 0.3)
            container.mux(video.encode(av.VideoFrame.from_ndarray(draw_face(opening), format="rgb24")))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample portrait and song that the project made itself."""
    return Path(__file__).parents[1] / "datasets" / "samples"
