"""A run on shards: what it is given is what held clips give, and neither a stop nor workers change it."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from emo.core.config import Config
from emo.core.errors import InputError
from emo.data.shards import split_of, write_shards
from emo.training.diffusion import DiffusionTask
from emo.training.task import make_task
from emo.training.trainer import train


@pytest.fixture
def streamed(config, clips_folder, tmp_path) -> Config:
    """The tiny run on shards of one clip each."""
    write_shards([str(clips_folder)], tmp_path / "shards", 1, 0.0)
    data = replace(config.data, clips={}, shards=[str(tmp_path / "shards")], lanes=2, workers=0)
    return replace(config, data=data)


def test_a_streamed_batch_holds_what_the_same_frames_of_held_clips_do(config, streamed):
    """A window as long as the clip leaves nothing to choose but the clip and the reference."""
    model = config.model | {"num_frames": 16, "num_motion_frames": 2, "max_frames": 18, "audio_margin": 1}
    held, flowing = (
        make_task(replace(settings, model=model, data=replace(settings.data, num_frames=16)))
        for settings in (config, streamed)
    )
    batch = flowing.batch(range(3), torch.device("cpu"))
    assert sorted(batch.names) == ["a0", "a1", "b0"]
    clips = {path.stem: clip for path, clip in zip(held.samples.paths, held.samples.clips, strict=True)}
    for row, name in enumerate(batch.names):
        clip = clips[name]
        assert torch.allclose(batch.latents[row], clip.latents.float(), atol=5e-3)
        assert torch.allclose(batch.audio[row, 1:-1], clip.audio[0].float(), atol=5e-3)
        assert not batch.audio[row, 0].any() and not batch.audio[row, -1].any() and not batch.motion[row].any()
        assert any(torch.allclose(batch.reference[row], frame.float(), atol=5e-3) for frame in clip.latents)
        assert torch.equal(batch.lips[row], clip.lips) and torch.equal(batch.face_region[row], clip.face_region)
    other = held.batch(range(3), torch.device("cpu"))
    assert [value.shape for value in vars(batch).values() if torch.is_tensor(value)] == [
        value.shape for value in vars(other).values() if torch.is_tensor(value)
    ]


def test_a_streamed_run_stopped_and_read_by_workers_equals_an_unbroken_one(streamed, tmp_path, monkeypatch):
    unbroken = train(streamed)
    batch, seen = DiffusionTask.batch, []

    def stopping(self, numbers, device):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(numbers)
        return batch(self, numbers, device)

    again = replace(streamed, output=str(tmp_path / "again"), data=replace(streamed.data, workers=1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DiffusionTask, "batch", stopping)
        train(again)
    again = replace(again, data=replace(again.data, workers=2))  # elsewhere there may be more cores
    weights = [load_file(folder / "model/diffusion_pytorch_model.safetensors") for folder in (unbroken, train(again))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]) and len(weights[0]) > 50


def test_looks_are_at_people_the_run_does_not_learn_from(streamed, clips_folder, tmp_path):
    share = next(s / 100 for s in range(100) if split_of("anna", s / 100) != split_of("bert", s / 100))
    write_shards([str(clips_folder)], tmp_path / "shards", 1, share)
    task = make_task(streamed)
    learnt = set(task.batch(range(8), torch.device("cpu")).names)
    shown = {name for name, _, _ in task.samples.examples()}
    assert shown and learnt and not shown & learnt and shown | learnt == {"a0", "a1", "b0"}
    task.sample(task.model.eval(), tmp_path / "look")
    assert {path.name for path in tmp_path.glob("look_*.mp4")} == {f"look_{name}.mp4" for name in shown}


def test_what_can_not_be_streamed_is_said(config, streamed, tmp_path):
    with pytest.raises(InputError, match="data.clips and data.shards: give one of them"):
        make_task(replace(streamed, data=replace(streamed.data, clips=config.data.clips)))
    with pytest.raises(InputError, match=r"data.num_frames=17: no clip in .*shards \(data.shards\) is that long"):
        make_task(replace(streamed, data=replace(streamed.data, num_frames=17)))
    with pytest.raises(InputError, match="nothing/index.parquet can't be read"):
        make_task(replace(streamed, data=replace(streamed.data, shards=[str(tmp_path / "nothing")])))
