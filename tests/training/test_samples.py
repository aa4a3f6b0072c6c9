"""A run on shards: its samples equal those of clips in memory, and neither a stop nor workers change them."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from emo.core.config import Config
from emo.core.errors import InputError
from emo.data.shards import assign_split, write_shards
from emo.training.diffusion import DiffusionTask
from emo.training.task import make_task
from emo.training.trainer import train


@pytest.fixture
def streamed(config, clips_folder, tmp_path) -> Config:
    """The tiny run on shards of one clip each."""
    write_shards([str(clips_folder)], tmp_path / "shards", 1, 0.0)
    data = replace(config.data, clips={}, shards=[str(tmp_path / "shards")], open_shards=2, workers=0)
    return replace(config, data=data)


def test_streamed_batch_equals_that_of_clips_in_memory(config, streamed):
    """Samples as long as the clip: only the clip and the reference frame are chosen."""
    model = config.model | {"num_frames": 16, "num_motion_frames": 2, "max_frames": 18, "audio_margin": 1}
    in_memory, from_shards = (
        make_task(replace(settings, model=model, data=replace(settings.data, num_frames=16)))
        for settings in (config, streamed)
    )
    batch = from_shards.make_batch(range(3), torch.device("cpu"))
    assert sorted(batch.names) == ["a0", "a1", "b0"]
    clips = {path.stem: clip for path, clip in zip(in_memory.samples.paths, in_memory.samples.clips, strict=True)}
    for row, name in enumerate(batch.names):
        clip = clips[name]
        assert torch.allclose(batch.latents[row], clip.latents.float(), atol=5e-3)
        assert torch.allclose(batch.audio[row, 1:-1], clip.audio[0].float(), atol=5e-3)
        assert not batch.audio[row, 0].any() and not batch.audio[row, -1].any() and not batch.motion[row].any()
        assert any(torch.allclose(batch.reference[row], frame.float(), atol=5e-3) for frame in clip.latents)
        assert torch.equal(batch.lips[row], clip.labels.lips)
    other = in_memory.make_batch(range(3), torch.device("cpu"))
    assert [value.shape for value in vars(batch).values() if torch.is_tensor(value)] == [
        value.shape for value in vars(other).values() if torch.is_tensor(value)
    ]


def test_streamed_run_resumed_with_workers_equals_an_unbroken_one(streamed, tmp_path, monkeypatch):
    unbroken = train(streamed)
    batch, numbers_seen = DiffusionTask.make_batch, []

    def stopping(self, numbers, device):
        if len(numbers_seen) == 3:
            raise KeyboardInterrupt
        numbers_seen.append(numbers)
        return batch(self, numbers, device)

    again = replace(streamed, output=str(tmp_path / "again"), data=replace(streamed.data, workers=1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DiffusionTask, "make_batch", stopping)
        train(again)
    again = replace(again, data=replace(again.data, workers=2))  # another machine may have more cores
    weights = [load_file(folder / "model/diffusion_pytorch_model.safetensors") for folder in (unbroken, train(again))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]) and len(weights[0]) > 50


def test_previews_show_people_excluded_from_training(streamed, clips_folder, tmp_path):
    share = next(s / 100 for s in range(100) if assign_split("anna", s / 100) != assign_split("bert", s / 100))
    write_shards([str(clips_folder)], tmp_path / "shards", 1, share)
    task = make_task(streamed)
    trained = set(task.make_batch(range(8), torch.device("cpu")).names)
    shown = {name for name, _, _ in task.samples.read_examples()}
    assert shown and trained and not shown & trained and shown | trained == {"a0", "a1", "b0"}
    task.save_samples(task.model.eval(), tmp_path / "preview")
    assert {path.name for path in tmp_path.glob("preview_*.mp4")} == {f"preview_{name}.mp4" for name in shown}


def test_impossible_shards_are_refused(config, streamed, tmp_path):
    with pytest.raises(InputError, match="data.clips and data.shards: give one of them"):
        make_task(replace(streamed, data=replace(streamed.data, clips=config.data.clips)))
    with pytest.raises(InputError, match=r"data.num_frames=17: no clip in .*shards \(data.shards\) is that long"):
        make_task(replace(streamed, data=replace(streamed.data, num_frames=17)))
    with pytest.raises(InputError, match="nothing/index.parquet can't be read"):
        make_task(replace(streamed, data=replace(streamed.data, shards=[str(tmp_path / "nothing")])))
