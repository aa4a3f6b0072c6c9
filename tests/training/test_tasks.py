"""The tasks on drawn faces: each learns, looks at what it learnt and leaves what the next one takes."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image

from emo import Autoencoder, MelEncoder
from emo.core.config import Config, DataConfig, LossConfig, SamplingConfig, SchedulerConfig
from emo.core.errors import InputError
from emo.face.networks import load_half
from emo.face.refinement import PARTS
from emo.hub.resolve import load_pipeline
from emo.media.video import read_video
from emo.training.distributed import Generators
from emo.training.task import TASKS, make_task
from emo.training.trainer import train


@pytest.fixture
def config(tmp_path, clips_folder):
    """config(task, ...) -> a Config of 20 steps on the drawn clips."""

    def make(task: str, model: dict, data: dict, **changes) -> Config:
        options = (
            dict(steps=20, batch_size=4, learning_rate=3e-3, warmup_steps=1, log_steps=5, sample_steps=20) | changes
        )
        data = DataConfig(**{"clips": {str(clips_folder): 1.0}, "size": 64} | data)
        return Config(task=task, output=str(tmp_path / task), device="cpu", model=model, data=data, **options)

    return make


@pytest.fixture
def pictures(draw, tmp_path) -> Path:
    """A folder of two drawn stills, one of them small."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in [("anna", 192), ("bert", 80)]:
        Image.fromarray(draw(0.5, size)).save(folder / f"{name}.png")
    return folder


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").open()]


def test_the_autoencoder_learns(config, pictures, tmp_path, capsys):
    settings = config("autoencoder", {"latent_channels": 8, "widths": [8, 8, 8]}, {"pictures": [str(pictures)]})
    folder = train(settings)
    assert losses(tmp_path / "autoencoder")[-1] < losses(tmp_path / "autoencoder")[0]
    assert "PSNR" in capsys.readouterr().out
    assert Image.open(tmp_path / "autoencoder/samples/step_00000020.png").size == (64 * 8, 64 * 2)
    assert Autoencoder.from_pretrained(folder).config.latent_channels == 8


def test_the_ear_learns(config, tmp_path, capsys):
    folder = train(config("mouth", {"widths": [16, 16], "dim": 16}, {"num_frames": 4}))
    assert losses(tmp_path / "mouth")[-1] < losses(tmp_path / "mouth")[0]
    assert "lower lip r" in capsys.readouterr().out
    assert MelEncoder.from_pretrained(folder).feature_shape == (1, 16)


@pytest.mark.parametrize("part", ["mouth", "eye"])
def test_a_close_look_is_learnt(config, tmp_path, capsys, part):
    folder = train(config("part", {"part": part}, {}))
    assert losses(tmp_path / "part")[-1] < losses(tmp_path / "part")[0]
    assert "points off by" in capsys.readouterr().out
    load_half(PARTS[part].net(), folder / f"{part}.safetensors")
    with pytest.raises(InputError, match="model.part=ear: choose mouth or eye"):
        make_task(config("part", {"part": "ear"}, {}))


def diffusion(config, tiny_model, tiny_model_folder, **changes) -> Config:
    parts = {name: str(tiny_model_folder / part) for name, part in [("autoencoder", "vae"), ("audio_encoder",) * 2]}
    return config(
        "diffusion",
        tiny_model,
        {"num_frames": 4, "contiguous": True},
        scheduler=SchedulerConfig(prediction_type="sample"),
        sampling=SamplingConfig(num_inference_steps=2, guidance_scale=1.5),
        **parts,
        **{"steps": 2, "sample_steps": 2} | changes,
    )


def test_diffusion_leaves_videos_and_a_pipeline(config, tiny_model, tiny_model_folder, tmp_path):
    folder = train(diffusion(config, tiny_model, tiny_model_folder))
    videos = sorted(path.name for path in (tmp_path / "diffusion" / "samples").iterdir())
    assert videos == [f"step_00000002_{name}.mp4" for name in ("a0", "a1", "b0")]
    frames = list(read_video(tmp_path / "diffusion" / "samples" / videos[0]))
    assert len(frames) == 16 and frames[0].shape == (64, 3 * 64, 3)  # portrait, made, true
    pipeline = load_pipeline(str(folder), "cpu")
    assert pipeline.scheduler.config.prediction_type == "sample"
    assert [pipeline.config[key] for key in ("size", "num_inference_steps", "guidance_scale")] == [64, 2, 1.5]


@pytest.mark.parametrize("temporal", [True, False])
@pytest.mark.parametrize("margin", [0, 2])
def test_margins_of_the_batch_are_those_of_the_model(config, tiny_model, tiny_model_folder, temporal, margin):
    model = tiny_model | {"temporal": temporal, "audio_margin": margin, "speed_margin": 1}
    task = make_task(diffusion(config, model, tiny_model_folder))
    generators = Generators(0, range(4), torch.device("cpu"))
    batch = task.batch(range(4), torch.device("cpu"))
    assert batch.audio.shape[1] == 4 + 2 * margin
    assert batch.head_speed.shape[1] == 4 + 2 * temporal and batch.motion.shape[1] == 2 * temporal
    assert task.loss(task.model, batch, generators)[0].isfinite()


def test_the_held_out_are_not_drawn_and_clips_weigh_by_person(config, tiny_model, tiny_model_folder, tmp_path):
    settings = diffusion(config, tiny_model, tiny_model_folder)
    task = make_task(settings)
    assert [path.stem for path in task.samples.paths] == ["a0", "a1", "b0"]
    assert task.samples.chances.tolist() == pytest.approx([0.293, 0.293, 0.414], abs=1e-3)
    settings.data.hold_out = str(tmp_path / "out.txt")
    (tmp_path / "out.txt").write_text("anna\n")
    assert [path.stem for path in make_task(settings).samples.paths] == ["b0"]
    (tmp_path / "out.txt").write_text("anna\nbert\n")
    with pytest.raises(InputError, match="no clip in"):
        make_task(settings)


def test_channels_are_weighed_as_they_are_seen_where_a_share_asks_for_it(config, tiny_model, tiny_model_folder):
    weighing, plain = (
        make_task(diffusion(config, tiny_model, tiny_model_folder, loss=LossConfig(perceived_share=share)))
        for share in (0.5, 0.0)
    )
    assert plain.perceived is None
    assert weighing.perceived.shape == (tiny_model["latent_channels"],)
    assert weighing.perceived.mean() == pytest.approx(1) and weighing.perceived.std() > 0
    batch, losses = plain.batch(range(4), torch.device("cpu")), []
    for task in (plain, weighing):
        generators = Generators(0, range(4), torch.device("cpu"))
        losses.append(task.loss(plain.model, batch, generators)[0].item())
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.5)


def test_dropped_conditions_do_not_matter_to_the_loss(config, tiny_model, tiny_model_folder):
    """With every condition dropped at rate 1 the sound of the batch is never heard."""
    rates = {f"drop_{name}": 1.0 for name in ("audio", "reference", "motion", "face_region", "head_speed")}
    task = make_task(diffusion(config, tiny_model, tiny_model_folder, loss=LossConfig(**rates)))

    def loss(change: bool) -> torch.Tensor:
        generators = Generators(0, range(4), torch.device("cpu"))
        batch = task.batch(range(4), torch.device("cpu"))
        if change:
            batch.audio, batch.reference, batch.motion = batch.audio + 1, batch.reference + 1, batch.motion + 1
        return task.loss(task.model, batch, generators)[0]

    assert torch.equal(loss(False), loss(True))


@pytest.mark.parametrize("task", ["autoencoder", "mouth", "part", "diffusion"])
def test_the_numbers_of_a_batch_say_what_is_in_it(config, pictures, tiny_model, tiny_model_folder, task):
    models = {"autoencoder": {"widths": [8, 8, 8]}, "mouth": {"widths": [16, 16], "dim": 16}, "part": {"part": "eye"}}
    data = {"pictures": [str(pictures)]} if task == "autoencoder" else {"num_frames": 4}
    settings = config(task, models[task], data) if task in models else diffusion(config, tiny_model, tiny_model_folder)

    def drawn(numbers: range) -> torch.Tensor:
        batch = make_task(settings).batch(numbers, torch.device("cpu"))
        batch = vars(batch)["latents"] if task == "diffusion" else batch["crops"] if task == "part" else batch
        return batch[0] if task == "mouth" else batch

    first = drawn(range(0, 8, 2))
    assert torch.equal(first, drawn(range(0, 8, 2)))
    assert len(first) == (4 * 4 if task == "mouth" else len(drawn(range(1, 8, 2)))) and len(first) > 0
    assert not torch.equal(first, drawn(range(1, 8, 2)))


def test_every_task_has_what_the_trainer_asks_for():
    for module, name in TASKS.values():
        task = getattr(import_module(module), name)
        assert all(callable(getattr(task, method)) for method in ("batch", "loss", "sample", "save"))
    with pytest.raises(InputError, match=f"'nonsense' is none of {', '.join(TASKS)}"):
        make_task(Config(task="nonsense"))
