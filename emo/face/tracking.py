"""Track faces through the frames of one shot."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from emo.face.crop import Region, region_of_landmarks
from emo.face.detector import FOLLOW, FaceDetector, same
from emo.face.refinement import Look, PartReader

EVERY_FRAMES = 25  # how often new faces are looked for
LOST_FRAMES = 6  # a face unseen for so many frames is gone
UNSEEN = Look(np.full((68, 2), np.nan), np.full(2, np.nan), np.nan)


@dataclass
class Track:
    """One face through frames first .. first + T - 1."""

    first: int
    landmarks: np.ndarray  # (T 68 2) float32 pixels, NaN where the face was not seen
    gaze: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 2))
    )  # (T 2) of emo.face.landmarks; (0 2): not measured
    covered: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (T,) 0..1, how surely the mouth is covered

    def part(self, start: int, end: int) -> "Track":
        """Its frames start .. end - 1."""
        return Track(self.first + start, *(a[start:end] for a in (self.landmarks, self.gaze, self.covered)))

    @property
    def end(self) -> int:
        return self.first + len(self.landmarks)


@dataclass(eq=False)
class Followed:
    """A face that is still being followed."""

    first: int
    region: Region  # where it was seen last
    look: Look | None = None  # in the newest frame
    rows: bytearray = field(default_factory=bytearray)  # (T 139) float32: landmarks, gaze, covered
    unseen: int = 0  # frames since

    def add(self, look: Look | None) -> None:
        """What was seen of it in the next frame."""
        self.look, self.unseen = look, 0 if look else self.unseen + 1
        self.region = region_of_landmarks(look.landmarks) if look else self.region
        told = look or UNSEEN
        self.rows += np.array([*told.landmarks.flat, *told.gaze, told.covered], np.float32).tobytes()

    def ended(self) -> Track:
        """Without what it was not seen in at the end."""
        rows = np.frombuffer(self.rows, np.float32).reshape(-1, 139)
        columns = np.split(rows[: len(rows) - self.unseen], [136, 138], axis=1)
        landmarks, gaze, covered = (column.copy() for column in columns)  # so that the rows are let go
        return Track(self.first, landmarks.reshape(-1, 68, 2), gaze, covered[:, 0])


class Follower:
    """The faces of one shot, as its frames come by."""

    def __init__(self, detector: FaceDetector, parts: PartReader):
        self.detector, self.parts = detector, parts
        self.number, self.following, self.gone = 0, [], []

    def step(self, frame: np.ndarray) -> list[Followed]:
        """The faces that are followed in the next frame (H W 3) uint8, whom it has followed longest first; of those
        that came together, the largest."""
        if self.number % EVERY_FRAMES == 0:
            new = self.detector.detect(frame, [face.region for face in self.following])
            self.following += [Followed(self.number, face.region) for face in new]
        self.number += 1
        landmarks, _, seen = self.detector.settle(frame, [face.region for face in self.following], 1, FOLLOW)
        looks = iter(self.parts.look(frame, landmarks[seen]))
        for face, sure in zip(self.following, seen, strict=True):
            face.add(next(looks) if sure else None)
        gone = [f for i, f in enumerate(self.following) if f.unseen >= LOST_FRAMES or merged(self.following, i)]
        self.gone += [face.ended() for face in gone]
        self.following = [face for face in self.following if face not in gone]
        return self.following

    def tracks(self) -> list[Track]:
        """All faces so far, in the order in which they appeared."""
        tracks = self.gone + [face.ended() for face in self.following]
        return sorted((track for track in tracks if len(track.landmarks)), key=lambda track: track.first)


def follow_faces(frames: Iterable[np.ndarray], detector: FaceDetector, parts: PartReader) -> list[Track]:
    """Frames (H W 3) uint8 of one shot -> the faces in it, in the order in which they appear."""
    follower = Follower(detector, parts)
    for frame in frames:
        follower.step(frame)
    return follower.tracks()


def look_along(first: int, landmarks: np.ndarray, frames: Iterable[np.ndarray], parts: PartReader) -> Track:
    """A face whose landmarks (T 68 2), NaN where it was not seen, are known in frames first .. first + T - 1: what a
    close look shows beside them."""
    pairs = zip(landmarks, frames, strict=False)
    looks = [parts.look(frame, points[None])[0] if np.isfinite(points).all() else UNSEEN for points, frame in pairs]
    gaze, covered = (np.array([getattr(look, name) for look in looks], np.float32) for name in ("gaze", "covered"))
    return Track(first, landmarks[: len(looks)], gaze, covered)


def merged(following: list[Followed], index: int) -> bool:
    """Whether a face has slipped onto one that is followed for longer."""
    return any(same(following[index].region, other.region) for other in following[:index])
