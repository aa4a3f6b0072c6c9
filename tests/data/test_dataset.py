"""Encoded clips: picture, sound, mouth and speed of a sample belong to the same frames."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from emo.data.batch import FrameLabels, draw_face_region, label_frames
from emo.data.clip import load_clip
from emo.data.dataset import EncodedClip, EncodingCache, draw_batch, draw_sample, hash_weights, load_encoded_clip
from emo.data.sampling import SampleSpec
from emo.face.crop import region_of_landmarks
from emo.face.pose import head_angles, head_rotations

T = 12
SPEC = SampleSpec(num_frames=4, contiguous=True, motion_frames=2, audio_margin=1, speed_margin=3)


@pytest.fixture
def clip() -> EncodedClip:
    """Everything of frame t has the value t + 1; its mouth closes."""
    count = torch.arange(1, T + 1, dtype=torch.float32)
    labels = FrameLabels(
        lips=count[:, None].expand(T, 3),
        mouth_opening=count.flip(0),
        face_box=(0.0, 0.0, 1.0, 0.5),
        head_speed=count,
        gaze=count[:, None].expand(T, 2),
        head_pose=count[:, None].expand(T, 3),
        face_size=count,
        emotion=torch.full((T, 7), torch.nan),
    )
    latents = count.half()[:, None, None, None].expand(T, 4, 2, 2)
    return EncodedClip(latents, count.half()[:, None, None].expand(1, T, 13, 3), labels, "low")


def first_numbers(value: torch.Tensor) -> list[float]:
    return value.flatten(1)[:, 0].tolist() if value.ndim > 1 else value.tolist()


def test_consecutive_frames_with_what_lies_around_them(clip):
    seen = set()
    for seed in range(60):
        sample = draw_sample(clip, np.random.default_rng(seed), SPEC)
        first = int(sample["latents"][0, 0, 0, 0])
        seen.add(first)
        rows = [first + i for i in range(4)]
        assert all(first_numbers(sample[name]) == rows for name in ("latents", "lips"))
        assert first_numbers(sample["audio"]) == [t if 1 <= t <= T else 0 for t in range(first - 1, first + 5)]
        expected = [t if 1 <= t <= T else np.nan for t in range(first - 3, first + 7)]
        assert np.array_equal(sample["head_speed"].numpy(), np.float32(expected), equal_nan=True)
        assert first_numbers(sample["motion"]) == ([first - 2, first - 1] if first > 2 else [0, 0])
        reference = sample["reference"][0, 0, 0].item()
        assert 1 <= reference <= T and sample["face_region"].tolist() == [[[1, 1], [0, 0]]]
        assert first_numbers(sample["distance"]) == pytest.approx([reference / t for t in rows])
        assert all(first_numbers(sample[name]) == [t - reference for t in rows] for name in ("gaze", "head_pose"))
        assert sample["emotion"].shape == (4, 7) and sample["emotion"].isnan().all()
    assert seen == set(range(1, T - 2))


def test_any_frames_are_different_ones_and_belong_together(clip):
    spec = SampleSpec(num_frames=4, contiguous=False, motion_frames=0, audio_margin=0, speed_margin=0)
    sample = draw_sample(clip, np.random.default_rng(0), spec)
    rows = first_numbers(sample["latents"])
    assert len(set(rows)) == 4 and np.ptp(rows) > 3 and sample["motion"].shape[0] == 0
    assert all(first_numbers(sample[name]) == rows for name in ("audio", "lips", "head_speed"))


def test_a_sample_has_one_variant_of_the_sound_each_in_its_turn(clip):
    clip.audio = torch.cat([clip.audio, clip.audio + 100])
    spec = replace(SPEC, audio_margin=0)
    drawn = [draw_sample(clip, np.random.default_rng(seed), spec) for seed in range(20)]
    pairs = [zip(first_numbers(s["audio"]), first_numbers(s["latents"]), strict=True) for s in drawn]
    shifts = [{a - b for a, b in pair} for pair in pairs]
    assert all(len(shift) == 1 for shift in shifts) and set.union(*shifts) == {0, 100}


def test_a_share_of_the_portraits_has_the_mouth_closed(clip):
    """The mouth of this clip closes: the last 3 of 12 frames are the most closed quarter."""
    for share, expected in ((1.0, 1.0), (0.5, 0.625), (0.0, 0.25)):
        spec = replace(SPEC, closed_mouth_reference_rate=share)
        drawn = [draw_sample(clip, np.random.default_rng(seed), spec)["reference"][0, 0, 0] for seed in range(400)]
        assert np.mean([d > 9 for d in drawn]) == pytest.approx(expected, abs=0.08)
        assert len({float(d) for d in drawn}) == (3 if share == 1 else 12)


def test_a_batch_is_drawn_by_chance_and_the_same_numbers_draw_the_same(clip):
    other = EncodedClip(clip.latents + 100, clip.audio + 100, clip.labels, "high")
    batch, again = (draw_batch([clip, other], np.array([0.75, 0.25]), 1, range(400), SPEC) for _ in range(2))
    tensors = [name for name in vars(batch) if name != "names"]
    assert all(torch.equal(*(getattr(one, name).nan_to_num() for one in (batch, again))) for name in tensors)
    assert batch.names == again.names
    assert batch.names == ["high" if first > 100 else "low" for first in batch.latents[:, 0, 0, 0, 0]]
    assert batch.latents.shape == (400, 4, 4, 2, 2) and batch.head_speed.shape == (400, 10)
    assert (batch.latents[:, 0, 0, 0, 0] > 100).float().mean() == pytest.approx(0.25, abs=0.06)
    assert batch.latents.dtype == batch.audio.dtype == torch.float32


def test_a_sample_is_the_same_whoever_draws_it(clip):
    given = [clip, replace(clip, latents=clip.latents + 100)], np.array([0.5, 0.5]), 7
    whole = draw_batch(*given, range(8), SPEC)
    for processes in (2, 4):
        parts = [draw_batch(*given, range(rank, 8, processes), SPEC) for rank in range(processes)]
        for rank, part in enumerate(parts):
            assert torch.equal(part.latents, whole.latents[rank::processes])
            assert torch.equal(part.reference, whole.reference[rank::processes])
    assert len({*whole.latents[:, 0, 0, 0, 0].tolist()}) > 4
    assert not torch.equal(draw_batch(*given[:2], 8, range(8), SPEC).latents, whole.latents)


def test_a_clip_is_encoded_once_frame_by_frame(tiny_pipeline, clips_folder, tmp_path, monkeypatch):
    cache = EncodingCache(tmp_path, tiny_pipeline.vae, tiny_pipeline.audio_encoder, 3, torch.device("cpu"))
    path = clips_folder / "a0.json"
    clip = load_encoded_clip(path, cache)
    assert clip.latents.shape == (16, 4, 4, 4) and clip.audio.shape == (3, 16, 1, 16)
    wave = torch.from_numpy(load_clip(path).wave)[None]
    alone = tiny_pipeline.audio_encoder(wave, 5, 1, 25.0)[0]
    own, *changed = clip.audio.float()
    assert torch.allclose(own[5], alone[0], atol=5e-3)
    assert all(not torch.allclose(other, own, atol=5e-3) for other in changed)
    assert clip.labels.lips[0].tolist() == pytest.approx([96 / 192, 137 / 192, 36 / 192], abs=0.01)
    region = draw_face_region(clip.labels.face_box, 4)
    assert region.shape == (1, 4, 4) and region[0, 2, 1] == 1 and region[0, 0, 0] < 1
    assert clip.labels.head_speed.tolist() == pytest.approx(np.linspace(0, 1, 16).tolist())
    for encode in ("encode_latents", "encode_audio"):
        monkeypatch.setattr(EncodingCache, encode, lambda *_: pytest.fail("encoded twice"))
    again = load_encoded_clip(path, cache)
    assert clip.name == again.name == str(path)
    assert torch.equal(again.latents, clip.latents) and torch.equal(again.audio, clip.audio)


def test_the_voice_is_encoded_without_its_music(tiny_pipeline, make_clip, openings, tmp_path):
    cache = EncodingCache(tmp_path, tiny_pipeline.vae, tiny_pipeline.audio_encoder, 2, torch.device("cpu"))
    clip, _ = make_clip("song", "anna", openings[:16])
    sung = replace(clip, wave=np.random.default_rng(0).normal(size=len(clip.wave)), vocals=clip.wave)
    assert torch.equal(cache.encode_audio(sung), cache.encode_audio(clip))


def test_a_clip_made_anew_is_encoded_anew(tiny_pipeline, clips_folder, tmp_path):
    cache = EncodingCache(tmp_path / "cache", tiny_pipeline.vae, tiny_pipeline.audio_encoder, 1, torch.device("cpu"))
    for suffix in (".json", ".mp4", ".safetensors"):
        shutil.copy(clips_folder / f"a0{suffix}", tmp_path / f"one{suffix}")
    before = load_encoded_clip(tmp_path / "one.json", cache)
    shutil.copy(clips_folder / "b0.mp4", tmp_path / "one.mp4")
    after = load_encoded_clip(tmp_path / "one.json", cache)
    assert not torch.equal(after.latents, before.latents) and torch.equal(after.audio, before.audio)


def test_labels_are_those_of_the_crop_and_unknown_ones_are_nan(make_clip, openings):
    clip, _ = make_clip("one", "anna", openings[:8])
    unknown = label_frames(clip)
    assert unknown.gaze.shape == (8, 2) and unknown.head_pose.shape == (8, 3) and unknown.emotion.shape == (8, 7)
    assert unknown.gaze.isnan().all() and unknown.emotion.isnan().all()
    assert np.allclose(unknown.head_pose, head_angles(head_rotations(clip.landmarks.astype(float))), atol=1e-6)
    sides = [region_of_landmarks(points).side for points in clip.landmarks]
    assert unknown.face_size.tolist() == pytest.approx(sides, rel=1e-5)
    gaze, emotion = np.linspace(0, 0.3, 16).reshape(8, 2), np.eye(7)[np.zeros(8, int)]
    known = label_frames(replace(clip, gaze=gaze, emotion=emotion))
    assert np.allclose(known.gaze, gaze) and np.array_equal(known.emotion, emotion)


def test_the_fingerprint_changes_with_any_weight():
    model = torch.nn.Linear(2, 2)
    before = hash_weights(model)
    assert hash_weights(model) == before and len(before) == 12
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert hash_weights(model) != before
