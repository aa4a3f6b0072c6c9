"""The training of MotionAutoencoder: two frames of a person in, the second one back from the first one's pixels.

Where footage has its motion written down the motion field is supervised directly, elsewhere by reconstruction alone.
Losses: L1 with more weight on what the portrait does not show, differences of neighboring pixels at three scales, the
painted share against the known one, and, late in the run and with a small weight, a PatchGAN on the mouth window (Isola
et al. 2017, arXiv 1611.07004; hinge loss: Lim and Ye 2017, arXiv 1705.02894; spectral normalization: Miyato et al.
2018, arXiv 1802.05957) with its feature matching as the perceptual part (Wang et al. 2018, arXiv 1711.11585). No
downloaded network takes part.

Shapes: N pairs, S pixels and M cells along a side.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from emo.core.config import Config
from emo.core.errors import InputError
from emo.data.motion_pairs import MotionBatch, cache_clip_frames, compute_pair_motion, draw_pairs
from emo.data.sampling import choose_clips, list_held_out_clips
from emo.hub.resolve import find_component
from emo.media.image import tensor_to_images
from emo.models.motion_autoencoder import BORDER_FADE, DecodedMotion, MotionAutoencoder
from emo.models.warping import border_fade, follow, sample, window_positions
from emo.training.distributed import SampleGenerators
from emo.training.samples import get_cache_folder
from emo.training.task import Task

PIXEL_WEIGHT, EDGE_WEIGHT, FLOW_WEIGHT, SHARE_WEIGHT = 4.0, 1.5, 60.0, 0.4
UNSOURCED_WEIGHT = 6.0  # of a pixel that the portrait does not show, beside 1
LATENT_WEIGHT = 1e-3  # of the latents' mean square
LATENT_NOISE = 0.05  # in deviations of the latents: errors of the diffusion model must decode well
ADVERSARIAL_START, ADVERSARIAL_RAMP = 0.3, 0.1  # shares of the run
ADVERSARIAL_WEIGHT, MATCHING_WEIGHT, TINT_WEIGHT = 0.05, 0.7, 0.5
CRITIC_WEIGHT = 0.05  # Adam does not see it, but the limit of the gradients' norm does, which both losses share
NUM_COMPONENTS = 64  # of the latents, fitted at the end of the run
SAMPLES_PER_CLIP, MAX_SAMPLES = 16, 4096  # pairs that they are fitted to
NUM_EXAMPLES = 8


class PatchDiscriminator(nn.Module):
    """Distinguishes true from decoded windows, patch by patch, given the warped portrait there."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)):
        super().__init__()
        fine, middle, coarse = widths
        shapes = [(6, fine, 4, 2), (fine, middle, 4, 2), (middle, coarse, 4, 2), (coarse, 1, 3, 1)]
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(i, o, k, stride=s, padding=1)) for i, o, k, s in shapes)

    def forward(self, windows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score windows.

        Args:
            windows: (N 6 h w), the frame and the warped portrait.

        Returns:
            Scores (N 1 h/8 w/8), high for true ones, and the features of the other layers.
        """
        x, features = windows, []
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.layers[-1](x), features


class AdversarialMotionAutoencoder(nn.Module):
    """What is trained: the autoencoder, which is saved, and the discriminator, which is not."""

    def __init__(self, autoencoder: MotionAutoencoder):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, PatchDiscriminator()


def is_trainable(module: nn.Module) -> bool:
    """Whether a run trains weights of a module."""
    return any(weight.requires_grad for weight in module.parameters())


def compute_edge_error(error: Tensor) -> Tensor:
    """Compute the mean absolute difference () of neighboring pixels of an error (N 3 h w), summed over three scales."""
    total = error.new_zeros(())
    for scale in (1, 2, 4):
        small = functional.avg_pool2d(error, scale) if scale > 1 else error
        total = total + small.diff(dim=-1).abs().mean() + small.diff(dim=-2).abs().mean()
    return total


def find_not_shown(batch: MotionBatch, unsourced: Tensor) -> Tensor:
    """Find what a frame shows and its portrait does not.

    Args:
        batch: Pairs of frames.
        unsourced: (N 1 M M), of `compute_pair_motion`.

    Returns:
        (N 1 S S) share of each pixel: between the lips, and where it is known elsewhere too.
    """
    size = batch.frames.shape[-1]
    known = functional.interpolate(unsourced * batch.known, (size, size), mode="bilinear", align_corners=False)
    return torch.maximum(known, batch.inner_lips).clamp(0, 1)


def compute_reconstruction_loss(batch: MotionBatch, decoded: DecodedMotion) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute all of the loss but its adversarial part.

    Near the square's border, where the decoded motion fades to zero, pixels count less and so much of the true motion
    is the target.

    Args:
        batch: Pairs of frames.
        decoded: The decoded frames.

    Returns:
        The loss () and its parts by name.
    """
    size, cells = batch.frames.shape[-1], batch.frame_flow.shape[-1]
    flow, unsourced = compute_pair_motion(batch)
    fade = border_fade(cells, BORDER_FADE, flow.device)
    inner = border_fade(size, BORDER_FADE, flow.device) * batch.weight
    not_shown = find_not_shown(batch, unsourced)
    error = (decoded.frames - batch.frames) * inner
    weight = 1 + UNSOURCED_WEIGHT * not_shown
    pixels = (error.abs() * weight).mean()
    predicted = decoded.flow
    if predicted.shape[-1] != cells:
        predicted = functional.interpolate(predicted, (cells, cells), mode="bilinear", align_corners=False)
    moved = ((predicted - flow * fade).abs() * (1 - unsourced) * batch.known).mean()
    painted = decoded.painted.clamp(1e-4, 1 - 1e-4)
    entropy = -(not_shown * painted.log() + (1 - not_shown) * (1 - painted).log())
    share = (entropy * (0.1 + not_shown) * inner).mean()
    total = PIXEL_WEIGHT * pixels + EDGE_WEIGHT * compute_edge_error(error) + FLOW_WEIGHT * moved + SHARE_WEIGHT * share
    warped = ((decoded.warped - batch.frames).abs() * inner * weight).mean()
    parts = {"loss/pixels": pixels, "loss/warped_pixels": warped, "loss/flow": moved, "loss/share": share}
    return total, {name: part.detach() for name, part in parts.items()}


def compute_adversarial_losses(
    discriminator: PatchDiscriminator, batch: MotionBatch, decoded: DecodedMotion, model: MotionAutoencoder
) -> tuple[Tensor, Tensor]:
    """Compute the losses of the autoencoder and of the discriminator on the mouth window, both for one optimizer step.

    The first is computed with the discriminator's weights held constant, the second with the decoded frames held
    constant, so neither gradient reaches the other's weights. Beside what the portrait does not show both see the true
    frame: skin there is warped, and painted texture on it would be a pattern of the discriminator's patches.

    Args:
        discriminator: Its weights are not changed here.
        batch: Pairs of frames.
        decoded: The decoded frames of the batch.
        model: The autoencoder, for its windows.

    Returns:
        The loss () of the autoencoder, and that () of the discriminator.
    """
    window = model.windows[-1]
    places = window_positions(follow(batch.centers[:, 1], decoded.flow.detach()), window.extent, window.pixels)
    _, unsourced = compute_pair_motion(batch)
    mask = functional.avg_pool2d(functional.max_pool2d(find_not_shown(batch, unsourced), 7, 1, 3), 7, 1, 3)
    frames = batch.frames + (decoded.frames - batch.frames) * mask
    true, made, warped = (sample(x, places) for x in (batch.frames, frames, decoded.warped.detach()))
    tint = (made - true).mean((2, 3)).abs().mean()  # adversarial training reddens lips: their mean color is held
    true_pair, made_pair = torch.cat([true, warped], dim=1), torch.cat([made, warped], dim=1)
    true_score, true_features = discriminator(true_pair)
    made_score, _ = discriminator(made_pair.detach())
    critic = functional.relu(1 - true_score).mean() + functional.relu(1 + made_score).mean()
    constant = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    score, features = functional_call(discriminator, constant, (made_pair,))
    distances = [(a - b.detach()).abs().mean() for a, b in zip(features, true_features, strict=True)]
    matching = torch.stack(distances).sum()
    return -ADVERSARIAL_WEIGHT * score.mean() + MATCHING_WEIGHT * matching + TINT_WEIGHT * tint, critic


class MotionAutoencoderTask(Task):
    """Samples are pairs of frames of one person: any frame may be the portrait, also one with an open mouth."""

    model_class = MotionAutoencoder
    splittable_batch = False  # the losses call parts of the model, which a launcher's wrapper does not see

    def __init__(self, config: Config):
        """Decode frames of every clip that is not in the cache.

        Args:
            config: Settings of the run.

        Raises:
            InputError: There are no clips, one is broken, or the model has another size than the data.
        """
        self.config = config
        source = config.start_from and find_component("start_from", config.start_from, "vae")
        autoencoder = MotionAutoencoder.from_pretrained(source) if source else MotionAutoencoder(**config.model)
        size = autoencoder.config.size
        if size != config.data.size:
            raise InputError(f"data.size={config.data.size}: the model's size is {size}, give that")
        self.model = AdversarialMotionAutoencoder(autoencoder)
        data, cache = config.data, get_cache_folder(config)
        paths, self.chances = choose_clips(data.clips, data.hold_out, 1)
        self.clips = [cache_clip_frames(path, cache, size) for path in paths]
        held_out = list_held_out_clips([*data.clips], data.hold_out, 1)
        self.held_out = [cache_clip_frames(path, cache, size) for path in held_out]

    def make_batch(self, numbers: range, device: torch.device) -> MotionBatch:
        """Draw the pairs of a step.

        Args:
            numbers: Numbers of the run's samples.
            device: Device of the result.

        Returns:
            The pairs.
        """
        batch = draw_pairs(self.clips, self.chances, self.config.seed, numbers)
        batch.progress = numbers.start / (self.config.batch_size * self.config.steps)
        return batch.to(device)

    def make_validation_batches(self, count: int, device: torch.device) -> list[MotionBatch]:
        """Draw pairs of people who are held out.

        Args:
            count: Number of pairs.
            device: Device of the result.

        Returns:
            Batches of one pair each; [] if nobody is held out.
        """
        return (
            [self.draw_held_out(range(number, number + 1)).to(device) for number in range(count)]
            if self.held_out
            else []
        )

    def draw_held_out(self, numbers: range) -> MotionBatch:
        """Draw pairs of people who are held out; of all people if nobody is."""
        clips = self.held_out or self.clips
        return draw_pairs(clips, np.full(len(clips), 1 / len(clips)), 0, numbers)

    def compute_loss(
        self, model: nn.Module, batch: MotionBatch, generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss: reconstruction, motion and painted share; late in training also the adversarial part.

        Args:
            model: AdversarialMotionAutoencoder; it is in training mode, or in evaluation mode for the validation loss.
            batch: Pairs of frames.
            generators: Sources of noise.

        Returns:
            The loss () and its parts by name.
        """
        trained = cast(AdversarialMotionAutoencoder, model)
        autoencoder = trained.autoencoder
        latents = autoencoder.encode(batch.frames, batch.portraits).float()
        if not is_trainable(autoencoder.encoder):  # painters need not learn from its errors where motion is known
            latents = torch.where(batch.known > 0, autoencoder.fit_latents(compute_pair_motion(batch)[0]), latents)
        loss = LATENT_WEIGHT * latents.square().mean()
        if model.training:
            latents = latents + LATENT_NOISE * latents.detach().std() * generators.randn(*latents.shape[1:])
        decoded = autoencoder.decode_parts(latents, batch.portraits, batch.centers)
        reconstruction, parts = compute_reconstruction_loss(batch, decoded)
        loss = loss + reconstruction
        share = min(1.0, (batch.progress - ADVERSARIAL_START) / ADVERSARIAL_RAMP)
        if model.training and share > 0:
            adversarial, critic = compute_adversarial_losses(trained.discriminator, batch, decoded, autoencoder)
            loss, parts = loss + share * adversarial + CRITIC_WEIGHT * critic, parts | {"loss/critic": critic.detach()}
        return loss, parts

    @torch.no_grad()
    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a PNG of columns portrait, warped, decoded, true frame and painted share, and print the errors.

        Args:
            model: AdversarialMotionAutoencoder.
            path: Name of the file; its suffix becomes .png.
        """
        batch = self.draw_held_out(range(NUM_EXAMPLES)).to(next(model.parameters()).device)
        autoencoder = cast(AdversarialMotionAutoencoder, model).autoencoder
        latents = autoencoder.encode(batch.frames, batch.portraits)
        decoded = autoencoder.decode_parts(latents, batch.portraits, batch.centers)
        _, parts = compute_reconstruction_loss(batch, decoded)
        pixels, warped = parts["loss/pixels"].item(), parts["loss/warped_pixels"].item()
        print(f"weighted L1 {pixels:.4f}, of the warped portrait {warped:.4f}")
        painted = decoded.painted.expand(-1, 3, -1, -1) * 2 - 1
        columns = (batch.portraits, decoded.warped, decoded.frames, batch.frames, painted)
        pictures = [np.concatenate(list(tensor_to_images(images)), axis=0) for images in columns]
        Image.fromarray(np.concatenate(pictures, axis=1)).save(path.with_suffix(".png"))

    @torch.no_grad()
    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the autoencoder; a run that trains the encoder fits the components of its latents first.

        Args:
            model: AdversarialMotionAutoencoder.
            folder: Folder of the autoencoder.
        """
        autoencoder = cast(AdversarialMotionAutoencoder, model).autoencoder
        if is_trainable(self.model.autoencoder.encoder):
            self.fit_components(autoencoder)
        autoencoder.save_pretrained(folder)

    def fit_components(self, autoencoder: MotionAutoencoder) -> None:
        """Fit the components of the autoencoder's latents to pairs of the run's clips."""
        device, count = next(autoencoder.parameters()).device, min(MAX_SAMPLES, SAMPLES_PER_CLIP * len(self.clips))
        estimated, flows, autoencoder.components = [], [], None
        for number in range(count):
            batch = draw_pairs(self.clips, self.chances, self.config.seed, range(number, number + 1)).to(device)
            if batch.known.any():
                flows.append(compute_pair_motion(batch)[0])
            else:
                estimated.append(autoencoder.encode(batch.frames, batch.portraits))
        known = [autoencoder.fit_latents(torch.cat(flows))] if flows else []
        autoencoder.fit_components(torch.cat(known + estimated), NUM_COMPONENTS)
