"""Audio features are aligned with frames: at any frame rate, after ten minutes, in one piece or in segments."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from emo.core.timing import SAMPLE_RATE
from emo.models.audio import MIN_LEVEL, AudioProjection, MelEncoder, Wav2VecEncoder, frame_centers

RATES = {24: Fraction(24), 25: Fraction(25), 29.97: Fraction(30000, 1001), 30: Fraction(30), 60: Fraction(60)}
AT_RATES = pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
AT_STARTS = pytest.mark.parametrize("start", [0, 600])
TINY = Wav2Vec2Config(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    conv_dim=(8,) * 7,
    feat_extract_norm="layer",
    num_conv_pos_embeddings=3,
    num_conv_pos_embedding_groups=2,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def click(sample: int, samples: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([sample]), samples).float()


def energy(mel: torch.Tensor) -> torch.Tensor:
    """Log-mel (1 T n_mels columns) -> (T columns) power above silence."""
    return (10 ** (1.5 * mel.double() - 3) - 1e-6).sum(2)[0]


@pytest.fixture
def mel() -> MelEncoder:
    return MelEncoder().eval()


@pytest.fixture
def wav2vec() -> Wav2VecEncoder:
    return Wav2VecEncoder(TINY.to_dict())


@torch.no_grad()
@AT_RATES
@AT_STARTS
def test_a_click_is_in_the_features_of_its_frame(mel, rate, start):
    for place in np.random.default_rng(0).uniform(0.5, 1.5, 20):
        sample = round(place * SAMPLE_RATE)
        time = start + Fraction(sample, SAMPLE_RATE)
        frame = floor(time * rate)
        if min(time * rate - frame, frame + 1 - time * rate) / rate < 0.002:
            continue  # so near to a border that 10-ms columns cannot tell
        patches = energy(mel.log_mel(click(sample, 32000), frame - 2, 5, float(rate), float(start)))
        seconds = (torch.arange(52) - 25.5) * 0.010
        measured = (patches * seconds).sum(1) / patches.sum(1)  # seconds after the frame's center
        assert measured.abs().argmin() == 2
        truth = torch.tensor([float(time - (f + Fraction(1, 2)) / rate) for f in range(frame - 2, frame + 3)])
        assert (measured - truth).abs().max() < 0.002


@torch.no_grad()
@AT_RATES
@AT_STARTS
def test_the_middle_of_the_patch_is_the_middle_of_the_frame(mel, rate, start):
    frame = floor((start + 1) * rate)
    center = (frame + Fraction(1, 2)) / rate - start
    sample = round(center * SAMPLE_RATE)
    balance = []
    for offset in (-16, 0, 16):  # a millisecond
        patch = energy(mel.log_mel(click(sample + offset, 32000), frame, 1, float(rate), float(start)))[0]
        balance.append(float((patch[26] - patch[25]) / (patch[26] + patch[25])))
    assert balance[0] < -0.1 and abs(balance[1]) < 0.01 and balance[2] > 0.1


@torch.no_grad()
def test_a_tone_fills_its_mel_band_and_silence_is_minus_two(mel):
    time = torch.arange(16000) / SAMPLE_RATE
    patch = mel.log_mel(0.5 * torch.sin(2 * torch.pi * 1000 * time)[None], 12, 1, 25.0)[0, 0]
    mels = np.linspace(*(2595 * np.log10(1 + np.array([50, 8000]) / 700)), 66)[1:-1]
    nearest = np.abs(700 * (10 ** (mels / 2595) - 1) - 1000).argmin()
    assert (patch.argmax(0) == nearest).all()
    assert torch.allclose(mel.log_mel(torch.zeros(1, 100), 0, 2, 25.0), torch.tensor(-2.0))


@torch.no_grad()
@AT_RATES
def test_features_of_segments_equal_those_of_the_whole_wave(mel, rate):
    wave, fps = torch.randn(2, 4 * SAMPLE_RATE), float(rate)
    full, mels = mel(wave, 0, 80, fps), mel.log_mel(wave, 0, 80, fps)
    assert full.shape == (2, 80, *mel.feature_shape)
    for first in range(0, 80, 16):
        start = max(0, floor((first / fps - mel.past_seconds) * SAMPLE_RATE))
        stop = floor(((first + 16) / fps + mel.future_seconds) * SAMPLE_RATE) + 1
        piece = (wave[:, start:stop], first, 16, fps, start / SAMPLE_RATE)
        assert torch.equal(mel.log_mel(*piece), mels[:, first : first + 16])
        assert torch.allclose(mel(*piece), full[:, first : first + 16], atol=1e-5)


@torch.no_grad()
def test_the_mel_code_does_not_depend_on_loudness(mel):
    wave = torch.randn(1, 5 * SAMPLE_RATE) * (1 + torch.arange(5 * SAMPLE_RATE) // 3000 % 2) * 0.1
    codes = mel(wave, 0, 100, 25.0)
    assert torch.allclose(mel(5 * wave, 0, 100, 25.0), codes, atol=1e-4)
    assert codes.abs().max() < 1 and codes.std(1).min() > 0.01
    quiet = torch.cat([wave[:, : 2 * SAMPLE_RATE], wave[:, : 2 * SAMPLE_RATE] / 10], dim=1)
    mels = mel.log_mel(quiet, 0, 100, 25.0)
    drop = mels[0, 10:40].mean() - mels[0, 60:90].mean()  # quiet beside the loud seconds before it: 20 dB, 2 of log10
    assert drop == pytest.approx(2 / 1.5, abs=0.1)


@torch.no_grad()
@AT_RATES
def test_the_level_is_the_loudest_block_of_the_last_seconds(mel, rate):
    wave = torch.zeros(1, 12 * SAMPLE_RATE)
    wave[0, 2 * SAMPLE_RATE : round(2.1 * SAMPLE_RATE)] = 0.5
    centers = frame_centers(0, round(12 * rate), float(rate))
    level = mel.peak_level(wave, centers, 0)[0]
    seconds = centers / SAMPLE_RATE
    measured = (seconds > 2.1 - 0.25) & (seconds < 2 + 4)
    silent = (seconds < 2 - 0.26) | (seconds > 2.1 + 4)
    assert torch.allclose(level[measured], torch.tensor(0.25)) and torch.equal(
        level[silent], torch.full_like(level[silent], MIN_LEVEL)
    )


@torch.no_grad()
def test_audio_outside_the_receptive_field_does_not_count(mel, wav2vec):
    for encoder in (mel, wav2vec):
        silent = encoder(torch.zeros(1, 0), 0, 2, 25.0)
        assert torch.equal(encoder(torch.randn(1, 8000), 0, 2, 25.0, start_seconds=60.0), silent)
        assert torch.equal(encoder(torch.randn(1, 8000), 9000, 2, 25.0), encoder(torch.zeros(1, 0), 9000, 2, 25.0))


def test_the_mel_encoder_is_small_and_every_parameter_gets_a_gradient(mel):
    assert 0.7e6 < sum(p.numel() for p in mel.parameters()) < 0.9e6
    read = mel.predict_lips(mel(torch.randn(1, 16000), 5, 2, 25.0)[0])
    assert read.shape == (2, 20, 2)
    read.square().mul(torch.randn(2, 20, 2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in mel.parameters())


@torch.no_grad()
@AT_RATES
@AT_STARTS
def test_wav2vec_features_of_a_click_are_at_its_time(wav2vec, rate, start):
    frames = range(floor((start + 0.5) * rate), floor((start + 1.5) * rate))
    seconds = torch.tensor([float((f + Fraction(1, 2)) / rate - start) for f in frames], dtype=torch.float64)
    errors = []
    for place in np.random.default_rng(0).uniform(0.7, 1.3, 10):
        wave = click(round(place * SAMPLE_RATE), 32000)
        states = wav2vec(wave, frames[0], len(frames), float(rate), float(start))[0, :, 0]
        change = (states - states.median(0).values).square().sum(1).double()
        errors.append(float((change * seconds).sum() / change.sum()) - place)
    assert np.abs(errors).max() < 0.020 + 0.5 / float(rate) and abs(np.mean(errors)) < 0.008


@torch.no_grad()
def test_wav2vec_equals_transformers_on_its_own_grid(wav2vec):
    wave = torch.randn(1, 1600 * 20 + 80) * 0.1 + 0.05
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(wave[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
    expected = wav2vec.model(values, output_hidden_states=True).hidden_states[0][0, 50:70]
    # feature i is centred at sample 320 i + 199.5, so at 50 fps frame i lies between features i - 1 and i
    share = (320 * 50 + 160 - 199.5 - 320 * 49) / 320
    mixed = torch.lerp(expected[:-1], expected[1:], share)
    ours = wav2vec(wave, 51, 19, 50.0)[0, :, 0]
    assert torch.allclose(ours, mixed, atol=1e-4)


@torch.no_grad()
def test_the_transformer_alone_equals_that_of_transformers():
    encoder, wave = Wav2VecEncoder(TINY.to_dict(), resample_to_frames=True), torch.randn(1, 2 * SAMPLE_RATE)
    states = torch.stack(encoder.model(wave, output_hidden_states=True).hidden_states[1:], dim=2)
    found = encoder.run_transformer(encoder.model.feature_extractor(wave).transpose(1, 2))
    assert torch.allclose(found, states, atol=1e-5) and found.shape[2:] == encoder.feature_shape


@torch.no_grad()
def test_resampled_to_frames_a_click_is_at_its_time_and_segments_agree():
    encoder = Wav2VecEncoder(TINY.to_dict(), segment_seconds=1.0, resample_to_frames=True)
    states = encoder(click(16000, 32000), 5, 40, 25.0)[0, :, 0]  # the click lies between frames 24 and 25
    assert 5 + int((states - states.median(0).values).square().sum(1).argmax()) in (24, 25)
    wave = torch.randn(1, 4 * SAMPLE_RATE)
    assert torch.allclose(encoder(wave, 0, 100, 25.0)[:, 50:75], encoder(wave, 50, 25, 25.0), atol=1e-5)


def test_large_models_can_not_be_resampled_to_frames():
    with pytest.raises(ValueError, match="resample_to_frames=true: not for"):
        Wav2VecEncoder(TINY.to_dict() | {"do_stable_layer_norm": True}, resample_to_frames=True)


@torch.no_grad()
def test_wav2vec_encodes_long_audio_in_segments():
    encoder = Wav2VecEncoder(TINY.to_dict(), margin_seconds=0.5, segment_seconds=1.0)
    wave = torch.randn(1, 4 * SAMPLE_RATE)
    full = encoder(wave, 0, 100, 25.0)
    assert full.shape == (1, 100, 3, 16)
    assert torch.allclose(full[:, 50:75], encoder(wave, 50, 25, 25.0), atol=1e-5)


@torch.no_grad()
def test_encoders_are_equal_after_saving_and_loading(mel, wav2vec, tmp_path):
    wave = torch.randn(1, 16000)
    for encoder in (mel, wav2vec):
        encoder.save_pretrained(tmp_path)
        loaded = type(encoder).from_pretrained(tmp_path)
        assert torch.equal(loaded(wave, 3, 5, 25.0), encoder.eval()(wave, 3, 5, 25.0))


@torch.no_grad()
def test_wav2vec_from_transformers_is_frozen(tmp_path):
    theirs = Wav2Vec2Model(TINY).eval()
    theirs.save_pretrained(tmp_path)
    encoder = Wav2VecEncoder.from_wav2vec(str(tmp_path)).train()
    assert str(tmp_path) not in str(encoder.config)
    assert not encoder.model.training and not any(p.requires_grad for p in encoder.parameters())
    wave = torch.randn(1, 4000)
    assert torch.equal(encoder.model(wave).last_hidden_state, theirs(wave).last_hidden_state)


@torch.no_grad()
def test_the_projection_uses_the_frames_within_the_margin():
    projection = AudioProjection((3, 5), margin=2, num_tokens=4, token_dim=8)
    features = torch.randn(2, 7 + 4, 3, 5)
    tokens = projection(features)
    assert tokens.shape == (2, 7, 4, 8)
    for frame in range(7):
        around = features[:, frame : frame + 5].flatten(1)
        alone = projection.norm(projection.mlp(around).unflatten(1, (4, 8)))
        assert torch.allclose(tokens[:, frame], alone, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("future_columns", [0, 6])
def test_a_causal_patch_ends_after_its_future_columns(future_columns):
    encoder = MelEncoder(columns=40, dim=16, widths=(16, 16), code_dim=4, future_columns=future_columns).eval()
    assert encoder.future_seconds == pytest.approx(future_columns * 0.01 + 0.0125)
    wave, later = torch.randn(1, 2 * SAMPLE_RATE), torch.randn(1, 2 * SAMPLE_RATE)
    for frame in (10, 23):
        last = floor(((frame + 0.5) / 25 + encoder.future_seconds) * SAMPLE_RATE)
        for cut, changes in ((last + 1, False), (last - 200, True)):
            other = torch.cat([wave[:, :cut], later[:, cut:]], dim=1)
            same = torch.allclose(encoder(wave, frame, 1, 25.0), encoder(other, frame, 1, 25.0), atol=1e-6)
            assert same is not changes
    with pytest.raises(ValueError, match="future_columns=40: give 0 to 39"):
        MelEncoder(columns=40, future_columns=40)
