"""A drawn head that moves, as a video with its labels; the pixels around it as preparation keeps them."""

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from emo.face.crop import region_of_landmarks, transform_points
from emo.media.video_writer import VideoWriter
from emo.preparation.face_patches import FacePatches


def place(index: int, scale: float = 1.0) -> np.ndarray:
    """(2 3) the drawn face of 192 pixels -> its place in frame `index` of a picture 320 high and 400 wide."""
    t = index / 25
    turn, size = 0.2 * np.sin(2 * t), scale * (1 + 0.08 * np.sin(3 * t))
    matrix = cv2.getRotationMatrix2D((96, 96), np.degrees(-turn), size)
    return matrix + np.array([[0, 0, 104 + 40 * np.sin(2.5 * t)], [0, 0, 64 + 20 * np.cos(2 * t)]])


@pytest.fixture
def footage(draw, mesh_of, openings, sound_path, tmp_path):
    """footage(scale, openings, fps) -> paths of a video of the moving head and of its mesh."""

    def make(scale=1.0, openings=openings, fps=25):
        video, labels, meshes = tmp_path / "head.mp4", tmp_path / "head.safetensors", []
        with VideoWriter(video, fps, sound_path, overwrite=True) as writer:
            for index, opening in enumerate(openings):
                matrix = place(index * 25 / fps, scale)
                face = cv2.warpAffine(draw(opening), matrix, (400, 320), borderValue=(120, 140, 160))
                writer.write(face)
                points = transform_points(matrix, mesh_of(opening) * 192)
                meshes.append(np.column_stack([points, np.zeros(len(points))]))
        save_file({"landmarks": np.float32(meshes)}, labels)
        return video, labels

    return make


@pytest.fixture(scope="session")
def place_of():
    """place_of(index, scale) -> (2 3), see `place`."""
    return place


@pytest.fixture(scope="session")
def keep_patches():
    """keep_patches(frames, tracks) -> FacePatches of these frames and the tracks in them."""

    def keep(frames, tracks, **options):
        patches = FacePatches(**options)
        for number, frame in enumerate(frames):
            regions = {}
            for key, track in enumerate(tracks):
                row = number - track.first_frame
                if 0 <= row < len(track.landmarks) and np.isfinite(track.landmarks[row]).all():
                    regions[key] = region_of_landmarks(track.landmarks[row])
            patches.add(number, frame, regions)
        patches.finish()
        return patches

    return keep
