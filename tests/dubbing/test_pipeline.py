"""From a film and a sound to a dubbed film: the face that speaks is changed, and nothing else."""

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.dubbing.film import open_film
from emo.dubbing.mouth import MotionLatentEngine, MouthEngine
from emo.dubbing.pipeline import DubbingPipeline
from emo.dubbing.plan import FacePoint, NewVoice, PlanRequest, make_plan
from emo.dubbing.tracks import find_tracks
from emo.media.image import read_image
from emo.provenance.metadata import read_metadata
from emo.provenance.payload import Payload
from emo.provenance.watermark import Watermark
from emo.speech.contracts import SpeakerTurn

FRAMES, SIDE = 50, 192
TURNS = [SpeakerTurn("ANNA", 0.6, 1.2)]


class PaintingEngine:
    """Paints a mouth as open as the sound is loud, blue where the film's mouth was open."""

    size, sample_rate = 64, 16000

    def __init__(self):
        self.generated = 0

    def generate(self, portrait, face, chunks, seed):
        self.generated += 1
        wave = np.concatenate(list(chunks))
        for part in wave[: len(wave) // 640 * 640].reshape(-1, 640):
            yield np.full((1, 1, 1), 10 * np.sqrt(np.square(part).mean()), np.float32)

    def measure(self, squares, references):
        return np.zeros((len(squares), 1, 1, 1), np.float32)

    def apply(self, square, motion, centers):
        painted, (x, y) = square.copy(), (centers[1] * len(square)).astype(int)
        reach = int(abs(motion[0, 0, 0]) * len(square) / 8)
        painted[y : y + reach, x - 4 : x + 4] = [255, 0, 0]
        return painted


@pytest.fixture(scope="module")
def film(samples, tmp_path_factory, wave):
    """2 s of the sample portrait, a keyframe every 10 frames, with sound and a second track."""
    picture = av.VideoFrame.from_image(read_picture(samples)).reformat(format="yuv420p")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10"})
        video.width = video.height = SIDE
        video.pix_fmt, video.codec_context.gop_size = "yuv420p", 10
        tracks = [container.add_stream("aac", rate=16000, layout="mono") for _ in range(2)]
        for index in range(FRAMES):
            picture.pts = index
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for stream in tracks:
            frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def read_picture(samples):
    from PIL import Image

    return Image.fromarray(read_image(samples / "portrait.png")).resize((SIDE, SIDE))


def test_one_face_is_found(tracks):
    (track,) = tracks
    assert (track.first_frame, track.end_frame) == (0, FRAMES)
    assert np.isfinite(track.landmarks).all() and track.thumbnail.std() > 10
    assert track.openings.max() < 0.1 and track.mouth_occlusion.mean() < 0.5


@pytest.fixture
def request_for(sound_path):
    return lambda **changes: PlanRequest(**{"sound": sound_path, "turns": TURNS, **changes})


@pytest.fixture(scope="module")
def tracks(film):
    """The faces of the film, found once."""
    opened = open_film(film)
    return list(find_tracks(opened, opened.parts()))


@pytest.fixture(autouse=True)
def analysis(monkeypatch, tracks):
    """The new sound speaks from 0.7 to 1.1 s; faces are known."""

    def know_faces(film, parts, on_frame):
        on_frame(0)
        return iter(tracks)

    monkeypatch.setattr("emo.dubbing.plan.find_speech", lambda wave: [(0.7, 1.1)])
    monkeypatch.setattr("emo.dubbing.plan.find_tracks", know_faces)


class AlwaysSpeaks:
    def score(self, track, seconds, wave):
        return np.ones(FRAMES)


def read_frames(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def test_a_mouth_is_changed_in_its_turn_only(film, request_for, tmp_path):
    engine, stages = PaintingEngine(), []
    pipeline = DubbingPipeline(engine, scorer=AlwaysSpeaks())
    out = tmp_path / "out.mp4"
    result = pipeline(film, request_for(), out, on_progress=lambda *event: stages.append(event))
    assert (result.num_frames, result.copied_frames) == (50, 20)
    assert 15 <= result.changed_frames <= 25
    assert [face.speaker for face in result.plan.faces] == ["ANNA"]
    assert stages[-1] == ("write", 1, 1) and {"find faces", "generate motion", "change faces"} <= {s[0] for s in stages}
    before, after = read_frames(film), read_frames(out)
    red = (after - before)[..., 0].max((1, 2))
    assert red[:10].max() == red[40:].max() == 0  # copied
    assert red[20:26].max() > 60 and red[10:13].max() < 30
    rows, columns = np.nonzero((after - before)[20:26, ..., 0].max(0) > 40)
    assert rows.min() > SIDE / 2 and columns.max() - columns.min() < SIDE / 4
    with av.open(str(out)) as container:
        assert len(container.streams.audio) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_a_killed_run_goes_on(film, request_for, tmp_path, monkeypatch):
    monkeypatch.setattr("emo.provenance.payload.secrets.randbits", lambda bits: 5)  # else each film has its own mark
    monkeypatch.setattr("emo.provenance.content_credentials.can_sign", lambda: False)  # signatures are random
    engine = PaintingEngine()
    pipeline = DubbingPipeline(engine, scorer=AlwaysSpeaks())
    out, applied = tmp_path / "out.mp4", []
    apply = engine.apply

    def stop_late(square, motion, centers):
        applied.append(1)
        if len(applied) == 10:
            raise KeyboardInterrupt
        return apply(square, motion, centers)

    engine.apply = stop_late
    with pytest.raises(KeyboardInterrupt):
        pipeline(film, request_for(), out, watermark=None)
    assert not out.exists()
    engine.apply = apply
    monkeypatch.setattr("emo.dubbing.pipeline.make_plan", lambda *_: pytest.fail("the plan was made already"))
    result = pipeline(film, request_for(), out, watermark=None)
    assert engine.generated == 1 and result.changed_frames > 10
    monkeypatch.setattr("emo.dubbing.pipeline.make_plan", make_plan)
    pipeline(film, request_for(), tmp_path / "whole.mp4", watermark=None)
    assert (read_frames(tmp_path / "whole.mp4") == read_frames(out)).all()  # signatures differ


def test_the_dubbed_film_is_marked(film, request_for, tmp_path):
    mark = Watermark(Payload(12345))
    out = tmp_path / "out.mp4"
    DubbingPipeline(PaintingEngine(), scorer=AlwaysSpeaks())(film, request_for(), out, watermark=mark)
    found = read_metadata(out)
    assert found.ours and found.payload_hex == mark.payload.hex
    assert found.source_type == "compositeWithTrainedAlgorithmicMedia"
    difference = (read_frames(out) - read_frames(film))[20:24]
    pattern = mark.mark(np.full((SIDE, SIDE, 3), 128, np.uint8)).astype(int) - 128
    corner = slice(0, SIDE // 4)
    r = np.corrcoef(difference.mean((0, 3))[corner, :].ravel(), pattern[corner, :, 0].ravel())[0, 1]
    assert r > 0.2 and np.abs(difference[:, corner]).max() < 30


def test_a_plan_is_written_and_followed(film, request_for, tmp_path):
    pipeline = DubbingPipeline(PaintingEngine(), scorer=AlwaysSpeaks())
    path = tmp_path / "plan.json"
    plan = pipeline.plan(film, request_for(), path)
    assert plan.speakers[0].new_turns == [(0.7, 1.1)] and path.with_suffix(".html").is_file()
    plan.faces[0].speaker = None
    plan.write(path)
    result = pipeline(film, request_for(), tmp_path / "out.mp4", plan=path)
    assert result.changed_frames == 0 and result.copied_frames == FRAMES
    with pytest.raises(InputError, match="plan.json exists"):
        pipeline.plan(film, request_for(), path)


def test_points_and_names(film, request_for, sound_path, tmp_path):
    pipeline = DubbingPipeline(PaintingEngine(), scorer=AlwaysSpeaks())
    voice = NewVoice("CARLA", sound_path, FacePoint(3, 96, 96))
    plan = pipeline.plan(film, request_for(sound=None, voices=[voice]), tmp_path / "plan.json")
    assert plan.faces[0].speaker == "CARLA" and plan.speakers[0].sound == str(sound_path)
    with pytest.raises(InputError, match="face=3:1,1: no face is there"):
        pipeline.plan(film, request_for(face=FacePoint(3, 1, 1)), tmp_path / "other.json")


def test_lengths_that_differ(film, request_for, tmp_path, write_wav, wave):
    pipeline = DubbingPipeline(PaintingEngine(), scorer=AlwaysSpeaks())
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    write_wav(short, wave[:16000])
    write_wav(long, np.concatenate([wave, wave[:24000]]))
    for mode, sound, frames in [("cut", short, 25), ("bounce", long, 88)]:
        out = tmp_path / f"{mode}.mp4"
        pipeline(film, request_for(sound=sound), out, sync_mode=mode)
        shown = read_frames(out)
        assert len(shown) == pytest.approx(frames, abs=1)
        with av.open(str(out)) as container:
            times = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
        assert len(set(np.diff(times))) == 1
    with pytest.raises(InputError, match="sync_mode=shrink: choose silence, cut, loop, bounce"):
        pipeline(film, request_for(), tmp_path / "x.mp4", sync_mode="shrink")


def test_the_engine_of_motion_latents(tiny_model, make_pipeline):
    import torch

    from emo import EMOModel, MotionAutoencoder

    torch.manual_seed(0)
    widths = {f"{part}_widths": (8, 8, 8) for part in ("encoder", "mouth", "eye", "square")}
    windows = {"mouth_window": (24, 32), "eye_window": (16, 32), "square_pixels": 16}
    codec = MotionAutoencoder(4, 64, 16, encoder_blocks=1, painter_blocks=1, **widths, **windows).eval()
    plain = {name: value for name, value in tiny_model.items() if not name.startswith("residual")}
    pipeline = make_pipeline()
    with pytest.raises(InputError, match="is Autoencoder, dubbing needs a MotionAutoencoder"):
        MotionLatentEngine(pipeline)
    model = EMOModel(**plain | {"latent_channels": 4, "reference_channels": 192}).eval()
    engine = MotionLatentEngine(type(pipeline)(model, codec, pipeline.audio_encoder, pipeline.scheduler, size=64))
    assert isinstance(engine, MouthEngine)
    square = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    centers = np.array([[0.5, 0.35], [0.5, 0.68]])
    still = engine.apply(square, np.zeros((4, 4, 4), np.float32), centers)
    assert np.abs(still.astype(int) - square).max() <= 1
    moved = engine.apply(square, np.full((4, 4, 4), 3.0, np.float32), centers).astype(int)
    assert np.abs(moved - square)[:6].max() <= 3 and np.abs(moved - square)[48:].mean() > 1
    squares = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), np.uint8)
    assert np.abs(engine.measure(squares, squares)).max() < 1e-4 < np.abs(engine.measure(squares, squares[::-1])).max()
