"""The training of MelEncoder: the audio around a frame -> the lip landmarks of that frame.

The diffusion model attends to the encoder's code; lip-sync scores compare its predicted lips with those of a video.
Where clips know their phonemes, telling them apart is a second task that shapes the features below the code; its head
is not saved.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.audio_augmentation import augment_voice
from emo.data.clip import Clip, load_clip
from emo.data.clip_truth import load_clip_truth
from emo.data.sampling import choose_clips
from emo.face.crop import normalize_landmarks, smooth_regions
from emo.face.landmarks import LIP_POINTS
from emo.hub.resolve import find_component
from emo.models.audio import MelEncoder
from emo.synthetic.visemes import VISEMES
from emo.synthetic.voices.music import make_music
from emo.training.distributed import SampleGenerators
from emo.training.task import Task, make_batch_rng

LIP_SCALE = 40.0  # brings lip movements, in sides of the crop, to about unit deviation
CODE_NOISE = 0.1  # deviation of the noise that is added to the code, so that similar codes mean similar mouths
LOWER_LIP = 18  # of the lip points: the middle of the lower inner lip
PHONEMES = "".join(VISEMES)  # the first letters of phonemes in IPA that are told apart; then other letters, and a pause
NUM_PHONEMES, UNKNOWN_PHONEME = len(PHONEMES) + 2, -1
PHONEME_WEIGHT = 0.2
MUSIC_RATE, MUSIC_DB = 0.15, (0.0, 20.0)  # share of samples with music under the voice, and the voice's level above it


class LipRegressor(nn.Module):
    """The encoder with its linear head for lips, and a head for phonemes, as it is trained."""

    encoder: MelEncoder

    def __init__(self, encoder: MelEncoder):
        super().__init__()
        self.encoder, self.phonemes = encoder, nn.Linear(encoder.code.in_features, NUM_PHONEMES)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel patches (N n_mels columns) -> lip points (N 20 2) and logits of the phonemes (N NUM_PHONEMES)."""
        features = self.encoder.extract_features(mel)
        code = self.encoder.embed_features(features)
        code = code + CODE_NOISE * torch.randn_like(code) if self.training else code
        return self.encoder.predict_lips(code), self.phonemes(features)


@dataclass(frozen=True)
class SpokenClip:
    """A clip and what is learned from its sound.

    Attributes:
        clip: The clip.
        lips: (T 20 2) lip points in the head's own square, relative to the clip's mean and scaled by LIP_SCALE.
        phonemes: (T,) numbers below NUM_PHONEMES, or UNKNOWN_PHONEME.
    """

    clip: Clip
    lips: np.ndarray
    phonemes: np.ndarray


def load_spoken_clip(path: Path) -> SpokenClip:
    """Load the clip whose JSON is `path`, with what is learned from its sound.

    The head's motion is taken off the lips: a crop may show it.

    Raises:
        InputError: A file of the clip is missing or broken.
    """
    clip = load_clip(path)
    lips = normalize_landmarks(clip.landmarks, smooth_regions(clip.landmarks))[:, LIP_POINTS]
    lips = (LIP_SCALE * (lips - lips.mean(0))).astype(np.float32)
    return SpokenClip(clip, lips, number_phonemes(load_clip_truth(path), len(lips)))


def number_phonemes(truth: dict[str, np.ndarray], num_frames: int) -> np.ndarray:
    """Number the phoneme of each frame by its first letter.

    Args:
        truth: Of `load_clip_truth`.
        num_frames: T.

    Returns:
        (T,) int64: the letter's place in PHONEMES, then one number for other letters and one for a pause;
        UNKNOWN_PHONEME where the clip knows none.
    """
    if not len(truth.get("phonemes", ())):
        return np.full(num_frames, UNKNOWN_PHONEME)
    letters = [ipa.strip("ˈˌːˑ̃ ")[:1] for ipa in truth["phonemes"].tolist()]
    numbers = [len(PHONEMES) + (not x) if x not in PHONEMES or not x else PHONEMES.index(x) for x in letters]
    return np.array([*numbers, len(PHONEMES) + 1])[truth["phoneme"]]  # -1, no phoneme, is the last one


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
        source = config.start_from and find_component("start_from", config.start_from, "audio_encoder")
        encoder = MelEncoder.from_pretrained(source) if source else MelEncoder(**config.model)
        self.model = LipRegressor(encoder)
        paths, self.chances = choose_clips(config.data.clips, config.data.hold_out, config.data.num_frames)
        self.clips = [load_spoken_clip(path) for path in paths]

    def make_batch(self, numbers: range, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Make a batch of augmented audio and of the lips and phonemes that belong to it.

        Args:
            numbers: Sample numbers of the run; the first one seeds the draw.
            device: Where the tensors go.

        Returns:
            As `draw_samples`.
        """
        mels, lips, phonemes = self.draw_samples(make_batch_rng(self.config.seed, numbers), len(numbers), augment=True)
        return mels.to(device), lips.to(device), phonemes.to(device)

    def draw_samples(self, rng: np.random.Generator, count: int, augment: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Draw stretches of clips; N = count * num_frames.

        Args:
            rng: Draws clips, first frames and augmentations.
            count: Number of stretches of `data.num_frames` frames.
            augment: Whether the audio is augmented.

        Returns:
            Log-mel patches (N n_mels columns), lip points (N 20 2) and phonemes (N,).
        """
        mels, lips, phonemes = [], [], []
        for i in rng.choice(len(self.clips), count, p=self.chances):
            spoken = self.clips[i]
            first = int(rng.integers(len(spoken.lips) - self.config.data.num_frames + 1))
            rows = slice(first, first + self.config.data.num_frames)
            mels.append(self.compute_mels(spoken.clip, first, rng if augment else None))
            lips.append(torch.from_numpy(spoken.lips[rows]))
            phonemes.append(torch.from_numpy(spoken.phonemes[rows]))
        return torch.cat(mels), torch.cat(lips), torch.cat(phonemes)

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
        wave, speed = (clip.voice[:end], 1.0) if rng is None else augment_sound_of_clip(clip, end, rng)
        return encoder.log_mel(torch.from_numpy(wave)[None], first, count, FPS * speed)[0]

    def compute_loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean squared error of the lip points, and the cross entropy of known phonemes.

        Args:
            model: The regressor from mel patches to lip points and phonemes.
            batch: What `make_batch` returns.
            generators: Not used.

        Returns:
            The loss () and its parts by name.
        """
        mels, lips, phonemes = batch
        predicted, logits = model(mels)
        error, known = (predicted.float() - lips).square().mean(), phonemes != UNKNOWN_PHONEME
        parts = {"loss/lips": error.detach()}
        if not known.any():
            return error, parts
        entropy = nn.functional.cross_entropy(logits.float()[known], phonemes[known])
        return error + PHONEME_WEIGHT * entropy, parts | {"loss/phonemes": entropy.detach()}

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a CSV with the height of the lower lip, predicted and true, and print their correlation.

        Args:
            model: The regressor, in evaluation mode.
            path: The file without its suffix.
        """
        mels, lips, _ = self.draw_samples(np.random.default_rng(0), self.config.batch_size, augment=False)
        heights = torch.stack([points[:, LOWER_LIP, 1] for points in (model(mels)[0], lips)])
        print(f"lower lip: correlation {torch.corrcoef(heights)[0, 1]:.3f}")
        np.savetxt(path.with_suffix(".csv"), heights.T.numpy(), header="predicted,true", delimiter=",", comments="")

    def save_model(self, model: LipRegressor, folder: Path) -> None:
        """Write the encoder without the regressor's head.

        Args:
            model: The trained regressor.
            folder: Where the encoder is written.
        """
        model.encoder.save_pretrained(folder)


def augment_sound_of_clip(clip: Clip, end: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Augment the sound of a clip up to sample `end`: with or without its own music, another voice, room and noise.

    Args:
        clip: The clip.
        end: Number of samples that are used.
        rng: The same state gives the same sound.

    Returns:
        The wave (S / speed,) float32, and its speed.
    """
    sound = clip.wave if rng.random() < 0.5 else clip.voice
    wave, speed = augment_voice(sound[:end], rng)
    if rng.random() < MUSIC_RATE:
        music = make_music(len(wave), SAMPLE_RATE, rng)
        gain = wave.std() / max(float(music.std()), 1e-6) * 10 ** (-rng.uniform(*MUSIC_DB) / 20)
        wave = (wave + gain * music).astype(np.float32)
    return wave, speed
