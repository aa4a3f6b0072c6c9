"""Landmarks of a photograph, from the package's own face networks."""

from functools import cache

import numpy as np

from emo.face.detector import FaceDetector
from emo.face.refinement import LandmarkRefiner, load_landmark_refiner
from emo.synthetic.heads.fitting import FitRejected, PhotoLandmarks


@cache
def load_face_networks() -> tuple[FaceDetector, LandmarkRefiner]:
    """Load the package's face detector and landmark refiner once a process."""
    return FaceDetector(), load_landmark_refiner()


def find_landmarks(image: np.ndarray) -> PhotoLandmarks:
    """Find landmarks and irises of the largest face.

    Args:
        image: (H W 3) uint8.

    Raises:
        FitRejected: There is no face.
    """
    detector, refiner = load_face_networks()
    faces = detector.detect(image)
    if not faces:
        raise FitRejected("no_face", "no face was found")
    landmarks = faces[0].landmarks[None].astype(np.float64)
    face = refiner.refine(image, landmarks)[0]
    return PhotoLandmarks(np.float64(face.landmarks), np.float64(face.irises))
