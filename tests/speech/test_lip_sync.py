"""A sound laid too early or too late is found out, by whoever can read lips from it."""

import numpy as np
import pytest
import torch

from emo.media.audio import read_audio
from emo.speech.lip_sync import REACH_FRAMES, agreement, heard_lips, lip_sync, packaged_ear

FRAME = 640  # samples at 25 frames per second


class Reader:
    """Reads lips that open as the mean square of a frame's sound."""

    device = torch.device("cpu")

    def __call__(self, wave: torch.Tensor, first: int, count: int, fps: float) -> torch.Tensor:
        frames = wave[0].unfold(0, FRAME, FRAME).square().mean(1)
        padded = torch.cat([torch.zeros(-first), frames, torch.zeros(count)])[:count]
        return padded[None, :, None, None]

    def read_lips(self, code: torch.Tensor) -> torch.Tensor:
        return code.expand(-1, 20, 2)


@pytest.fixture
def talk() -> tuple[np.ndarray, np.ndarray]:
    """An opening (100,) and a wave that is as loud as it is open."""
    rng = np.random.default_rng(0)
    opening = np.abs(np.convolve(rng.normal(size=100), np.ones(5), "same"))
    return opening, np.float32(np.sqrt(opening).repeat(FRAME) * rng.normal(size=100 * FRAME))


@pytest.mark.parametrize("offset", [-10, -3, 0, 1, 10])
def test_the_offset_is_found(talk, offset):
    opening, wave = talk
    lips = opening[:, None, None] * np.array([[0.0, 1.0]] * 20) + 5
    sync = lip_sync(lips, np.roll(wave, offset * FRAME), Reader())
    assert sync.offset_frames == offset and sync.confidence > 0.2
    assert 0.4 < sync.r < 0.5  # x rests, y follows


def test_a_head_that_drifts_hides_no_offset(talk):
    opening, wave = talk
    drift = 40 * np.sin(np.linspace(0, 2 * np.pi, 100))
    lips = (opening + drift)[:, None, None] * np.ones((1, 20, 2))
    assert [lip_sync(lips, np.roll(wave, k * FRAME), Reader()).offset_frames for k in (-6, 3)] == [-6, 3]


def test_lips_that_rest_or_move_by_themselves_are_in_no_step(talk):
    _, wave = talk
    resting = lip_sync(np.ones((100, 20, 2)), wave, Reader())
    assert resting.r == resting.confidence == 0
    others = np.random.default_rng(1).normal(size=(100, 1, 1)) * np.ones((1, 20, 2))
    assert lip_sync(others, wave, Reader()).r < 0.4


def test_agreement_is_the_mean_correlation(talk):
    opening, _ = talk
    assert agreement(opening[:, None] * [1, 1], opening[:, None] * [2, -1]) == pytest.approx(0)
    assert agreement(opening[:, None] * [1, 1], opening[:, None] * [2, 3] + 1) == pytest.approx(1)


def test_a_coordinate_counts_as_far_as_it_is_read_to_move(talk):
    opening, _ = talk
    lips = np.stack([opening, np.random.default_rng(1).normal(size=100)], 1)
    assert agreement(opening[:, None] * [1, 0.01], lips) > 0.98 > 0.7 > agreement(opening[:, None] * [1, 1], lips)


def test_the_packaged_ear_finds_how_late_its_own_lips_are(samples):
    wave, ear = read_audio(samples / "song.wav", 16000), packaged_ear()
    with torch.no_grad():
        lips = ear.read_lips(ear(torch.from_numpy(wave)[None], 0, 150, 25.0)[0]).numpy()
    late = np.pad(wave, (4 * FRAME, 0))[: 150 * FRAME]
    assert lip_sync(lips, late, ear).offset_frames == 4
    assert lip_sync(lips, wave[: 150 * FRAME], ear).r > 0.95


def test_a_long_sound_is_heard_in_parts_as_if_at_once(samples, monkeypatch):
    wave, ear = read_audio(samples / "song.wav", 16000), packaged_ear()
    whole = heard_lips(wave, 150, ear)
    monkeypatch.setattr("emo.speech.lip_sync.AT_ONCE_FRAMES", 47)
    assert whole.shape == (150 + 2 * REACH_FRAMES, 40) and np.allclose(heard_lips(wave, 150, ear), whole, atol=1e-5)
