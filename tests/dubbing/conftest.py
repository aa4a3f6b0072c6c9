"""Films that the tests make themselves."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 96, 64


@dataclass
class FilmKind:
    """What a film is made of."""

    name: str = "film.mp4"
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    rate: Fraction = Fraction(25)
    times: list[int] | None = None  # milliseconds
    rotation: int = 0
    sounds: tuple[tuple[str, str], ...] = (("aac", "mono"),)
    colors: dict[str, int] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    chapters: bool = False
    frames: int = 30


def write_sound(container, stream, seconds: float, layout: str) -> None:
    channels = len(av.AudioLayout(layout).channels)
    time = np.arange(round(48000 * seconds)) / 48000
    samples = np.stack([0.2 * np.sin(2 * np.pi * (200 + 50 * k) * time) for k in range(channels)], axis=1)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32).reshape(1, -1), "flt", layout)
    frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
    for part in av.AudioResampler(format=stream.codec_context.format).resample(frame):
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def write_film(folder: Path, kind: FilmKind) -> Path:
    """A moving pattern; groups of 10 pictures."""
    path, noise = folder / kind.name, np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3))
    pattern = np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A film"
        video = container.add_stream(kind.codec, rate=kind.rate, options=kind.options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, kind.pixel_format
        video.codec_context.gop_size = 10
        if kind.times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if kind.rotation:
            video.set_display_rotation(kind.rotation)
        for name, value in kind.colors.items():
            setattr(video.codec_context, name, value)
        sounds = [(container.add_stream(codec, rate=48000, layout=layout), layout) for codec, layout in kind.sounds]
        if len(sounds) > 1:
            sounds[1][0].metadata["language"] = "fra"
        if kind.chapters:
            chapter = {"id": 1, "start": 0, "end": 800, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
            container.set_chapters([chapter])
        for index in range(kind.frames):
            picture = av.VideoFrame.from_ndarray(np.roll(pattern, index, axis=1), "rgb24")
            frame = picture.reformat(format=kind.pixel_format)
            frame.pts = index if kind.times is None else kind.times[index]
            frame.time_base = 1 / kind.rate if kind.times is None else Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, layout in sounds:
            write_sound(container, stream, kind.frames / float(kind.rate), layout)
    return path


@pytest.fixture
def make_film(tmp_path):
    """make_film(name=..., codec=..., ...) -> path; see `FilmKind`."""
    return lambda **changes: write_film(tmp_path, FilmKind(**changes))
