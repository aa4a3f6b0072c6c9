"""Encoded clips: picture, sound, mouth and speed of a sample belong to the same frames."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from emo.data.clip import load_clip
from emo.data.dataset import Cache, EncodedClip, draw_batch, draw_sample, encoded, fingerprint
from emo.data.sampling import Window

T = 12
WINDOW = Window(num_frames=4, contiguous=True, motion_frames=2, audio_margin=1, speed_margin=3)


@pytest.fixture
def clip() -> EncodedClip:
    """Everything of frame t says t + 1."""
    count = torch.arange(1, T + 1, dtype=torch.float32)
    return EncodedClip(
        latents=count.half()[:, None, None, None].expand(T, 4, 2, 2),
        audio=count.half()[:, None, None].expand(1, T, 13, 3),
        lips=count[:, None].expand(T, 3),
        opening=count.flip(0),
        face_region=torch.full((1, 2, 2), 0.5),
        head_speed=count,
        name="low",
    )


def first_numbers(value: torch.Tensor) -> list[float]:
    return value.flatten(1)[:, 0].tolist() if value.ndim > 1 else value.tolist()


def test_frames_in_a_row_with_what_lies_around_them(clip):
    seen = set()
    for seed in range(60):
        latents, reference, motion, audio, lips, region, speed = draw_sample(clip, np.random.default_rng(seed), WINDOW)
        first = int(latents[0, 0, 0, 0])
        seen.add(first)
        rows = [first + i for i in range(4)]
        assert first_numbers(latents) == rows == first_numbers(lips)
        assert first_numbers(audio) == [t if 1 <= t <= T else 0 for t in range(first - 1, first + 5)]
        expected = [t if 1 <= t <= T else np.nan for t in range(first - 3, first + 7)]
        assert np.array_equal(speed.numpy(), np.float32(expected), equal_nan=True)
        assert first_numbers(motion) == ([first - 2, first - 1] if first > 2 else [0, 0])
        assert 1 <= reference[0, 0, 0] <= T and region.shape == (1, 2, 2)
    assert seen == set(range(1, T - 2))


def test_any_frames_are_different_ones_and_belong_together(clip):
    window = Window(num_frames=4, contiguous=False, motion_frames=0, audio_margin=0, speed_margin=0)
    latents, _, motion, audio, lips, _, speed = draw_sample(clip, np.random.default_rng(0), window)
    rows = first_numbers(latents)
    assert len(set(rows)) == 4 and np.ptp(rows) > 3 and motion.shape[0] == 0
    assert rows == first_numbers(audio) == first_numbers(lips) == first_numbers(speed)


def test_a_sample_hears_one_variant_of_the_sound_each_in_its_turn(clip):
    clip.audio = torch.cat([clip.audio, clip.audio + 100])
    window = replace(WINDOW, audio_margin=0)
    heard = [draw_sample(clip, np.random.default_rng(seed), window) for seed in range(20)]
    shifts = [{a - b for a, b in zip(first_numbers(s[3]), first_numbers(s[0]), strict=True)} for s in heard]
    assert all(len(shift) == 1 for shift in shifts) and set.union(*shifts) == {0, 100}


def test_a_share_of_the_portraits_has_the_mouth_closed(clip):
    """The mouth of this clip closes: the last 3 of 12 frames are the most closed quarter."""
    for share, expected in ((1.0, 1.0), (0.5, 0.625), (0.0, 0.25)):
        window = replace(WINDOW, closed_reference=share)
        drawn = [draw_sample(clip, np.random.default_rng(seed), window)[1][0, 0, 0] for seed in range(400)]
        assert np.mean([d > 9 for d in drawn]) == pytest.approx(expected, abs=0.08)
        assert len({float(d) for d in drawn}) == (3 if share == 1 else 12)


def test_a_batch_is_drawn_by_chance_and_the_same_numbers_draw_the_same(clip):
    other = EncodedClip(**{key: "high" if key == "name" else value + 100 for key, value in vars(clip).items()})
    batch, again = (draw_batch([clip, other], np.array([0.75, 0.25]), 1, range(400), WINDOW) for _ in range(2))
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(*(list(vars(x).values())[:-1] for x in (batch, again)), strict=True)
    )
    assert batch.names == again.names
    assert batch.names == ["high" if first > 100 else "low" for first in batch.latents[:, 0, 0, 0, 0]]
    assert batch.latents.shape == (400, 4, 4, 2, 2) and batch.head_speed.shape == (400, 10)
    assert (batch.latents[:, 0, 0, 0, 0] > 100).float().mean() == pytest.approx(0.25, abs=0.06)
    assert batch.latents.dtype == batch.audio.dtype == torch.float32


def test_a_sample_is_the_same_whoever_draws_it(clip):
    given = [clip, replace(clip, latents=clip.latents + 100)], np.array([0.5, 0.5]), 7
    whole = draw_batch(*given, range(8), WINDOW)
    for processes in (2, 4):
        parts = [draw_batch(*given, range(rank, 8, processes), WINDOW) for rank in range(processes)]
        for rank, part in enumerate(parts):
            assert torch.equal(part.latents, whole.latents[rank::processes])
            assert torch.equal(part.reference, whole.reference[rank::processes])
    assert len({*whole.latents[:, 0, 0, 0, 0].tolist()}) > 4
    assert not torch.equal(draw_batch(*given[:2], 8, range(8), WINDOW).latents, whole.latents)


def test_a_clip_is_encoded_once_frame_by_frame(tiny_pipeline, clips_folder, tmp_path, monkeypatch):
    cache = Cache(tmp_path, tiny_pipeline.vae, tiny_pipeline.audio_encoder, 3, torch.device("cpu"))
    path = clips_folder / "a0.json"
    clip = encoded(path, cache)
    assert clip.latents.shape == (16, 4, 4, 4) and clip.audio.shape == (3, 16, 1, 16)
    wave = torch.from_numpy(load_clip(path).wave)[None]
    alone = tiny_pipeline.audio_encoder(wave, 5, 1, 25.0)[0]
    own, *changed = clip.audio.float()
    assert torch.allclose(own[5], alone[0], atol=5e-3)
    assert all(not torch.allclose(other, own, atol=5e-3) for other in changed)
    assert clip.lips[0].tolist() == pytest.approx([96 / 192, 137 / 192, 36 / 192], abs=0.01)
    assert clip.face_region.shape == (1, 4, 4) and clip.face_region[0, 2, 1] == 1 and clip.face_region[0, 0, 0] < 1
    assert clip.head_speed.tolist() == pytest.approx(np.linspace(0, 1, 16).tolist())
    for encode in ("encode_latents", "encode_audio"):
        monkeypatch.setattr(Cache, encode, lambda *_: pytest.fail("encoded twice"))
    again = encoded(path, cache)
    assert clip.name == again.name == str(path)
    assert all(torch.equal(value, getattr(again, key)) for key, value in vars(clip).items() if key != "name")


def test_what_is_learnt_from_is_the_voice_without_its_music(tiny_pipeline, make_clip, openings, tmp_path):
    cache = Cache(tmp_path, tiny_pipeline.vae, tiny_pipeline.audio_encoder, 2, torch.device("cpu"))
    clip, _ = make_clip("song", "anna", openings[:16])
    sung = replace(clip, wave=np.random.default_rng(0).normal(size=len(clip.wave)), vocals=clip.wave)
    assert torch.equal(cache.encode_audio(sung), cache.encode_audio(clip))


def test_a_clip_made_anew_is_encoded_anew(tiny_pipeline, clips_folder, tmp_path):
    cache = Cache(tmp_path / "cache", tiny_pipeline.vae, tiny_pipeline.audio_encoder, 1, torch.device("cpu"))
    for suffix in (".json", ".mp4", ".safetensors"):
        shutil.copy(clips_folder / f"a0{suffix}", tmp_path / f"one{suffix}")
    before = encoded(tmp_path / "one.json", cache)
    shutil.copy(clips_folder / "b0.mp4", tmp_path / "one.mp4")
    after = encoded(tmp_path / "one.json", cache)
    assert not torch.equal(after.latents, before.latents) and torch.equal(after.audio, before.audio)


def test_the_fingerprint_changes_with_any_weight():
    model = torch.nn.Linear(2, 2)
    before = fingerprint(model)
    assert fingerprint(model) == before and len(before) == 12
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert fingerprint(model) != before
