"""Distillation: the student's goal is where its guided teacher goes, and then it goes there alone."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file

from emo.core.config import Config, DistillationConfig, LossConfig, SamplingConfig, SchedulerConfig
from emo.core.errors import InputError
from emo.data.clip import save_clip
from emo.hub.resolve import load_pipeline
from emo.models.emo import Conditions
from emo.pipelines.emo import EMOPipeline
from emo.pipelines.guidance import Guidance
from emo.training.distillation import DistillationTask, Teacher, distillation_loss, leading_to, stepped, stride
from emo.training.distributed import Generators
from emo.training.task import make_task
from emo.training.trainer import train

KINDS = ["epsilon", "sample", "v_prediction"]
KEEP = LossConfig(None, **{f"drop_{name}": 0.0 for name in ("audio", "reference", "motion", "face_region")})
GUIDED = {"guidance_scale": 4.0, "guidance_threshold": 0.01}
HEARING = ["*.attn2.*", "audio_projection.*"]  # what else moves only disturbs so small a model


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scheduler(kind: str, steps: int) -> DDIMScheduler:
    made = DDIMScheduler(**vars(SchedulerConfig(prediction_type=kind, rescale_betas_zero_snr=kind != "epsilon")))
    made.set_timesteps(steps)
    return made


@pytest.fixture
def student(config, tiny_pipeline, tmp_path) -> Config:
    """A run of a one-step student of the tiny pipeline, which is guided in one step, and which hears well."""
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
        "loss": KEEP,
    }
    return replace(config, task="distillation", **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_one_step_with_the_goal_leads_where_the_teacher_went(kind, steps):
    """And the grid of the student's timesteps is the scheduler's own."""
    made, noisy, reached = scheduler(kind, steps), random(steps, 2, 4, 4, 4), random(steps, 2, 4, 4, 4, seed=1)
    timesteps = made.timesteps
    assert timesteps.tolist() == [1000 - i * stride(made, steps) - 1 for i in range(steps)]
    goal = leading_to(reached, made, noisy, timesteps, timesteps - stride(made, steps))
    assert torch.allclose(stepped(made, goal, timesteps, noisy), reached, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 4])
def test_to_a_student_that_is_its_unguided_teacher_nothing_is_left_to_learn(student, kind, steps):
    task = make_task(student)
    batch = task.batch(range(4), torch.device("cpu"))
    given = Conditions(batch.reference, batch.audio, batch.motion, batch.face_region, batch.head_speed)

    def loss(guidance: Guidance, teacher_steps: int) -> float:
        teacher = Teacher(task.teacher.model, guidance, scheduler(kind, teacher_steps))
        given_all = task.model.eval(), teacher, steps, batch, given, KEEP, Generators(0, range(4), torch.device("cpu"))
        return distillation_loss(*given_all)[0].max().item()

    assert loss(Guidance(), steps) < 1e-9
    assert loss(Guidance(4.0), steps) > 1e-4 and loss(Guidance(), 5 * steps) > 1e-6


@torch.no_grad()
def test_the_teacher_goes_as_its_pipeline_samples(student):
    """With guidance and all steps, from pure noise."""
    task = make_task(replace(student, distillation=replace(student.distillation, teacher_steps=4)))
    batch, teacher = task.batch(range(1), torch.device("cpu")), task.teacher
    given = Conditions(batch.reference, batch.audio, batch.motion, batch.face_region, batch.head_speed)
    assert teacher.guidance == Guidance(4.0, 0.01)
    pipeline = EMOPipeline(teacher.model, task.vae, task.audio_encoder, scheduler("sample", 1), **GUIDED)
    portrait, chance = teacher.model.look_at_portrait(batch.reference), torch.Generator().manual_seed(3)
    made = pipeline._denoise(given, batch.latents.shape, portrait, 4, 4.0, chance)
    walked = teacher.walk(random(*batch.latents.shape, seed=3), torch.tensor([999]), given, 4)
    assert torch.allclose(teacher.model.from_diffused(walked, batch.reference), made, atol=1e-5)


def test_the_teacher_is_frozen(student, monkeypatch, tmp_path):
    tasks, init = [], DistillationTask.__init__
    monkeypatch.setattr(DistillationTask, "__init__", lambda self, config: init(self, config) or tasks.append(self))
    made = train(replace(student, steps=3)) / "model"
    before, after = (load_file(f / "diffusion_pytorch_model.safetensors") for f in (tmp_path / "teacher/model", made))
    teacher = tasks[0].teacher.model
    assert not teacher.training and not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert any(not torch.equal(after[name], before[name]) for name in before)


def learnt(student: Config) -> tuple[Path, list[float]]:
    """Where 40 steps of what hears led, and the losses."""
    config = replace(student, steps=40, learning_rate=1e-2, ema_decay=0.9, log_steps=10, trainable=HEARING)
    folder = train(config)
    return folder, [json.loads(line)["loss"] for line in (folder.parent / "log.jsonl").open()]


def sampled(folder: Path, given: Conditions, guidance_scale: float) -> torch.Tensor:
    """Latents (1 F C H W) of one window."""
    pipeline, shape = load_pipeline(str(folder), "cpu"), (1, 4, *given.reference.shape[1:])
    with torch.no_grad():
        portrait = pipeline.model.look_at_portrait(given.reference)
        return pipeline._denoise(given, shape, portrait, 1, guidance_scale, torch.Generator().manual_seed(0))


def test_the_student_says_alone_what_its_teacher_says_guided(student, tmp_path):
    """Its loss falls, and its samples are nearer to the guided teacher's than the unguided teacher's are."""
    folder, losses = learnt(student)
    assert losses[-1] < 0.5 * losses[0]
    assert json.loads((folder / "model_index.json").read_text())["guidance_scale"] == 1.0
    batch = make_task(student).batch(range(1), torch.device("cpu"))
    given = Conditions(batch.reference, batch.audio, batch.motion, batch.face_region, batch.head_speed)
    guided, plain = (sampled(tmp_path / "teacher", given, scale) for scale in (4.0, 1.0))
    assert (sampled(folder, given, 1.0) - guided).norm() < 0.75 * (plain - guided).norm()


def test_two_frames_are_learnt_by_heart(student, make_clip, tmp_path):
    (tmp_path / "two").mkdir()
    save_clip(tmp_path / "two", *make_clip("two", "anna", np.array([0.0, 1.0])))
    data = replace(student.data, clips={str(tmp_path / "two"): 1.0}, num_frames=2)
    _, losses = learnt(replace(student, data=data))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distillation": DistillationConfig()}, "distillation.teacher=None: give the folder of a trained pipeline"),
        ({"sampling": SamplingConfig(1, 3.5)}, "sampling.guidance_scale=3.5: a student has none, give 1"),
        ({"sampling": SamplingConfig(4, 1.0)}, "sampling.num_inference_steps=4 and its teacher's 1: give a divisor"),
        ({"loss": LossConfig()}, "loss.min_snr_gamma: pure noise, where a student begins, would not count; give null"),
        ({"scheduler": SchedulerConfig()}, "scheduler.prediction_type=v_prediction: the teacher's is sample"),
    ],
)
def test_a_student_that_can_not_be_is_refused(student, change, words):
    with pytest.raises(InputError) as caught:
        make_task(replace(student, **change))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_student_of_another_kind_than_its_teacher_is_refused(student):
    with pytest.raises(InputError, match="model.residual_scale=1.0: the teacher's is 2.0, give the same"):
        make_task(replace(student, model=student.model | {"residual_scale": 1.0}))
