"""The small ear's training: the sound around a frame in, the shape of the mouth in that frame out.

Its code is what the diffusion model's audio attention sees; its reading of the lips measures sync.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.augmentation import vary
from emo.data.clip import LIPS, Clip, load_clip
from emo.data.sampling import choose_clips
from emo.models.audio import MelEncoder
from emo.training.distributed import Generators
from emo.training.task import Task, chance

SCALE = 40.0  # sides of the crop -> about unit deviation
CODE_NOISE = 0.1


class MouthReader(nn.Module):
    """The ear and what it is trained to do; a little noise on its code makes near codes mean near mouths."""

    def __init__(self, encoder: MelEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, mel: Tensor) -> Tensor:
        """(N n_mels columns) -> (N 20 2)."""
        code = self.encoder.embed(mel)
        return self.encoder.read_lips(code + CODE_NOISE * torch.randn_like(code) if self.training else code)


class MouthTask(Task):
    """A sample is `num_frames` frames in a row of one clip, its sound changed at random."""

    splittable = False

    def __init__(self, config: Config):
        self.config = config
        encoder = MelEncoder.from_pretrained(config.start_from) if config.start_from else MelEncoder(**config.model)
        self.model = MouthReader(encoder)
        paths, self.chances = choose_clips(config.data.clips, config.data.hold_out, config.data.num_frames)
        self.clips = [load_clip(path) for path in paths]

    def targets(self, clip: Clip, first: int) -> np.ndarray:
        """(F 20 2) lips of the frames, relative to the clip's mean."""
        lips = clip.landmarks[:, LIPS] - clip.landmarks[:, LIPS].mean(0)
        return SCALE * lips[first : first + self.config.data.num_frames]

    def mel(self, clip: Clip, first: int, rng: np.random.Generator | None) -> Tensor:
        """(F n_mels columns) of the frames' sound, changed when a rng is given."""
        encoder, count = self.model.encoder, self.config.data.num_frames
        end = int(((first + count) / FPS + encoder.future_seconds) * SAMPLE_RATE)
        wave, speed = (clip.voice[:end], 1.0) if rng is None else vary(clip.voice[:end], rng)
        return encoder.log_mel(torch.from_numpy(wave)[None], first, count, FPS * speed)[0]

    def draw(self, rng: np.random.Generator, count: int, change: bool) -> tuple[Tensor, Tensor]:
        """mels (N n_mels columns) and lips (N 20 2), N = count * num_frames."""
        mels, lips = [], []
        for i in rng.choice(len(self.clips), count, p=self.chances):
            clip = self.clips[i]
            first = int(rng.integers(clip.info.num_frames - self.config.data.num_frames + 1))
            mels.append(self.mel(clip, first, rng if change else None))
            lips.append(torch.from_numpy(self.targets(clip, first)))
        return torch.cat(mels), torch.cat(lips)

    def batch(self, numbers: range, device: torch.device) -> tuple[Tensor, Tensor]:
        mels, lips = self.draw(chance(self.config.seed, numbers), len(numbers), change=True)
        return mels.to(device), lips.to(device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], generators: Generators) -> tuple[Tensor, dict]:
        mels, lips = batch
        return (model(mels).float() - lips).square().mean(), {}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A CSV of the lower lip's height, read and true, on unchanged sound; prints their correlation."""
        mels, lips = self.draw(np.random.default_rng(0), self.config.batch_size, change=False)
        pair = torch.stack([read[:, 18, 1] for read in (model(mels), lips)])  # point 66, the lower inner lip: y
        print(f"lower lip r {torch.corrcoef(pair)[0, 1]:.3f}")
        np.savetxt(path.with_suffix(".csv"), pair.T.numpy(), header="read,true", delimiter=",", comments="")

    def save(self, model: nn.Module, folder: Path) -> None:
        model.encoder.save_pretrained(folder)
