"""Pictures to mark, and a marked video."""

import numpy as np
import pytest

from emo.media.video_writer import VideoWriter
from emo.provenance.marks import Marks
from emo.provenance.payload import Payload
from emo.provenance.watermark import Watermark

PAYLOAD = Payload(random_id=0x123456789A, model_id=0x54321)


@pytest.fixture(scope="session")
def payload() -> Payload:
    return PAYLOAD


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """(384 480 3) uint8: soft noise, with the spectrum of a photograph."""
    rng = np.random.default_rng(0)
    height, width = 384, 480
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / (0.01 + np.hypot(x, y)) ** 2.2
    luma = np.fft.irfft2(spectrum, (height, width))
    return np.clip(128 + 20 * luma[..., None] / luma.std() + [10, 0, -10], 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def marked_video(picture, sound_path, tmp_path_factory):
    """An mp4 of 10 marked frames, with all metadata and, where c2pa-python is installed, credentials."""
    path = tmp_path_factory.mktemp("marked") / "marked.mp4"
    marks = Marks("mini", watermark=Watermark(PAYLOAD), sources={"sound": sound_path})
    with VideoWriter(path, 25, metadata=marks.metadata, on_complete=marks.sign) as writer:
        for shift in range(10):
            writer.write(marks.mark_frame(np.roll(picture, shift, axis=1)))
    return path
