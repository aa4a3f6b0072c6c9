"""A voice is heard where there is one, as Silero hears it."""

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.media.audio import read_audio
from emo.speech.voice_activity import SileroVAD, silero_folder, speech_ratio

RATE = 16000


def notes(hz: list[float], decay: float) -> np.ndarray:
    """(S,) half a second of each note, plucked (a large decay) or held."""
    t = np.arange(RATE // 2) / RATE
    return np.concatenate(
        [sum(np.sin(2 * np.pi * f * k * t) / k**1.3 for k in range(1, 8)) * np.exp(-decay * t) / 4 for f in hz]
    ).astype(np.float32)


def test_the_network_is_silero_s(samples):
    """With the weights of the wheel's TorchScript model ours says what that one does."""
    script = torch.jit.load(silero_folder() / "silero_vad.jit")
    theirs, net = dict(script._model.state_dict()), SileroVAD()
    layers = [f"encoder.{k}.reparam_conv" for k in range(4)]
    named = {"stft_conv.weight": "stft.forward_basis_buffer"}
    named |= {f"conv{k + 1}.{part}": f"{layer}.{part}" for k, layer in enumerate(layers) for part in ("weight", "bias")}
    named |= {f"lstm_cell.{p}_{h}": f"decoder.rnn.{p}_{h}" for p in ("weight", "bias") for h in ("ih", "hh")}
    named |= {f"final_conv.{part}": f"decoder.decoder.2.{part}" for part in ("weight", "bias")}
    net.load_state_dict({mine: theirs[name] for mine, name in named.items()})
    wave = torch.from_numpy(read_audio(samples / "song.wav", RATE)[: 2 * RATE - 300])
    padded = torch.nn.functional.pad(wave, (0, -len(wave) % 512))
    with torch.no_grad():
        spoken = torch.cat([script(window, RATE).flatten() for window in padded.split(512)])
    assert spoken.max() > 0.9 and spoken.min() < 0.1
    assert torch.allclose(net(wave), spoken, atol=1e-4)


def test_a_song_is_a_voice_and_instruments_noise_and_silence_are_not(samples):
    song = read_audio(samples / "song.wav", RATE)
    assert speech_ratio(song) > 0.6
    assert speech_ratio(np.pad(song, (0, len(song)))) == pytest.approx(speech_ratio(song) / 2, abs=0.05)
    tune = [220.0, 277.2, 329.6, 440.0, 329.6, 246.9]
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    for other in (notes(tune, 6.0), notes(tune, 0.0), noise, 0 * noise, noise[:0]):
        assert speech_ratio(other) == 0


def test_without_the_wheel_the_error_names_the_fix(monkeypatch):
    monkeypatch.setattr("emo.speech.voice_activity.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'emo-portrait\[prepare\]'"):
        silero_folder()
