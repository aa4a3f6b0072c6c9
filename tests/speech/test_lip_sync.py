"""A sound laid too early or too late is found out, by whoever can read lips from it."""

import numpy as np
import pytest
import torch

from emo.media.audio import read_audio
from emo.speech.lip_sync import REACH_FRAMES, load_lip_sync_scorer, predict_lips, score_lip_sync, weighted_correlation

FRAME = 640  # samples at 25 frames per second


class Reader:
    """Reads lips that open as the mean square of a frame's sound."""

    device = torch.device("cpu")

    def __call__(self, wave: torch.Tensor, first: int, count: int, fps: float) -> torch.Tensor:
        frames = wave[0].unfold(0, FRAME, FRAME).square().mean(1)
        padded = torch.cat([torch.zeros(-first), frames, torch.zeros(count)])[:count]
        return padded[None, :, None, None]

    def predict_lips(self, code: torch.Tensor) -> torch.Tensor:
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
    sync = score_lip_sync(lips, np.roll(wave, offset * FRAME), Reader())
    assert sync.offset_frames == offset and sync.confidence > 0.2
    assert 0.4 < sync.correlation < 0.5  # x rests, y follows


def test_a_head_that_drifts_hides_no_offset(talk):
    opening, wave = talk
    drift = 40 * np.sin(np.linspace(0, 2 * np.pi, 100))
    lips = (opening + drift)[:, None, None] * np.ones((1, 20, 2))
    assert [score_lip_sync(lips, np.roll(wave, k * FRAME), Reader()).offset_frames for k in (-6, 3)] == [-6, 3]


def test_lips_that_rest_or_move_by_themselves_are_in_no_step(talk):
    _, wave = talk
    resting = score_lip_sync(np.ones((100, 20, 2)), wave, Reader())
    assert resting.correlation == resting.confidence == 0
    others = np.random.default_rng(1).normal(size=(100, 1, 1)) * np.ones((1, 20, 2))
    assert score_lip_sync(others, wave, Reader()).correlation < 0.4


def test_correlation_is_the_mean_correlation(talk):
    opening, _ = talk
    assert weighted_correlation(opening[:, None] * [1, 1], opening[:, None] * [2, -1]) == pytest.approx(0)
    assert weighted_correlation(opening[:, None] * [1, 1], opening[:, None] * [2, 3] + 1) == pytest.approx(1)


def test_a_coordinate_weighs_by_its_predicted_motion(talk):
    opening, _ = talk
    lips = np.stack([opening, np.random.default_rng(1).normal(size=100)], 1)
    assert (
        weighted_correlation(opening[:, None] * [1, 0.01], lips)
        > 0.98
        > 0.7
        > weighted_correlation(opening[:, None] * [1, 1], lips)
    )


def test_the_packaged_scorer_finds_the_offset_of_its_own_lips(samples):
    wave, encoder = read_audio(samples / "song.wav", 16000), load_lip_sync_scorer()
    with torch.no_grad():
        lips = encoder.predict_lips(encoder(torch.from_numpy(wave)[None], 0, 150, 25.0)[0]).numpy()
    late = np.pad(wave, (4 * FRAME, 0))[: 150 * FRAME]
    assert score_lip_sync(lips, late, encoder).offset_frames == 4
    assert score_lip_sync(lips, wave[: 150 * FRAME], encoder).correlation > 0.95


def test_a_long_sound_in_chunks_gives_the_same(samples, monkeypatch):
    wave, encoder = read_audio(samples / "song.wav", 16000), load_lip_sync_scorer()
    whole = predict_lips(wave, 150, encoder)
    monkeypatch.setattr("emo.speech.lip_sync.CHUNK_FRAMES", 47)
    assert whole.shape == (150 + 2 * REACH_FRAMES, 40) and np.allclose(
        predict_lips(wave, 150, encoder), whole, atol=1e-5
    )
