"""Faces followed through the frames of one shot: looked for now and then, looked after in every frame."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from emo.face.detector import FOLLOW, FaceDetector, same
from emo.face.region import Region, region_of_landmarks

EVERY_FRAMES = 12  # how often new faces are looked for
LOST_FRAMES = 6  # a face unseen for so many frames is gone


@dataclass
class Track:
    """One face through frames first .. first + T - 1."""

    first: int
    landmarks: np.ndarray  # (T 68 2) float32 pixels, NaN where the face was not seen

    @property
    def end(self) -> int:
        return self.first + len(self.landmarks)


@dataclass(eq=False)
class Followed:
    """A face that is still being followed."""

    first: int
    region: Region  # where it was seen last
    rows: list[np.ndarray] = field(default_factory=list)
    unseen: int = 0  # frames since

    def add(self, points: np.ndarray, seen: bool) -> None:
        """points (68 2) of the next frame."""
        self.rows.append(points if seen else np.full_like(points, np.nan))
        self.unseen = 0 if seen else self.unseen + 1
        self.region = region_of_landmarks(points) if seen else self.region

    def ended(self) -> Track:
        """Without what it was not seen in at the end."""
        return Track(self.first, np.array(self.rows[: len(self.rows) - self.unseen], np.float32).reshape(-1, 68, 2))


def follow_faces(frames: Iterable[np.ndarray], detector: FaceDetector) -> list[Track]:
    """Frames (H W 3) uint8 of one shot -> the faces in it, in the order in which they appear."""
    following: list[Followed] = []
    tracks: list[Track] = []
    for number, frame in enumerate(frames):
        if number % EVERY_FRAMES == 0:
            known = [face.region for face in following]
            found = [face.region for face in detector.detect(frame)]
            new = [region for region in found if not any(same(region, other) for other in known)]
            following += [Followed(number, region) for region in new]
        landmarks, _, seen = detector.settle(frame, [face.region for face in following], 1, FOLLOW)
        for face, points, sure in zip(following, landmarks, seen, strict=True):
            face.add(points, bool(sure))
        gone = [face for i, face in enumerate(following) if face.unseen >= LOST_FRAMES or merged(following, i)]
        tracks += [face.ended() for face in gone]
        following = [face for face in following if face not in gone]
    tracks += [face.ended() for face in following]
    return sorted((track for track in tracks if len(track.landmarks)), key=lambda track: track.first)


def merged(following: list[Followed], index: int) -> bool:
    """Whether a face has slipped onto one that is followed for longer."""
    return any(same(following[index].region, other.region) for other in following[:index])
