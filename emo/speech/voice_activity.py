"""Whether somebody is heard in a wave: the network of Silero VAD (MIT), from the weights in its wheel.

The wheel's own module is not imported: that would set the threads of the whole process, and its reader of the
safetensors wants tinygrad. S samples at 16 kHz, W windows of 32 ms.
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

WINDOW, BEFORE, AFTER = 512, 64, 64  # samples of a window, and what it sees around it (after it: itself, mirrored)
LEAST_CHANCE = 0.5  # Silero's own threshold


class VoiceNet(nn.Module):
    """The layers have the names of silero_vad_16k.safetensors."""

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
        """wave (S,) -> (W,) the chance that each window holds a voice."""
        windows = pad(wave, (BEFORE, -len(wave) % WINDOW)).unfold(0, BEFORE + WINDOW, WINDOW)
        waves = self.stft_conv(pad(windows[:, None], (0, AFTER), mode="reflect"))
        seen = torch.hypot(waves[:, :129], waves[:, 129:])  # (W 129 4)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = layer(seen).relu()
        state, heard = None, []
        for row in seen.squeeze(-1):
            state = self.lstm_cell(row[None], state)
            heard.append(state[0])
        return self.final_conv(torch.cat(heard).relu()[..., None]).sigmoid().flatten()


def silero_folder() -> Path:
    """Where the wheel keeps its weights. Raises InputError when it is not installed."""
    found = find_spec("silero_vad")
    if found is None:
        raise InputError("silero-vad is missing: pip install 'emo-portrait[prepare]'")
    return Path(found.submodule_search_locations[0]) / "data"


@cache
def packaged_voice() -> VoiceNet:
    net = VoiceNet()
    net.load_state_dict(load_file(silero_folder() / "silero_vad_16k.safetensors"))
    return net.eval()


def voice_share(wave: np.ndarray) -> float:
    """wave (S,) float32 at 16 kHz -> the share of its time in which somebody speaks or sings, 0 to 1; 0 of nothing.
    Raises InputError without silero-vad."""
    if len(wave) == 0:
        return 0.0
    chances = packaged_voice()(torch.from_numpy(np.ascontiguousarray(wave, np.float32)))
    return float((chances >= LEAST_CHANCE).float().mean())
