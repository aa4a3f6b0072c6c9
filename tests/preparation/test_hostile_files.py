"""Footage as it comes: what is odd is read as players show it, what is broken has its reason, nothing ends the run."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from emo.core.timing import FPS
from emo.data.clip import load_clip
from emo.face.crop import region_of_landmarks
from emo.media.video import probe_video
from emo.preparation.clips import PreparationJob
from emo.preparation.filters import ClipLimits
from emo.preparation.processing_log import read_processing_log
from emo.preparation.runner import prepare_videos
from emo.preparation.sources import Recipe, list_sources
from emo.synthetic.sample_portrait import paint_portrait

COUNT = 30  # frames


@pytest.fixture
def face():
    return np.array(Image.fromarray(paint_portrait()).resize((256, 256)))


@pytest.fixture
def write(tmp_path, wave):
    """write(name, frames, times in seconds, layout of the sound, set_up) -> a video by PyAV alone in raw/."""
    (tmp_path / "raw").mkdir()

    def make(name, frames, times, layout="mono", format="yuv420p", set_up=lambda stream: None):
        with av.open(str(tmp_path / "raw" / name), "w") as container:
            video = container.add_stream("libx264", rate=25, options={"crf": "10"})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt, video.codec_context.time_base = format, Fraction(1, 1000)
            set_up(video)
            sound = container.add_stream("aac", rate=16000, layout=layout) if layout else None
            for frame, time in zip(frames, times, strict=True):
                picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=format)
                picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            if sound:
                samples = np.repeat(wave[None, : int(16000 * times[-1])], sound.layout.nb_channels, 0)
                block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
                block.sample_rate, block.pts = 16000, 0
                container.mux(sound.encode(block))
                container.mux(sound.encode(None))
        return tmp_path / "raw" / name

    return make


def prepare(raw, out, **limits) -> dict[str, str]:
    """The reason against each file, empty for a clip."""
    open_to_all = {
        "min_lip_sync_confidence": -1,
        "max_lip_sync_offset_frames": 15,
        "min_motion": 0,
        "min_speech_ratio": 0,
    }
    limits = ClipLimits(**{"min_seconds": 1.0} | open_to_all | limits)
    prepare_videos(list_sources(raw, Recipe()), PreparationJob(out, None, 64, limits), set(), None, 1, None)
    return {source: found[0].reason for source, found in read_processing_log(out).items()}


def test_odd_footage_is_read_as_a_player_shows_it(write, face, tmp_path):
    steady, uneven = np.arange(COUNT) / FPS, np.cumsum([0, *[0.03, 0.05] * (COUNT // 2)])[:COUNT]
    narrow = np.array(Image.fromarray(face).resize((192, 256)))

    def wide_pixels(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    write("rates.mp4", [face] * COUNT, uneven)
    write("wide.mp4", [narrow] * COUNT, steady, set_up=wide_pixels)
    write("around.mp4", [face] * COUNT, steady, layout="5.1")
    write("deep.mp4", [face] * COUNT, steady, format="yuv420p10le")
    turned = write("turned.mp4", [np.ascontiguousarray(np.rot90(face))] * COUNT, steady)
    data = bytearray(turned.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), (0, 1, -1, 0), strict=True):  # a quarter turn, as phones write it
        data[matrix + place : matrix + place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    turned.write_bytes(data)
    assert probe_video(tmp_path / "raw" / "wide.mp4").width == 256
    reasons = prepare(tmp_path / "raw", tmp_path / "clips")
    assert reasons == dict.fromkeys(["around.mp4", "deep.mp4", "rates.mp4", "turned.mp4", "wide.mp4"], "")
    clips = {name: load_clip(tmp_path / "clips" / f"{name}.json") for name in ("around", "rates", "turned", "wide")}
    assert all(abs(clip.info.num_frames - COUNT) <= 1 and np.abs(clip.wave).max() > 0.1 for clip in clips.values())
    shapes = [np.ptp(clip.landmarks[5], axis=0) for clip in clips.values()]
    assert all(shape == pytest.approx(shapes[0], rel=0.03) for shape in shapes)  # none squeezed, none on its side
    assert abs(region_of_landmarks(clips["turned"].landmarks[5]).angle_radians) < 0.1


def test_what_is_broken_or_hostile_has_its_reason(write, face, tmp_path, monkeypatch):
    steady = np.arange(COUNT) / FPS
    whole = write("mute.mp4", [face] * COUNT, steady, layout=None).read_bytes()
    raw = tmp_path / "raw"
    (raw / "empty.mp4").touch()
    (raw / "letter.mp4").write_text("Dear reader")
    (raw / "photo.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (raw / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write("hours.mp4", [face[:64, :64]] * 2, [0, 7 * 3600.0])

    def hdr(stream):
        stream.codec_context.color_trc = 16

    write("hdr.mp4", [face[:64, :64]] * 2, steady[:2], format="yuv420p10le", set_up=hdr)
    monkeypatch.setattr("emo.media.video_pass.MAX_FRAME_PIXELS", 300 * 300)
    write("bomb.mp4", [np.zeros((320, 320, 3), np.uint8)] * 2, steady[:2])
    reasons = prepare(raw, tmp_path / "clips")
    for name, words in {
        "mute.mp4": "the file has no sound",
        "empty.mp4": "can't be read",
        "letter.mp4": "can't be read",
        "photo.mp4": "holds no picture",
        "cut.mp4": "can't be read",
        "hours.mp4": "longer than max_video_hours=6: cut it",
        "hdr.mp4": "the picture is HDR",
        "bomb.mp4": "frames of 320 x 320 are too large",
    }.items():
        assert words in reasons[name], (name, reasons[name])
    assert len(reasons) == 8 and not list((tmp_path / "clips").glob("*.json"))


def test_a_shot_with_a_damaged_picture_is_left_out_and_the_others_stay(write, face, tmp_path):
    """Each shot begins with a keyframe; the data of the middle one are partly noise."""
    count = 16  # frames of a shot
    other, chance = face[..., ::-1] // 2 + 60, np.random.default_rng(0)
    shots = [[shot] * count for shot in (face, other, face)]
    frames = [np.clip(frame + chance.normal(0, 6, frame.shape), 0, 255).astype(np.uint8) for frame in sum(shots, [])]

    def key_per_shot(stream):
        stream.codec_context.gop_size = count

    path = write("film.mp4", frames, np.arange(3 * count) / FPS, set_up=key_per_shot)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 8000)
    data[middle] = chance.integers(0, 256, 8000, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    assert list(prepare(tmp_path / "raw", tmp_path / "clips", min_seconds=0.5).values()) == [""]
    pieces = {piece.name: piece.reason for piece in read_processing_log(tmp_path / "clips")["film.mp4"]}
    assert pieces == {"film__0": "", "film__1": "the picture is damaged", "film__2": ""}
