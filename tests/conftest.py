"""What many tests share: two seconds of synthetic sound and video, and a drawn portrait."""

import signal
import sys
import wave as riff
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

SAMPLE_RATE = 16000
FPS = 25


@pytest.fixture(scope="session", autouse=True)
def user_config(tmp_path_factory):
    """The tests leave the user's own settings alone; theirs are those of one who has read the notice."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "emo").mkdir()
    (folder / "emo" / "notice_read").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "APPDATA"):
            patch.setenv(name, str(folder))
        yield


@pytest.fixture(scope="session")
def wave() -> np.ndarray:
    """(S,) float32, 2 s at 16 kHz: bursts of a 220 Hz buzz, 0.3 s on, 0.2 s off."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 220 * k * seconds) / k for k in range(1, 8))
    return (0.2 * buzz * (seconds % 0.5 < 0.3)).astype(np.float32)


def write_riff(path: Path, wave: np.ndarray) -> None:
    with riff.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((wave * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="session")
def write_wav():
    """write_wav(path, wave): a 16-bit wav file."""
    return write_riff


@pytest.fixture(scope="session")
def sound_path(wave, tmp_path_factory) -> Path:
    """`wave` as a 16-bit wav file."""
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    write_riff(path, wave)
    return path


def draw_face(opening: float = 0.0, size: int = 192) -> np.ndarray:
    """(size size 3) uint8: a drawn face; `opening` 0 to 1 opens the mouth."""
    picture = Image.new("RGB", (size, size), (120, 140, 160))
    pen = ImageDraw.Draw(picture)
    unit = size / 192
    for box, color in [
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
        pen.ellipse([unit * value for value in box], fill=color)
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


@pytest.fixture(scope="session")
def draw():
    """draw(opening, size) -> (size size 3) uint8, the drawn face; see `draw_face`."""
    return draw_face


def ring(center: tuple[float, float], radii: tuple[float, float], count: int) -> np.ndarray:
    """(count 2) points of an ellipse, from its left end over its top; in and out: 192nds of the picture, 1."""
    turn = 2 * np.pi * np.arange(count) / count
    return (np.array(center) - np.stack([np.cos(turn), np.sin(turn)], -1) * radii) / 192


def make_mesh(opening: float = 0.0) -> np.ndarray:
    """(468 2) in the unit square: MediaPipe's points where `draw_face` draws what they name, the rest on the skin."""
    from emo.synthetic.warped_photos import EYES, FACE_OVAL, INNER_LIPS, OUTER_LIPS

    skin = ring((96, 100), (46, 62), 468)
    mesh = skin[np.random.default_rng(0).permutation(468)]
    mesh[FACE_OVAL] = np.roll(ring((96, 100), (50, 70), 36), -9, axis=0)
    mesh[EYES[:16]], mesh[EYES[16:]] = ring((76, 83), (10, -5), 16), ring((116, 83), (-10, -5), 16)
    mesh[OUTER_LIPS] = ring((96, 137), (18, 3 + 8 * opening), 20)
    mesh[INNER_LIPS] = ring((96, 137), (14, 0.2 + 8 * opening), 20)
    brow = np.stack([np.linspace(64, 88, 5), np.full(5, 66)], -1) / 192
    mesh[[70, 63, 105, 66, 107]], mesh[[336, 296, 334, 293, 300]] = brow, brow + [40 / 192, 0]
    mesh[[168, 6, 197, 195, 5, 4]] = np.stack([np.full(6, 96), np.linspace(82, 108, 6)], -1) / 192
    mesh[[98, 97, 2, 326, 327]] = np.stack([np.linspace(88, 104, 5), np.full(5, 116)], -1) / 192
    return mesh


@pytest.fixture(scope="session")
def mesh_of():
    """mesh_of(opening) -> (468 2), MediaPipe's mesh of the drawn face; see `make_mesh`."""
    return make_mesh


@pytest.fixture(scope="session")
def openings() -> np.ndarray:
    """(50,) how far the mouth is open in each frame of a video of `wave`, 0 to 1."""
    return (np.arange(2 * FPS) / FPS % 0.5 < 0.3).astype(float)


TINY = dict(
    latent_channels=4,
    block_out_channels=[8, 16],
    layers_per_block=1,
    num_attention_heads=2,
    norm_num_groups=4,
    audio_layers=1,
    audio_feature_dim=16,
    audio_tokens=2,
    audio_token_dim=16,
    audio_hidden_dim=16,
    audio_margin=0,
    num_frames=6,
    num_motion_frames=2,
    max_frames=8,
    frame_token_dim=8,
    residual_scale=2.0,
)


@pytest.fixture(scope="session")
def tiny_model() -> dict:
    """Arguments of the tiny EMOModel."""
    return TINY


@pytest.fixture(scope="session")
def make_pipeline():
    """make_pipeline(audio_margin=2, ...) -> an EMOPipeline, its model with random weights, 64 pixels, 2 steps."""
    import torch
    from diffusers import DDIMScheduler

    from emo import Autoencoder, EMOModel, EMOPipeline, MelEncoder
    from emo.core.config import SchedulerConfig
    from emo.media.image import images_to_tensor

    def make(**changes) -> EMOPipeline:
        torch.manual_seed(0)
        model = EMOModel(**TINY | changes)
        with torch.no_grad():
            for parameter in model.parameters():  # some start at zero
                parameter.add_(0.05 * torch.randn_like(parameter))
        vae = Autoencoder(latent_channels=4, widths=(8, 8, 8))
        vae.fit_patches(images_to_tensor(np.stack([draw_face(opening, 64) for opening in (0, 0.5, 1)])))
        scheduler = DDIMScheduler(**vars(SchedulerConfig(prediction_type="sample")))
        audio_encoder = MelEncoder(dim=16, widths=(16, 16), code_dim=16)
        parts = [part.eval() for part in (model, vae, audio_encoder)]
        pipeline = EMOPipeline(*parts, scheduler, size=64, num_inference_steps=2, guidance_scale=1.0)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


@pytest.fixture(scope="session")
def tiny_pipeline(make_pipeline):
    """A pipeline that says nothing sensible, but fast. Leave it as it is."""
    return make_pipeline()


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_pipeline, tmp_path_factory) -> Path:
    """`tiny_pipeline` as `save_pretrained` leaves it."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_clip(wave):
    """make_clip(name, person, openings, size) -> a Clip of the drawn face and its frames."""
    from emo.data.clip import Clip, ClipInfo
    from emo.face.landmarks import MEDIAPIPE_TO_IBUG

    def make(name: str, person: str, openings: np.ndarray, size: int = 64) -> tuple[Clip, list[np.ndarray]]:
        meshes = np.stack([make_mesh(opening) for opening in openings]).astype(np.float32)
        heard = wave[: len(openings) * SAMPLE_RATE // FPS]
        speed = np.linspace(0, 1, len(openings), dtype=np.float32)
        info = ClipInfo(name, person, "drawn", "none", len(openings))
        return Clip(info, heard, meshes[:, MEDIAPIPE_TO_IBUG], speed, meshes), [
            draw_face(opening, size) for opening in openings
        ]

    return make


@pytest.fixture(scope="session")
def clips_folder(make_clip, openings, tmp_path_factory) -> Path:
    """Prepared clips of 16 frames: a0 and a1 of anna, b0 of bert."""
    from emo.data.clip import save_clip

    folder = tmp_path_factory.mktemp("clips")
    for name, person, opened in [("a0", "anna", 1.0), ("a1", "anna", 0.7), ("b0", "bert", 0.5)]:
        save_clip(folder, *make_clip(name, person, opened * openings[:16]))
    return folder


@pytest.fixture
def run_main(monkeypatch, capsys):
    """run_main(main, *argv) -> exit code, stdout, stderr of a console command, in this process."""

    def call(main, *argv) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in argv])
        capsys.readouterr()
        code, before = 0, signal.getsignal(signal.SIGTERM)
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        finally:
            signal.signal(signal.SIGTERM, before)
        return code, *capsys.readouterr()

    return call
