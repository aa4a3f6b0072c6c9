"""Change what a mouth says: take off the motion that it has in the film, put on the motion that the new sound asks for.

Each frame is its own portrait. In the space of motion latents (`emo.models.motion_autoencoder`) motion is a vector:
the motion from a frame to those around it with a closed mouth takes its own words off, the new motion is
generated from the most frontal of them, and their sum moves the frame's own pixels. Head, eyes, hair, light and
background have no part in it, as the sum is limited to the lower face.

Squares are (N s s 3) uint8 RGB, aligned by `emo.face.crop.region_of_landmarks`; motion is (N C h w) float32.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.face.crop import full_region
from emo.face.pose import head_angles, head_rotations
from emo.face.selection import SelectedFace
from emo.media.image import images_to_tensor, tensor_to_images
from emo.models.motion_autoencoder import MotionAutoencoder

if TYPE_CHECKING:
    from emo.models.conditions import Value
    from emo.pipelines.emo import EMOPipeline

# The lower face in the aligned square: it begins between nose and upper lip and ends before the square's sides
TOP, TOP_FADE = 0.50, 0.12  # sides: where the mask begins, and how fast it rises
SIDE, SIDE_FADE = 0.10, 0.14  # sides from the left and right border


@runtime_checkable
class MouthEngine(Protocol):
    """Measures, generates and applies the motion of a mouth."""

    size: int
    sample_rate: int

    def generate(
        self, portrait: np.ndarray, face: SelectedFace, chunks: Iterator[np.ndarray], seed: int
    ) -> Iterator[np.ndarray]:
        """Generate the motion for a sound.

        Args:
            portrait: (size size 3) uint8, a square of the person with a closed mouth.
            face: Where the face lies in it.
            chunks: Consecutive waves (S,) float32 mono at `sample_rate`.
            seed: The same seed gives the same motion.

        Yields:
            (C h w) for each frame at 25 per second.
        """
        ...

    def measure(self, squares: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Measure how squares differ from references of the same person.

        Args:
            squares: (N size size 3) uint8.
            references: (N size size 3) uint8.

        Returns:
            (N C h w) float32 motion from each reference to its square.
        """
        ...

    def apply(self, square: np.ndarray, motion: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Move the lower face of a frame.

        Args:
            square: (R R 3) uint8, any R.
            motion: (C h w), relative to the square itself.
            centers: (2 2) middle of the eyes and of the mouth, in sides.

        Returns:
            (R R 3) uint8; the square itself for a motion of zero.
        """
        ...


class MotionLatentEngine:
    """The engine of a pipeline whose autoencoder has motion latents.

    Args:
        pipeline: An `EMOPipeline`.
        guidance_scale: Guidance by the sound; None: the pipeline's.

    Raises:
        InputError: The pipeline's autoencoder has no motion latents.
    """

    def __init__(self, pipeline: "EMOPipeline", guidance_scale: float | None = None):
        codec = pipeline.vae
        if not isinstance(codec, MotionAutoencoder):
            problem = f"the model's autoencoder is {type(codec).__name__}, dubbing needs a MotionAutoencoder"
            raise InputError(f"{problem}: give a model with motion latents by model=")
        self.pipeline, self.codec, self.guidance_scale = pipeline, codec, guidance_scale
        self.size, self.sample_rate = int(codec.config.size), pipeline.audio_encoder.sample_rate
        self._mask = lower_face_mask(*codec.latent_shape(self.size)[1:])

    def generate(
        self, portrait: np.ndarray, face: SelectedFace, chunks: Iterator[np.ndarray], seed: int
    ) -> Iterator[np.ndarray]:
        """Generate the motion for a sound; see `MouthEngine.generate`."""
        frames = self.pipeline.stream(
            portrait,
            chunks,
            fps=FPS,
            guidance_scale=self.guidance_scale,
            controls=self._hold_head(face),
            face=face,
            crop_only=True,
            size=self.size,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
        )
        for latents in frames:
            yield latents.float().cpu().numpy()

    def _hold_head(self, face: SelectedFace) -> "dict[str, Value]":
        """The control, if the model has one, that keeps the head as the portrait has it: the film moves it."""
        known = {spec.name for spec in self.pipeline.model.conditions if spec.components}
        if "head_pose" in known and face.landmarks is not None:
            yaw, pitch, _ = head_angles(head_rotations(face.landmarks[None]))[0]
            return {"head_pose": [yaw, pitch, 0.0]}  # the square is upright
        return {"head_speed": 0.0} if "head_speed" in known else {}

    @torch.no_grad()
    def measure(self, squares: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Measure motion; see `MouthEngine.measure`."""
        frames, portraits = (self._to_tensor(images) for images in (squares, references))
        return self.codec.encode(frames, portraits).float().cpu().numpy()

    @torch.no_grad()
    def apply(self, square: np.ndarray, motion: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Move the lower face of a frame; see `MouthEngine.apply`."""
        portrait = self._to_tensor(square[None])
        latents = torch.from_numpy(motion * self._mask).to(portrait)[None]
        return tensor_to_images(self.codec.decode(latents, portrait, torch.from_numpy(centers).to(latents)[None]))[0]

    def _to_tensor(self, images: np.ndarray) -> torch.Tensor:
        return images_to_tensor(images, self.codec.device, self.codec.dtype)


def lower_face_mask(height: int, width: int) -> np.ndarray:
    """Draw the share of each cell of the aligned square that belongs to the lower face.

    Args:
        height: Cells.
        width: Cells.

    Returns:
        (height width) float32 in 0..1.
    """
    y, x = ((np.arange(n) + 0.5) / n for n in (height, width))
    down = _smoothstep((y - TOP) / TOP_FADE)
    across = _smoothstep((np.minimum(x, 1 - x) - SIDE) / SIDE_FADE)
    return (down[:, None] * across[None]).astype(np.float32)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def portrait_face(size: int, landmarks: np.ndarray) -> SelectedFace:
    """Describe the face of an aligned square.

    Args:
        size: Side of the square, pixels.
        landmarks: (68 2) in sides.

    Returns:
        The face, whose region is the whole square.
    """
    points = landmarks * size
    x0, y0, x1, y1 = (*points.min(0).tolist(), *points.max(0).tolist())
    return SelectedFace(full_region(size, size), (x0, min(y0, 0.11 * size), x1, y1), landmarks=points)
