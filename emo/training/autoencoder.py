"""The autoencoder's training: pictures and clips in, the same pixels out, edges kept sharp."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from emo.core.config import Config
from emo.data.clip import list_clips, read_clip_frames
from emo.data.sampling import augment, list_pictures
from emo.media.image import read_image
from emo.models.autoencoder import Autoencoder
from emo.training.distributed import Generators
from emo.training.task import Task, chance

FRAMES_PER_CLIP = 4
LATENT_NOISE = 0.05  # of the latents' deviation: what a diffusion model gets wrong must decode well
EDGE_WEIGHT = 1.0


class AutoencoderTask(Task):
    """Samples are random crops of everything the data names, all of it held in memory."""

    splittable = False

    def __init__(self, config: Config):
        self.config = config
        self.images = load_images(config)
        self.model = (
            Autoencoder.from_pretrained(config.start_from) if config.start_from else Autoencoder(**config.model)
        )
        if not config.start_from:
            rng = np.random.default_rng(config.seed)
            self.model.fit_patches(self.draw(rng, 256))

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """(N 3 size size) in [-1, 1], N = count."""
        chosen = rng.integers(len(self.images), size=count)
        crops = np.stack([augment(self.images[i], self.config.data.size, rng) for i in chosen])
        return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1

    def batch(self, numbers: range, device: torch.device) -> Tensor:
        return self.draw(chance(self.config.seed, numbers), len(numbers)).to(device)

    def loss(self, model: nn.Module, batch: Tensor, generators: Generators) -> tuple[Tensor, dict]:
        """Mean absolute error of the pixels and of their differences to the next ones."""
        latents = model.encode(batch).latent_dist.mode()
        latents = latents + LATENT_NOISE / model.config.scaling_factor * generators.randn(*latents.shape[1:])
        error = model.decode(latents).sample - batch
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + EDGE_WEIGHT * edges, {}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A PNG: originals above, reconstructions below; prints their PSNR."""
        images = self.draw(np.random.default_rng(0), 8)
        again = model(images).clamp(-1, 1)
        print(f"PSNR {10 * np.log10(4 / (again - images).square().mean().item()):.2f} dB")
        rows = torch.cat([torch.cat(list(x), dim=-1) for x in (images, again)], dim=-2)
        Image.fromarray(((rows.permute(1, 2, 0) + 1) * 127.5).byte().numpy()).save(path.with_suffix(".png"))

    def save(self, model: nn.Module, folder: Path) -> None:
        model.save_pretrained(folder)


def load_images(config: Config) -> list[np.ndarray]:
    """Every picture, and FRAMES_PER_CLIP frames of every clip, (H W 3) uint8; pictures shrunk to 2 x size."""
    limit, images = 2 * config.data.size, []
    for path in list_pictures(config.data.pictures, config.data.hold_out):
        image = read_image(path)
        scale = min(1.0, limit / min(image.shape[:2]))
        images.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    for path in list_clips(list(config.data.clips), config.data.hold_out):
        frames = list(read_clip_frames(path))
        images += frames[:: max(1, len(frames) // FRAMES_PER_CLIP)]
    return images
