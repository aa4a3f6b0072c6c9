"""Faces followed through the frames of one shot: looked for now and then, looked after in every frame."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from emo.face.detector import FOLLOW, FaceDetector, same
from emo.face.parts import Look, PartReader
from emo.face.region import Region, region_of_landmarks

EVERY_FRAMES = 12  # how often new faces are looked for
LOST_FRAMES = 6  # a face unseen for so many frames is gone
UNSEEN = Look(np.full((68, 2), np.nan), np.full(2, np.nan), np.nan)


@dataclass
class Track:
    """One face through frames first .. first + T - 1."""

    first: int
    landmarks: np.ndarray  # (T 68 2) float32 pixels, NaN where the face was not seen
    gaze: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # (T 2) of emo.face.eyes; (0 2): not measured
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
    looks: list[Look] = field(default_factory=list)
    unseen: int = 0  # frames since

    def add(self, look: Look | None) -> None:
        """What was seen of it in the next frame."""
        self.looks.append(look or UNSEEN)
        self.unseen = 0 if look else self.unseen + 1
        self.region = region_of_landmarks(look.landmarks) if look else self.region

    def ended(self) -> Track:
        """Without what it was not seen in at the end."""
        looks = self.looks[: len(self.looks) - self.unseen]
        points, gaze, covered = ([getattr(look, name) for look in looks] for name in ("landmarks", "gaze", "covered"))
        return Track(self.first, *(np.array(column, np.float32) for column in (points, gaze, covered)))


def follow_faces(frames: Iterable[np.ndarray], detector: FaceDetector, parts: PartReader) -> list[Track]:
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
        looks = iter(parts.look(frame, landmarks[seen]))
        for face, sure in zip(following, seen, strict=True):
            face.add(next(looks) if sure else None)
        gone = [face for i, face in enumerate(following) if face.unseen >= LOST_FRAMES or merged(following, i)]
        tracks += [face.ended() for face in gone]
        following = [face for face in following if face not in gone]
    tracks += [face.ended() for face in following]
    return sorted((track for track in tracks if len(track.landmarks)), key=lambda track: track.first)


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
