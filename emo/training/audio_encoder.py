"""The training of MelEncoder: the audio around a frame -> the lip landmarks of that frame.

The diffusion model attends to the encoder's code; lip-sync scores compare its predicted lips with those of a video.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.audio_augmentation import augment_voice
from emo.data.clip import Clip, load_clip
from emo.data.sampling import choose_clips
from emo.face.landmarks import LIP_POINTS
from emo.models.audio import MelEncoder
from emo.training.distributed import SampleGenerators
from emo.training.task import Task, make_batch_rng

LIP_SCALE = 40.0  # brings lip movements, in sides of the crop, to about unit deviation
CODE_NOISE = 0.1  # deviation of the noise that is added to the code, so that similar codes mean similar mouths
LOWER_LIP = 18  # of the lip points: the middle of the lower inner lip


class LipRegressor(nn.Module):
    """The encoder with its linear head, as it is trained."""

    encoder: MelEncoder

    def __init__(self, encoder: MelEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel patches (N n_mels columns) -> lip points (N 20 2)."""
        code = self.encoder.embed(mel)
        return self.encoder.predict_lips(code + CODE_NOISE * torch.randn_like(code) if self.training else code)


class AudioEncoderTask(Task):
    """A sample is `num_frames` consecutive frames of a clip, with augmented audio."""

    model_class = MelEncoder
    model: LipRegressor
    splittable_batch = False

    def __init__(self, config: Config):
        """Load all clips.

        Raises:
            InputError: No clip is long enough.
        """
        self.config = config
        encoder = MelEncoder.from_pretrained(config.start_from) if config.start_from else MelEncoder(**config.model)
        self.model = LipRegressor(encoder)
        paths, self.chances = choose_clips(config.data.clips, config.data.hold_out, config.data.num_frames)
        self.clips = [load_clip(path) for path in paths]

    def make_batch(self, numbers: range, device: torch.device) -> tuple[Tensor, Tensor]:
        """Make a batch of augmented audio and of the lips that belong to it.

        Args:
            numbers: Sample numbers of the run; the first one seeds the draw.
            device: Where the tensors go.

        Returns:
            Log-mel patches (N n_mels columns) and lip points (N 20 2).
        """
        mels, lips = self.draw_samples(make_batch_rng(self.config.seed, numbers), len(numbers), augment=True)
        return mels.to(device), lips.to(device)

    def draw_samples(self, rng: np.random.Generator, count: int, augment: bool) -> tuple[Tensor, Tensor]:
        """Draw stretches of clips; N = count * num_frames.

        Args:
            rng: Draws clips, first frames and augmentations.
            count: Number of stretches of `data.num_frames` frames.
            augment: Whether the audio is augmented.

        Returns:
            Log-mel patches (N n_mels columns) and lip points (N 20 2).
        """
        mels, lips = [], []
        for i in rng.choice(len(self.clips), count, p=self.chances):
            clip = self.clips[i]
            first = int(rng.integers(clip.info.num_frames - self.config.data.num_frames + 1))
            mels.append(self.compute_mels(clip, first, rng if augment else None))
            lips.append(torch.from_numpy(self.get_lips(clip, first)))
        return torch.cat(mels), torch.cat(lips)

    def compute_mels(self, clip: Clip, first: int, rng: np.random.Generator | None) -> Tensor:
        """Compute the log-mel patches of the frames from `first` on.

        Args:
            clip: The clip.
            first: Index of the first frame.
            rng: Draws the augmentation; None for the original audio.

        Returns:
            (F n_mels columns) log-mel patches.
        """
        encoder, count = self.model.encoder, self.config.data.num_frames
        end = int(((first + count) / FPS + encoder.future_seconds) * SAMPLE_RATE)
        wave, speed = (clip.voice[:end], 1.0) if rng is None else augment_voice(clip.voice[:end], rng)
        return encoder.log_mel(torch.from_numpy(wave)[None], first, count, FPS * speed)[0]

    def get_lips(self, clip: Clip, first: int) -> np.ndarray:
        """Return the lip points of the frames from `first` on, relative to the clip's mean and scaled by LIP_SCALE.

        Args:
            clip: The clip.
            first: Index of the first frame.

        Returns:
            (F 20 2) points.
        """
        lips = clip.landmarks[:, LIP_POINTS] - clip.landmarks[:, LIP_POINTS].mean(0)
        return LIP_SCALE * lips[first : first + self.config.data.num_frames]

    def compute_loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean squared error of the lip points.

        Args:
            model: The regressor from mel patches to lip points.
            batch: What `make_batch` returns.
            generators: Not used.

        Returns:
            The loss () and no values to log.
        """
        mels, lips = batch
        return (model(mels).float() - lips).square().mean(), {}

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a CSV with the height of the lower lip, predicted and true, and print their correlation.

        Args:
            model: The regressor, in evaluation mode.
            path: The file without its suffix.
        """
        mels, lips = self.draw_samples(np.random.default_rng(0), self.config.batch_size, augment=False)
        heights = torch.stack([points[:, LOWER_LIP, 1] for points in (model(mels), lips)])
        print(f"lower lip: correlation {torch.corrcoef(heights)[0, 1]:.3f}")
        np.savetxt(path.with_suffix(".csv"), heights.T.numpy(), header="predicted,true", delimiter=",", comments="")

    def save_model(self, model: LipRegressor, folder: Path) -> None:
        """Write the encoder without the regressor's head.

        Args:
            model: The trained regressor.
            folder: Where the encoder is written.
        """
        model.encoder.save_pretrained(folder)
