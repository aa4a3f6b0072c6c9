"""The training of MelEncoder: the audio around a frame -> the lip landmarks of that frame.

The diffusion model attends to the encoder's code; lip-sync scores compare its predicted lips with those of a video.
Where clips know their phonemes, telling them apart is a second task that shapes the features below the code; its head
is not saved. Mean squared errors alone shrink what is hard to predict, so how far the mouth opens also counts by its
concordance correlation coefficient (Lin 1989), which is best at the true amplitude. The mouth is closed in silence:
each clip is preceded by some, and some samples are silence or noise alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config
from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.audio_augmentation import augment_voice, color_noise
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
UPPER_INNER_LIP, LOWER_INNER_LIP = [13, 14, 15], [19, 18, 17]  # of the lip points: those that face each other
LEFT_CORNER, RIGHT_CORNER = 0, 6  # of the lip points
PHONEMES = "".join(VISEMES)  # the first letters of phonemes in IPA that are told apart; then other letters, and a pause
NUM_PHONEMES, UNKNOWN_PHONEME = len(PHONEMES) + 2, -1
PAUSE_PHONEME = NUM_PHONEMES - 1
OPENING_WEIGHT, SPEED_WEIGHT, WIDTH_WEIGHT = 0.7, 0.3, 0.5  # of concordance, beside the mean squared error's 1
CODE_WEIGHT = 0.03  # of the mean square of the code before its tanh: a saturated code does not grade the mouth
PHONEME_WEIGHT = 0.2
LEAD_FRAMES = 15  # of silence before each clip
SILENCE_RATE, DIGITAL_SILENCE_RATE = 0.15, 0.3  # share of samples without a voice, and of these without noise
NOISE_DB = (-90.0, -25.0)  # level of noise without a voice, of full scale
CLOSED_SHARE = 0.125  # share of a clip's frames that show how its mouth looks closed
MUSIC_RATE, MUSIC_DB = 0.15, (0.0, 20.0)  # share of samples with music under the voice, and the voice's level above it


class LipRegressor(nn.Module):
    """The encoder with its linear head for lips, and a head for phonemes, as it is trained."""

    encoder: MelEncoder

    def __init__(self, encoder: MelEncoder):
        super().__init__()
        self.encoder, self.phonemes = encoder, nn.Linear(encoder.code.in_features, NUM_PHONEMES)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict lips and phonemes.

        Args:
            mel: (N n_mels columns) log-mel patches.

        Returns:
            Lip points (N 20 2), logits of the phonemes (N NUM_PHONEMES), and the code before its tanh (N code_dim).
        """
        features = self.encoder.extract_features(mel)
        unbounded = self.encoder.code(features)
        code = unbounded.tanh()
        code = code + CODE_NOISE * torch.randn_like(code) if self.training else code
        return self.encoder.predict_lips(code), self.phonemes(features), unbounded


@dataclass(frozen=True)
class SpokenClip:
    """A clip and what is learned from its sound.

    Attributes:
        clip: The clip; its sound starts with LEAD_FRAMES of silence.
        lips: (LEAD_FRAMES+T 20 2) lip points in the head's own square, relative to the clip's mean and scaled by
            LIP_SCALE.
        phonemes: (LEAD_FRAMES+T,) numbers below NUM_PHONEMES, or UNKNOWN_PHONEME.
        closed: (20 2) lip points of the closed mouth, as `lips`.
    """

    clip: Clip
    lips: np.ndarray
    phonemes: np.ndarray
    closed: np.ndarray


def load_spoken_clip(path: Path) -> SpokenClip:
    """Load the clip whose JSON is `path`, with what is learned from its sound, and put silence before it.

    The head's motion is taken off the lips: a crop may show it. The mouth is closed in the frames in which it is open
    least.

    Raises:
        InputError: A file of the clip is missing or broken.
    """
    clip = load_clip(path)
    lips = normalize_landmarks(clip.landmarks, smooth_regions(clip.landmarks))[:, LIP_POINTS]
    lips = torch.from_numpy((LIP_SCALE * (lips - lips.mean(0))).astype(np.float32))
    least = lip_opening(lips).argsort()[: max(1, round(CLOSED_SHARE * len(lips)))]
    closed = lips[least].mean(0)
    phonemes = number_phonemes(load_clip_truth(path), len(lips))
    pause = PAUSE_PHONEME if (phonemes != UNKNOWN_PHONEME).any() else UNKNOWN_PHONEME
    silence = np.zeros(LEAD_FRAMES * SAMPLE_RATE // round(FPS), np.float32)
    sounds = {name: np.concatenate([silence, getattr(clip, name)]) for name in ("wave", "vocals")}
    sounds["vocals"] = sounds["vocals"] if len(clip.vocals) else clip.vocals
    return SpokenClip(
        clip=replace(clip, **sounds),
        lips=torch.cat([closed.expand(LEAD_FRAMES, -1, -1), lips]).numpy(),
        phonemes=np.concatenate([np.full(LEAD_FRAMES, pause), phonemes]),
        closed=closed.numpy(),
    )


def lip_opening(lips: Tensor) -> Tensor:
    """Height of the gap between the inner lips (...,) of lip points (... 20 2)."""
    return (lips[..., LOWER_INNER_LIP, 1] - lips[..., UPPER_INNER_LIP, 1]).mean(-1)


def lip_width(lips: Tensor) -> Tensor:
    """Distance of the mouth's corners (...,) of lip points (... 20 2)."""
    return lips[..., RIGHT_CORNER, 0] - lips[..., LEFT_CORNER, 0]


def concordance_error(predicted: Tensor, true: Tensor) -> Tensor:
    """One less the concordance correlation coefficient (Lin 1989), (): 0 for equal values, 1 for unrelated ones.

    Args:
        predicted: Values of any shape.
        true: Values of the same shape.
    """
    means = predicted.mean(), true.mean()
    covariance = ((predicted - means[0]) * (true - means[1])).mean()
    spread = predicted.var(correction=0) + true.var(correction=0) + (means[0] - means[1]).square()
    return 1 - 2 * covariance / spread.clamp(min=1e-6)


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
    """A sample is `num_frames` consecutive frames of a clip with augmented audio, or of a closed mouth in silence."""

    model_class = MelEncoder
    model: LipRegressor
    splittable_batch = False

    def __init__(self, config: Config):
        """Load all clips.

        Raises:
            InputError: `data.num_frames` is below 3, or no clip is that long.
        """
        if config.data.num_frames < 3:
            raise InputError(
                f"data.num_frames={config.data.num_frames}: give 3 or more, the lips' speed is learned too"
            )
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
            augment: Whether the audio is augmented, or silent in some stretches.

        Returns:
            Log-mel patches (N n_mels columns), lip points (N 20 2) and phonemes (N,).
        """
        mels, lips, phonemes = [], [], []
        for i in rng.choice(len(self.clips), count, p=self.chances):
            spoken = self.clips[i]
            if augment and rng.random() < SILENCE_RATE:
                mels.append(self.compute_silent_mels(rng))
                lips.append(torch.from_numpy(spoken.closed).expand(len(mels[-1]), -1, -1))
                phonemes.append(torch.full((len(mels[-1]),), int(spoken.phonemes[0])))
                continue
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

    def compute_silent_mels(self, rng: np.random.Generator) -> Tensor:
        """Compute log-mel patches (F n_mels columns) of silence, or of noise, drawn from `rng`."""
        encoder, count = self.model.encoder, self.config.data.num_frames
        seconds = encoder.past_seconds + count / FPS + encoder.future_seconds
        noise = color_noise(rng.standard_normal(int(seconds * SAMPLE_RATE)), rng.uniform(0, 1))
        gain = 0.0 if rng.random() < DIGITAL_SILENCE_RATE else 10 ** (rng.uniform(*NOISE_DB) / 20)
        wave = torch.from_numpy((gain * noise).astype(np.float32))[None]
        return encoder.log_mel(wave, 0, count, FPS, start_seconds=-encoder.past_seconds)[0]

    def compute_loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the errors of the lips, and the cross entropy of known phonemes.

        Args:
            model: The regressor from mel patches to lip points, phonemes and the code before its tanh.
            batch: What `make_batch` returns.
            generators: Not used.

        Returns:
            The loss () and its parts by name.
        """
        mels, lips, phonemes = batch
        predicted, logits, unbounded = model(mels)
        error = lip_error(predicted.float(), lips, self.config.data.num_frames)
        error = error + CODE_WEIGHT * unbounded.float().square().mean()
        known = phonemes != UNKNOWN_PHONEME
        parts = {"loss/lips": error.detach()}
        if not known.any():
            return error, parts
        entropy = nn.functional.cross_entropy(logits.float()[known], phonemes[known])
        return error + PHONEME_WEIGHT * entropy, parts | {"loss/phonemes": entropy.detach()}

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a CSV with the opening of the lips, predicted and true, and print their correlation and amplitude.

        Args:
            model: The regressor, in evaluation mode.
            path: The file without its suffix.
        """
        mels, lips, _ = self.draw_samples(np.random.default_rng(0), self.config.batch_size, augment=False)
        openings = torch.stack([lip_opening(points.float()) for points in (model(mels)[0], lips)])
        amplitude = openings[0].std() / openings[1].std()
        print(f"lip opening: correlation {torch.corrcoef(openings)[0, 1]:.3f}, amplitude {amplitude:.2f}")
        np.savetxt(path.with_suffix(".csv"), openings.T.numpy(), header="predicted,true", delimiter=",", comments="")

    def save_model(self, model: LipRegressor, folder: Path) -> None:
        """Write the encoder without the regressor's head.

        Args:
            model: The trained regressor.
            folder: Where the encoder is written.
        """
        model.encoder.save_pretrained(folder)


def lip_error(predicted: Tensor, true: Tensor, num_frames: int) -> Tensor:
    """Weigh the errors of lip points: mean squared error, and concordance of opening, its speed, and width.

    Args:
        predicted: (N 20 2) lip points of stretches of `num_frames` frames.
        true: (N 20 2).
        num_frames: Frames of a stretch.

    Returns:
        The error, ().
    """
    openings = [lip_opening(points).unflatten(0, (-1, num_frames)) for points in (predicted, true)]
    speeds = [x[:, 2:] - x[:, :-2] for x in openings]
    return (
        (predicted - true).square().mean()
        + OPENING_WEIGHT * concordance_error(*openings)
        + SPEED_WEIGHT * concordance_error(*speeds)
        + WIDTH_WEIGHT * concordance_error(lip_width(predicted), lip_width(true))
    )


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
