"""Media that the tests make themselves."""

from fractions import Fraction

import av
import numpy as np
import pytest


def _mux_sound(container, stream, samples: np.ndarray, rate: int, layout: str, start: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "flt", layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
    for converted in av.AudioResampler(format=stream.codec_context.format).resample(frame):
        container.mux(stream.encode(converted))


@pytest.fixture
def write_sound(tmp_path):
    """write_sound(name, [samples (S C), ...], rate, codec, layout, starts) -> path; starts are time stamps."""

    def write(name, pieces, rate=16000, codec="pcm_s16le", layout="mono", starts=(0,)):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            for samples, start in zip(pieces, starts, strict=True):
                _mux_sound(container, stream, samples.astype(np.float32), rate, layout, start)
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def write_clip(tmp_path):
    """write_clip(name, frames, times, sound, sound_start): a video by PyAV alone, time stamps in seconds."""

    def write(name, frames, times, sound=None, sound_start=0.0, rate=16000, codec="pcm_s16le"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25, options={"crf": "5", "bf": "0"})
            video.height, video.width = frames[0].shape[:2]
            video.codec_context.time_base = Fraction(1, 1000)
            audio = container.add_stream(codec, rate=rate, layout="mono") if sound is not None else None
            for frame, time in zip(frames, times, strict=True):
                picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")
                picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            if audio is not None:
                _mux_sound(container, audio, sound.astype(np.float32), rate, "mono", round(sound_start * rate))
                container.mux(audio.encode(None))
        return path

    return write
