"""Track faces through the frames of one shot."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from emo.face.crop import Region, region_of_landmarks
from emo.face.detector import TRACKING_THRESHOLDS, FaceDetector, regions_match
from emo.face.landmarks import NUM_LANDMARKS
from emo.face.refinement import FaceDetails, LandmarkRefiner

DETECT_EVERY_FRAMES = 25  # how often new faces are searched for
LOST_FRAMES = 6  # a track ends after so many frames without its face
MISSING = FaceDetails(np.full((NUM_LANDMARKS, 2), np.nan), np.full(2, np.nan), np.nan)
ROW_SIZE = 2 * NUM_LANDMARKS + 3  # numbers of a frame: landmarks, gaze, occlusion


@dataclass
class Track:
    """One face through the frames first_frame .. first_frame + T - 1; NaN where it was not visible."""

    first_frame: int
    landmarks: np.ndarray  # (T 68 2) float32 pixels
    gaze: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # (T 2) radians; (0 2): not measured
    mouth_occlusion: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (T,) 0..1; (0,): not measured

    def slice_frames(self, start: int, end: int) -> "Track":
        """Return a part of the track.

        Args:
            start: First frame, counted from the track's first.
            end: Frame after the last one, counted likewise.

        Returns:
            The track of these frames.
        """
        values = (array[start:end] for array in (self.landmarks, self.gaze, self.mouth_occlusion))
        return Track(self.first_frame + start, *values)

    @property
    def end(self) -> int:
        """The frame after its last one."""
        return self.first_frame + len(self.landmarks)


@dataclass(eq=False)
class ActiveTrack:
    """A track that may still grow."""

    first_frame: int
    region: Region  # where the face was visible last
    details: FaceDetails | None = None  # of the newest frame; None: not visible in it
    rows: bytearray = field(default_factory=bytearray)  # (T ROW_SIZE) float32
    missing_frames: int = 0  # since it was visible

    def add(self, details: FaceDetails | None) -> None:
        """Append the next frame; None: the face is not visible in it."""
        self.details, self.missing_frames = details, 0 if details else self.missing_frames + 1
        self.region = region_of_landmarks(details.landmarks) if details else self.region
        values = details or MISSING
        row = [*values.landmarks.flat, *values.gaze, values.mouth_occlusion]
        self.rows += np.array(row, np.float32).tobytes()

    def finish(self) -> Track:
        """Return the track without the frames at its end in which the face was not visible."""
        rows = np.frombuffer(self.rows, np.float32).reshape(-1, ROW_SIZE)
        rows = rows[: len(rows) - self.missing_frames]
        columns = np.split(rows, [2 * NUM_LANDMARKS, 2 * NUM_LANDMARKS + 2], axis=1)
        landmarks, gaze, occlusion = (column.copy() for column in columns)  # copies, so that the rows are freed
        return Track(self.first_frame, landmarks.reshape(-1, NUM_LANDMARKS, 2), gaze, occlusion[:, 0])


class FaceTracker:
    """Tracks the faces of one shot, frame by frame.

    Args:
        detector: Finds new faces every DETECT_EVERY_FRAMES and verifies tracked ones in each frame.
        refiner: Gives landmarks, gaze and occlusion of visible faces.
    """

    def __init__(self, detector: FaceDetector, refiner: LandmarkRefiner):
        self.detector, self.refiner = detector, refiner
        self.number = 0  # of the next frame
        self.active: list[ActiveTrack] = []
        self.finished: list[Track] = []

    def step(self, frame: np.ndarray) -> list[ActiveTrack]:
        """Process the next frame (H W 3) uint8.

        Returns:
            The tracks that go on: the longest first; of those that began together, the largest face.
        """
        if self.number % DETECT_EVERY_FRAMES == 0:
            new = self.detector.detect(frame, [track.region for track in self.active])
            self.active += [ActiveTrack(self.number, face.region) for face in new]
        self.number += 1
        regions = [track.region for track in self.active]
        landmarks, _, accepted, *_ = self.detector.locate_landmarks(frame, regions, 1, TRACKING_THRESHOLDS)
        details = iter(self.refiner.refine(frame, landmarks[accepted]))
        for track, visible in zip(self.active, accepted, strict=True):
            track.add(next(details) if visible else None)
        ended = [
            track
            for index, track in enumerate(self.active)
            if track.missing_frames >= LOST_FRAMES or is_duplicate(self.active, index)
        ]
        self.finished += [track.finish() for track in ended]
        self.active = [track for track in self.active if track not in ended]
        return self.active

    def tracks(self) -> list[Track]:
        """Return all tracks so far, in the order of their first frames."""
        tracks = self.finished + [track.finish() for track in self.active]
        return sorted((track for track in tracks if len(track.landmarks)), key=lambda track: track.first_frame)


def track_faces(frames: Iterable[np.ndarray], detector: FaceDetector, refiner: LandmarkRefiner) -> list[Track]:
    """Track the faces of a shot.

    Args:
        frames: The shot's frames (H W 3) uint8 RGB.
        detector: Finds the faces.
        refiner: Refines their landmarks.

    Returns:
        The tracks in the order of their first frames.
    """
    tracker = FaceTracker(detector, refiner)
    for frame in frames:
        tracker.step(frame)
    return tracker.tracks()


def is_duplicate(tracks: list[ActiveTrack], index: int) -> bool:
    """Check whether a track has moved onto the face of an earlier one.

    Args:
        tracks: Active tracks.
        index: Place of the track to check.

    Returns:
        True where an earlier track matches it.
    """
    return any(regions_match(tracks[index].region, other.region) for other in tracks[:index])
