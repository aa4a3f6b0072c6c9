"""The training of Autoencoder: reconstruct crops of images and clips, with sharp edges."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emo.core.config import Config
from emo.data.clip import list_clips, read_clip_frames
from emo.data.image_augmentation import augment_crop
from emo.data.sampling import list_pictures
from emo.media.image import images_to_tensor, read_image, tensor_to_images
from emo.models.autoencoder import Autoencoder
from emo.training.distributed import SampleGenerators
from emo.training.task import Task, make_batch_rng

FRAMES_PER_CLIP = 4
PATCH_SAMPLES = 256  # crops that the patch layers are fitted to before training
LATENT_NOISE = 0.05  # in deviations of the latents: errors of the diffusion model must decode well
EDGE_WEIGHT = 1.0


class AutoencoderTask(Task):
    """Samples are random crops of all images and clips, which are all in memory."""

    model_class = Autoencoder
    model: Autoencoder
    splittable_batch = False

    def __init__(self, config: Config):
        """Load all images, and fit the patch layers of a new model to them."""
        self.config = config
        self.images = load_images(config)
        self.model = (
            Autoencoder.from_pretrained(config.start_from) if config.start_from else Autoencoder(**config.model)
        )
        if not config.start_from:
            self.model.fit_patches(self.draw_crops(np.random.default_rng(config.seed), PATCH_SAMPLES))

    def draw_crops(self, rng: np.random.Generator, count: int) -> Tensor:
        """Draw augmented crops (count 3 size size) in [-1, 1].

        Args:
            rng: Draws images and augmentations.
            count: Number of crops.

        Returns:
            (count 3 size size) in [-1, 1].
        """
        chosen = rng.integers(len(self.images), size=count)
        return images_to_tensor(np.stack([augment_crop(self.images[i], self.config.data.size, rng) for i in chosen]))

    def make_batch(self, numbers: range, device: torch.device) -> Tensor:
        """Make a batch of augmented crops.

        Args:
            numbers: Sample numbers of the run; the first one seeds the draw.
            device: Where the tensor goes.

        Returns:
            (N 3 size size) in [-1, 1].
        """
        return self.draw_crops(make_batch_rng(self.config.seed, numbers), len(numbers)).to(device)

    def compute_loss(
        self, model: Autoencoder, batch: Tensor, generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean absolute error of the pixels and of the differences between neighboring pixels.

        Args:
            model: The autoencoder.
            batch: Crops (N 3 size size) in [-1, 1].
            generators: Draw the noise that is added to the latents.

        Returns:
            The loss () and no values to log.
        """
        latents = model.encode(batch).latent_dist.mode()
        latents = latents + LATENT_NOISE / model.config.scaling_factor * generators.randn(*latents.shape[1:])
        error = model.decode(latents).sample - batch
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + EDGE_WEIGHT * edges, {}

    def save_samples(self, model: Autoencoder, path: Path) -> None:
        """Write a PNG, originals above and reconstructions below, and print their PSNR.

        Args:
            model: The autoencoder, in evaluation mode.
            path: The file without its suffix.
        """
        crops = self.draw_crops(np.random.default_rng(0), 8)
        decoded = model(crops).clamp(-1, 1)
        print(f"PSNR {10 * np.log10(4 / (decoded - crops).square().mean().item()):.2f} dB")
        rows = [np.concatenate(list(tensor_to_images(images)), axis=1) for images in (crops, decoded)]
        Image.fromarray(np.concatenate(rows)).save(path.with_suffix(".png"))

    def save_model(self, model: Autoencoder, folder: Path) -> None:
        """Write the autoencoder.

        Args:
            model: The trained autoencoder.
            folder: Where it is written.
        """
        model.save_pretrained(folder)


def load_images(config: Config) -> list[np.ndarray]:
    """Load all images, shrunk to twice the crop size, and FRAMES_PER_CLIP frames of every clip: (H W 3) uint8."""
    limit, images = 2 * config.data.size, []
    for path in list_pictures(config.data.images, config.data.hold_out):
        image = read_image(path)
        scale = min(1.0, limit / min(image.shape[:2]))
        images.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    for path in list_clips(list(config.data.clips), config.data.hold_out):
        frames = list(read_clip_frames(path))
        images += frames[:: max(1, len(frames) // FRAMES_PER_CLIP)]
    return images
