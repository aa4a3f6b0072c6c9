"""Distillation: the target is what the guided teacher reaches, and the student then reaches it without guidance."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file

from emo.core.config import ConditionConfig, Config, DistillationConfig, LossConfig, SamplingConfig, SchedulerConfig
from emo.core.errors import InputError
from emo.data.clip import save_clip
from emo.hub.resolve import load_pipeline
from emo.pipelines.emo import EMOPipeline
from emo.pipelines.guidance import Guidance, SamplingOptions
from emo.training.diffusion import DistillationTask
from emo.training.distillation import (
    Teacher,
    compute_distillation_loss,
    get_stride,
    solve_target,
    step_samples,
)
from emo.training.distributed import SampleGenerators
from emo.training.losses import collect_conditions
from emo.training.task import make_task
from emo.training.trainer import train

KINDS = ["epsilon", "sample", "v_prediction"]
PLAIN = LossConfig(min_snr_gamma=None)
KEEP_ALL = {name: ConditionConfig(0.0) for name in ("audio", "reference", "motion", "face_region")}
GUIDED = {"guidance_scale": 4.0, "guidance_threshold": 0.01}
AUDIO_LAYERS = ["*.attn2.*", "audio_projection.*"]  # training other layers disturbs so small a model


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scheduler(kind: str, steps: int) -> DDIMScheduler:
    made = DDIMScheduler(**vars(SchedulerConfig(prediction_type=kind, rescale_betas_zero_snr=kind != "epsilon")))
    made.set_timesteps(steps)
    return made


@pytest.fixture
def student(config, tiny_pipeline, tmp_path) -> Config:
    """A run of a one-step student; its teacher is the tiny pipeline, guided, with audio layers that have an effect."""
    model = copy.deepcopy(tiny_pipeline.model)
    torch.manual_seed(0)
    for name, layer in model.named_modules():
        if name.endswith("attn2.to_out.0"):
            layer.reset_parameters()
    parts = tiny_pipeline.components | {"model": model}
    teacher = EMOPipeline(**parts, size=64, num_inference_steps=1, **GUIDED)
    teacher.save_pretrained(tmp_path / "teacher")
    changes = {
        "start_from": str(tmp_path / "teacher" / "model"),
        "distillation": DistillationConfig(str(tmp_path / "teacher")),
        "sampling": SamplingConfig(num_inference_steps=1, guidance_scale=1.0),
        "loss": PLAIN,
        "conditions": KEEP_ALL,
    }
    return replace(config, task="distillation", **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_one_step_with_the_target_leads_to_what_the_teacher_reached(kind, steps):
    """And the timesteps of the student are those of the scheduler."""
    made, noisy, reached = scheduler(kind, steps), random(steps, 2, 4, 4, 4), random(steps, 2, 4, 4, 4, seed=1)
    timesteps = made.timesteps
    assert timesteps.tolist() == [1000 - i * get_stride(made, steps) - 1 for i in range(steps)]
    target = solve_target(reached, made, noisy, timesteps, timesteps - get_stride(made, steps))
    assert torch.allclose(step_samples(made, target, timesteps, noisy), reached, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 4])
def test_student_equal_to_its_unguided_teacher_has_no_loss(student, kind, steps):
    task = make_task(student)
    batch = task.make_batch(range(4), torch.device("cpu"))
    given = collect_conditions(batch)

    def loss(guidance: Guidance, teacher_inference_steps: int) -> float:
        teacher = Teacher(task.teacher.model, guidance, scheduler(kind, teacher_inference_steps))
        given_all = (
            task.model.eval(),
            teacher,
            steps,
            batch,
            given,
            PLAIN,
            SampleGenerators(0, range(4), torch.device("cpu")),
        )
        return compute_distillation_loss(*given_all)[0].max().item()

    assert loss(Guidance(), steps) < 1e-9
    assert loss(Guidance(4.0), steps) > 1e-4 and loss(Guidance(), 5 * steps) > 1e-6


@torch.no_grad()
def test_teacher_samples_as_its_pipeline_does(student):
    """With guidance and all steps, from pure noise."""
    task = make_task(replace(student, distillation=replace(student.distillation, teacher_inference_steps=4)))
    batch, teacher = task.make_batch(range(1), torch.device("cpu")), task.teacher
    given = collect_conditions(batch)
    assert teacher.guidance == Guidance(4.0, 0.01)
    pipeline = EMOPipeline(teacher.model, task.vae, task.audio_encoder, scheduler("sample", 1), **GUIDED)
    portrait, rng = teacher.model.encode_reference(batch.reference), torch.Generator().manual_seed(3)
    made = pipeline.denoise_window(given, batch.latents.shape, portrait, SamplingOptions(4, Guidance(4.0, 0.01), rng))
    reached = teacher.denoise(random(*batch.latents.shape, seed=3), torch.tensor([999]), given, 4)
    assert torch.allclose(teacher.model.from_diffused(reached, batch.reference), made, atol=1e-5)


def test_teacher_is_frozen(student, monkeypatch, tmp_path):
    tasks, init = [], DistillationTask.__init__
    monkeypatch.setattr(DistillationTask, "__init__", lambda self, config: init(self, config) or tasks.append(self))
    made = train(replace(student, steps=3)) / "model"
    before, after = (load_file(f / "diffusion_pytorch_model.safetensors") for f in (tmp_path / "teacher/model", made))
    teacher = tasks[0].teacher.model
    assert not teacher.training and not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert any(not torch.equal(after[name], before[name]) for name in before)


def train_audio_layers(student: Config) -> tuple[Path, list[float]]:
    """The model after 40 steps of the audio layers, and the losses."""
    config = replace(student, steps=40, learning_rate=1e-2, ema_decay=0.9, log_steps=10, trainable=AUDIO_LAYERS)
    folder = train(config)
    return folder, [json.loads(line)["loss"] for line in (folder.parent / "log.jsonl").open()]


def sample(folder: Path, given, guidance_scale: float) -> torch.Tensor:
    """Latents (1 F C H W) of one window."""
    pipeline, shape = load_pipeline(str(folder), "cpu"), (1, 4, *given.reference.shape[1:])
    with torch.no_grad():
        portrait = pipeline.model.encode_reference(given.reference)
        options = SamplingOptions(
            1, Guidance(guidance_scale, pipeline.config.guidance_threshold), torch.Generator().manual_seed(0)
        )
        return pipeline.denoise_window(given, shape, portrait, options)


def test_student_approaches_its_guided_teacher(student, tmp_path):
    """Its loss falls, and its samples are closer to the guided teacher's than the unguided teacher's are."""
    folder, losses = train_audio_layers(student)
    assert losses[-1] < 0.5 * losses[0]
    assert json.loads((folder / "model_index.json").read_text())["guidance_scale"] == 1.0
    batch = make_task(student).make_batch(range(1), torch.device("cpu"))
    given = collect_conditions(batch)
    guided, plain = (sample(tmp_path / "teacher", given, scale) for scale in (4.0, 1.0))
    assert (sample(folder, given, 1.0) - guided).norm() < 0.75 * (plain - guided).norm()


def test_two_frames_are_overfitted(student, make_clip, tmp_path):
    (tmp_path / "two").mkdir()
    save_clip(tmp_path / "two", *make_clip("two", "anna", np.array([0.0, 1.0])))
    data = replace(student.data, clips={str(tmp_path / "two"): 1.0}, num_frames=2)
    _, losses = train_audio_layers(replace(student, data=data))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distillation": DistillationConfig()}, "distillation.teacher=None: give the folder of a trained pipeline"),
        ({"sampling": SamplingConfig(1, 3.5)}, "sampling.guidance_scale=3.5: a student uses no guidance, give 1"),
        ({"sampling": SamplingConfig(4, 1.0)}, "sampling.num_inference_steps=4 and its teacher's 1: give a divisor"),
        (
            {"loss": LossConfig()},
            "loss.min_snr_gamma: it weights the last timestep, which a student must learn, by 0; give null",
        ),
        ({"scheduler": SchedulerConfig()}, "scheduler.prediction_type=v_prediction: the teacher's is sample"),
    ],
)
def test_impossible_student_is_refused(student, change, message):
    with pytest.raises(InputError) as caught:
        make_task(replace(student, **change))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_student_with_another_model_than_its_teacher_is_refused(student):
    with pytest.raises(InputError, match="model.residual_scale=1.0: the teacher's is 2.0, give the same"):
        make_task(replace(student, model=student.model | {"residual_scale": 1.0}))
