"""Voice activity detection: the network of Silero VAD (MIT license), with the weights in its wheel.

The wheel's own module is not imported: it sets the number of threads of the whole process, and its reader of
safetensors needs tinygrad. S samples at 16 kHz, W windows of 32 ms.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from emo.core.errors import InputError

WINDOW, BEFORE, AFTER = 512, 64, 64  # samples: of a window, and around it (after it: its own end, mirrored)
MIN_PROBABILITY = 0.5  # of a window with speech; Silero's own threshold


class SileroVAD(nn.Module):
    """Silero's network for 16 kHz; its layers have the names of silero_vad_16k.safetensors."""

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    @torch.no_grad()
    def forward(self, wave: Tensor) -> Tensor:
        """Predict the probability that each window contains a voice: wave (S,) float32 -> (W,)."""
        windows = pad(wave, (BEFORE, -len(wave) % WINDOW)).unfold(0, BEFORE + WINDOW, WINDOW)
        waves = self.stft_conv(pad(windows[:, None], (0, AFTER), mode="reflect"))
        features = torch.hypot(waves[:, :129], waves[:, 129:])  # (W 129 4)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = layer(features).relu()
        state, states = None, []
        for row in features.squeeze(-1):
            state = self.lstm_cell(row[None], state)
            states.append(state[0])
        return self.final_conv(torch.cat(states).relu()[..., None]).sigmoid().flatten()


def silero_folder() -> Path:
    """Return the folder of the weights in the wheel. Raises InputError if it is not installed."""
    found = find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise InputError("silero-vad is missing: pip install 'emo-portrait[prepare]'")
    return Path(found.submodule_search_locations[0]) / "data"


@cache
def load_voice_detector() -> SileroVAD:
    """Return the network with its weights, loaded once a process. Raises InputError without silero-vad."""
    net = SileroVAD()
    net.load_state_dict(load_file(silero_folder() / "silero_vad_16k.safetensors"))
    return net.eval()


def speech_ratio(wave: np.ndarray) -> float:
    """Return the part of a sound in which somebody speaks or sings.

    Args:
        wave: (S,) float32 at 16 kHz.

    Returns:
        0 to 1; 0 for an empty wave.

    Raises:
        InputError: Silero-vad is not installed.
    """
    if len(wave) == 0:
        return 0.0
    probabilities = load_voice_detector()(torch.from_numpy(np.ascontiguousarray(wave, np.float32)))
    return float((probabilities >= MIN_PROBABILITY).float().mean())
