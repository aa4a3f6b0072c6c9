"""The training tasks on drawn faces: each one learns, writes samples, and saves what the next one loads."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emo import Autoencoder, MelEncoder
from emo.core.config import (
    ConditionConfig,
    Config,
    DataConfig,
    LossConfig,
    SamplingConfig,
    SchedulerConfig,
    check_arguments,
    check_names,
    load_config,
)
from emo.core.errors import InputError
from emo.face.networks import load_half_precision
from emo.face.refinement import FACE_PARTS
from emo.hub.resolve import load_pipeline
from emo.media.video import read_video
from emo.models.conditions import CONDITIONS
from emo.training.audio_encoder import NUM_PHONEMES, PHONEMES, UNKNOWN_PHONEME, number_phonemes
from emo.training.distributed import SampleGenerators
from emo.training.task import TASKS, make_task
from emo.training.trainer import train

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs"
SMALL_MODELS = {
    "autoencoder": {"latent_channels": 8, "widths": [8, 8, 8]},
    "audio_encoder": {"widths": [16, 16], "dim": 16},
    "landmark_refiner": {"part": "eye"},
}


@pytest.fixture
def config(tmp_path, clips_folder):
    """config(task, model, data, ...) -> a Config of 20 steps on the drawn clips."""

    def make(task: str, model: dict, data: dict, **changes) -> Config:
        options = dict(steps=20, batch_size=4, learning_rate=3e-3, warmup_steps=1, log_steps=5, sample_steps=20)
        data = DataConfig(**{"clips": {str(clips_folder): 1.0}, "size": 64} | data)
        settings = options | changes
        return Config(task=task, output=str(tmp_path / task), device="cpu", model=model, data=data, **settings)

    return make


@pytest.fixture
def images(draw, tmp_path) -> Path:
    """A folder of two drawn images, one of them small."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in [("anna", 192), ("bert", 80)]:
        Image.fromarray(draw(0.5, size)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def diffusion(config, tiny_model, tiny_model_folder):
    """diffusion(...) -> the Config of two diffusion steps of the tiny model."""

    def make(model: dict | None = None, **changes) -> Config:
        frozen = {
            "autoencoder": str(tiny_model_folder / "vae"),
            "audio_encoder": str(tiny_model_folder / "audio_encoder"),
        }
        options = frozen | {"steps": 2, "sample_steps": 2, "scheduler": SchedulerConfig(prediction_type="sample")}
        options |= {"sampling": SamplingConfig(num_inference_steps=2, guidance_scale=1.5)}
        data = {"num_frames": 4, "contiguous": True}
        return config("diffusion", dict(tiny_model if model is None else model), data, **options | changes)

    return make


def read_losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").open()]


def test_autoencoder_learns(config, images, tmp_path, capsys):
    folder = train(config("autoencoder", SMALL_MODELS["autoencoder"], {"images": [str(images)]}))
    losses = read_losses(tmp_path / "autoencoder")
    assert losses[-1] < losses[0]
    assert "PSNR" in capsys.readouterr().out
    assert Image.open(tmp_path / "autoencoder/samples/step_00000020.png").size == (64 * 8, 64 * 2)
    assert Autoencoder.from_pretrained(folder).config.latent_channels == 8


def test_audio_encoder_learns(config, tmp_path, capsys):
    folder = train(config("audio_encoder", SMALL_MODELS["audio_encoder"], {"num_frames": 4}))
    losses = read_losses(tmp_path / "audio_encoder")
    assert losses[-1] < losses[0]
    assert "lip opening: correlation" in capsys.readouterr().out
    table = (tmp_path / "audio_encoder/samples/step_00000020.csv").read_text().splitlines()
    assert table[0] == "predicted,true" and len(table) == 1 + 4 * 4
    assert MelEncoder.from_pretrained(folder).feature_shape == (1, 16)


def test_phonemes_are_a_second_task_where_they_are_known(config):
    truth = {"phonemes": np.array(["ˈɑː", "", "b", "ɬ"]), "phoneme": np.array([0, 0, 1, 2, 3, -1])}
    a, b, pause = PHONEMES.index("ɑ"), PHONEMES.index("b"), NUM_PHONEMES - 1
    assert number_phonemes(truth, 6).tolist() == [a, a, pause, b, pause - 1, pause]
    assert number_phonemes({}, 3).tolist() == [UNKNOWN_PHONEME] * 3
    task = make_task(config("audio_encoder", SMALL_MODELS["audio_encoder"], {"num_frames": 4}))
    mels, lips, phonemes = task.make_batch(range(2), CPU)
    assert (phonemes == UNKNOWN_PHONEME).all()
    generators = SampleGenerators(0, range(2), CPU)
    alone, parts = task.compute_loss(task.model.eval(), (mels, lips, phonemes), generators)
    phonemes[:3] = b
    both, more = task.compute_loss(task.model, (mels, lips, phonemes), generators)
    assert set(parts) == {"loss/lips"} and more["loss/lips"] == parts["loss/lips"] == alone
    assert (both - alone).item() == pytest.approx(0.2 * more["loss/phonemes"].item(), rel=1e-3)


@pytest.mark.parametrize("part", ["mouth", "eye"])
def test_landmark_refiner_learns(config, tmp_path, capsys, part):
    folder = train(config("landmark_refiner", {"part": part}, {}))
    losses = read_losses(tmp_path / "landmark_refiner")
    assert losses[-1] < losses[0]
    assert "landmark error" in capsys.readouterr().out
    load_half_precision(FACE_PARTS[part].build_network(), folder / f"{part}.safetensors")


def test_diffusion_saves_videos_and_a_pipeline(diffusion, tmp_path):
    folder = train(diffusion())
    videos = sorted(path.name for path in (tmp_path / "diffusion" / "samples").iterdir())
    assert videos == [f"step_00000002_{name}.mp4" for name in ("a0", "a1", "b0")]
    frames = list(read_video(tmp_path / "diffusion" / "samples" / videos[0]))
    assert len(frames) == 16 and frames[0].shape == (64, 3 * 64, 3)  # portrait, generated, true
    pipeline = load_pipeline(str(folder), "cpu")
    assert pipeline.scheduler.config.prediction_type == "sample"
    assert [pipeline.config[key] for key in ("size", "num_inference_steps", "guidance_scale")] == [64, 2, 1.5]


@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("margin", [0, 2])
def test_batch_has_the_margins_of_the_model(diffusion, tiny_model, temporal, margin):
    task = make_task(diffusion(tiny_model | {"temporal": temporal, "audio_margin": margin, "speed_margin": 1}))
    batch = task.make_batch(range(4), CPU)
    assert batch.audio.shape[1] == 4 + 2 * margin
    assert batch.head_speed.shape[1] == 4 + 2 * temporal and batch.motion.shape[1] == 2 * temporal
    assert task.compute_loss(task.model, batch, SampleGenerators(0, range(4), CPU))[0].isfinite()


def test_held_out_people_are_excluded_and_clips_are_weighted_by_person(diffusion, tmp_path):
    settings = diffusion()
    task = make_task(settings)
    assert [path.stem for path in task.samples.paths] == ["a0", "a1", "b0"]
    assert task.samples.chances.tolist() == pytest.approx([0.293, 0.293, 0.414], abs=1e-3)
    settings.data.hold_out = str(tmp_path / "hold_out.txt")
    (tmp_path / "hold_out.txt").write_text("anna\n")
    assert [path.stem for path in make_task(settings).samples.paths] == ["b0"]
    (tmp_path / "hold_out.txt").write_text("anna\nbert\n")
    with pytest.raises(InputError, match="no clip in"):
        make_task(settings)


def test_channels_are_weighted_by_visibility_if_asked(diffusion, tiny_model):
    weighted, plain = (make_task(diffusion(loss=LossConfig(perceptual_channel_weight=weight))) for weight in (0.5, 0.0))
    assert plain.channel_weights is None
    assert weighted.channel_weights.shape == (tiny_model["latent_channels"],)
    assert weighted.channel_weights.mean() == pytest.approx(1) and weighted.channel_weights.std() > 0
    batch, losses = plain.make_batch(range(4), CPU), []
    for task in (plain, weighted):
        losses.append(task.compute_loss(plain.model, batch, SampleGenerators(0, range(4), CPU))[0].item())
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.5)


def test_conditions_dropped_at_rate_one_do_not_change_the_loss(diffusion):
    names = "audio", "reference", "motion", "face_region", "head_speed"
    task = make_task(diffusion(conditions={name: ConditionConfig(1.0) for name in names}))

    def compute_loss(change: bool) -> torch.Tensor:
        batch = task.make_batch(range(4), CPU)
        if change:
            batch.audio, batch.reference, batch.motion = batch.audio + 1, batch.reference + 1, batch.motion + 1
        return task.compute_loss(task.model, batch, SampleGenerators(0, range(4), CPU))[0]

    assert torch.equal(compute_loss(False), compute_loss(True))


@pytest.mark.parametrize("task", [*SMALL_MODELS, "diffusion"])
def test_sample_numbers_determine_a_batch(config, diffusion, images, task):
    data = {"images": [str(images)]} if task == "autoencoder" else {"num_frames": 4}
    settings = config(task, SMALL_MODELS[task], data) if task in SMALL_MODELS else diffusion()

    def make_tensor(numbers: range) -> torch.Tensor:
        batch = make_task(settings).make_batch(numbers, CPU)
        return {
            "autoencoder": lambda: batch,
            "audio_encoder": lambda: batch[0],
            "landmark_refiner": lambda: batch["crops"],
            "diffusion": lambda: batch.latents,
        }[task]()

    first, second = make_tensor(range(0, 8, 2)), make_tensor(range(1, 8, 2))
    assert len(first) == (4 * 4 if task == "audio_encoder" else len(second)) and len(first) > 0
    assert torch.equal(first, make_tensor(range(0, 8, 2))) and not torch.equal(first, second)


def test_every_task_has_what_the_trainer_needs():
    for module, name in TASKS.values():
        task = getattr(import_module(module), name)
        methods = "make_batch", "make_validation_batches", "compute_loss", "save_samples", "save_model", "model_class"
        assert all(callable(getattr(task, method)) for method in methods)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("nonsense", {}, f"task 'nonsense' is unknown: choose one of {', '.join(TASKS)}"),
        ("landmark_refiner", {"part": "ear"}, "model.part=ear: choose mouth or eye"),
        ("landmark_refiner", {}, "model.part=None: choose mouth or eye"),
        ("landmark_refiner", {"prat": "eye"}, "unknown setting 'model.prat'. Did you mean 'part'?"),
        ("face_detector", {"part": "eye"}, "unknown setting 'model.part'"),
        ("audio_encoder", {"width": [16, 16]}, "unknown setting 'model.width'. Did you mean 'widths'?"),
        ("autoencoder", {"widths": [8, "x", 8]}, "Value 'x'"),
        ("diffusion", {"num_frame": 4}, "unknown setting 'model.num_frame'. Did you mean 'num_frames'?"),
        ("distillation", {"temporal": "sometimes"}, "model.temporal: Value 'sometimes' is not a valid bool"),
    ],
)
def test_arguments_that_the_model_does_not_take_are_refused(task, model, message):
    with pytest.raises(InputError) as caught:
        make_task(Config(task=task, model=model, data=DataConfig(clips={"clips": 1.0})))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_condition_is_refused(diffusion):
    with pytest.raises(InputError, match="unknown setting 'conditions.adio'. Did you mean 'audio'?"):
        make_task(diffusion(conditions={"adio": ConditionConfig(0.1)}))


@pytest.mark.parametrize("path", [*CONFIGS.glob("*.yaml"), *CONFIGS.glob("mini/**/*.yaml")], ids=lambda path: path.stem)
def test_our_files_have_only_arguments_and_conditions_that_exist(path):
    settings = load_config(path)
    module, name = TASKS[settings.task]
    check_arguments("model", settings.model, getattr(import_module(module), name).model_class)
    check_names("conditions", settings.conditions, CONDITIONS)
