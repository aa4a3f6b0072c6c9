"""Make the clips of one video while it is decoded.

`ClipMaker` observes the `VideoPass` of a video: it tracks the faces of each shot, keeps the pixels around them, and at
the end of the shot checks the tracks and writes the clips that pass. Memory does not grow with the length of the video.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.timing import FPS
from emo.data.clip import Clip, ClipInfo, save_clip_data, write_frames
from emo.face.crop import Region, crop_region, region_of_landmarks
from emo.face.detector import FaceDetector
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.face.refinement import FaceDetails, LandmarkRefiner
from emo.face.tracking import MISSING, FaceTracker, Track
from emo.media.video import VideoInfo
from emo.media.video_pass import Shot, VideoObserver
from emo.preparation.clips import MAX_GAP_FRAMES, PreparationJob, prepare_track, read_mesh, resample_mesh, split_track
from emo.preparation.face_patches import REACH, SYNCNET_REACH, FacePatches
from emo.preparation.filters import check_video
from emo.preparation.processing_log import LogItem
from emo.preparation.sound import VideoAudio

THUMBNAIL_PIXELS = 96


@dataclass
class Outcome:
    """Result of a track: a clip whose mp4 is written, or the reason for its rejection and its first face."""

    item: LogItem
    clip: Clip | None = None
    thumbnail: np.ndarray | None = None  # (THUMBNAIL_PIXELS THUMBNAIL_PIXELS 3) uint8


class LabeledTracker:
    """The face of a shot whose landmarks are known from labels."""

    def __init__(self, first_frame: int, landmarks: np.ndarray, refiner: LandmarkRefiner):
        """Start at a frame.

        Args:
            first_frame: The shot's first frame.
            landmarks: (T 68 2) pixels of that frame and all that follow in the video, NaN where there is no face.
            refiner: Measures gaze and what covers the mouth.
        """
        self.first_frame, self.landmarks, self.refiner = first_frame, landmarks, refiner
        self.details: list[FaceDetails] = []
        self.region: Region | None = None

    def step(self, frame: np.ndarray) -> dict[Hashable, Region]:
        """Measure the next frame (H W 3) uint8; returns where the face is; empty long before it is first found."""
        if len(self.details) < len(self.landmarks):
            ahead = self.landmarks[len(self.details) :][: MAX_GAP_FRAMES + 1]
            seen = np.asarray(np.isfinite(ahead).all((1, 2)))
            self.details.append(self.refiner.refine(frame, ahead[:1])[0] if seen[0] else MISSING)
            if seen[0] or self.region is None and seen.any():
                self.region = region_of_landmarks(ahead[seen.argmax()])
        return {} if self.region is None else {"face": self.region}

    def list_tracks(self) -> list[Track]:
        """Return the track so far; none where the labels end before the shot begins."""
        if not self.details:
            return []
        gaze, occlusion = (
            np.array([getattr(details, name) for details in self.details], np.float32)
            for name in ("gaze", "mouth_occlusion")
        )
        return [Track(self.first_frame, self.landmarks[: len(self.details)], gaze, occlusion)]


class ShotTracker:
    """All faces of a shot, found by the packaged detector."""

    def __init__(self, first_frame: int, detector: FaceDetector, refiner: LandmarkRefiner):
        self.first_frame, self.tracker = first_frame, FaceTracker(detector, refiner)

    def step(self, frame: np.ndarray) -> dict[Hashable, Region]:
        """Track the next frame (H W 3) uint8; returns where each face is."""
        before = list(self.tracker.active)
        return {face: face.region for face in [*before, *self.tracker.step(frame)]}

    def list_tracks(self) -> list[Track]:
        """Return all faces so far, in the order in which they appeared."""
        return [replace(track, first_frame=self.first_frame + track.first_frame) for track in self.tracker.tracks()]


class ClipMaker(VideoObserver):
    """Writes the clips of one video: NAME where it has one track, else NAME__0, NAME__1, ...

    The first outcome is written once a second one follows or the video ends, as its name depends on that.
    """

    def __init__(self, path: Path, info: ClipInfo, job: PreparationJob):
        """Prepare for one video.

        Args:
            path: The video, for its labels and its sound.
            info: Where it comes from.
            job: Settings.
        """
        self.path, self.info, self.job = path, info, job
        self.items: list[LogItem] = []  # the result of each track
        self.detector, self.refiner = FaceDetector(), LandmarkRefiner()
        self.audio = VideoAudio(path, job.separate, job.limits.min_music_ratio)
        self.mesh: np.ndarray | None = None
        self.tracker: ShotTracker | LabeledTracker | None = None  # of the current shot, as the patches
        self.patches: FacePatches | None = None
        self.waiting: Outcome | None = None

    def start_video(self, info: VideoInfo) -> None:
        """Check the file and read its labels. Raises InputError."""
        check_video(self.info.name, info, self.job.limits)
        if self.job.labels is not None:
            mesh = read_mesh(self.job.labels / f"{self.path.stem}.safetensors")
            self.mesh = resample_mesh(mesh, info.fps)

    def start_shot(self, first_frame: int) -> None:
        """Begin to track."""
        if self.mesh is None:
            self.tracker = ShotTracker(first_frame, self.detector, self.refiner)
        else:
            landmarks = self.mesh[first_frame:, MEDIAPIPE_TO_IBUG, :2]
            self.tracker = LabeledTracker(first_frame, landmarks, self.refiner)
        self.patches = FacePatches(REACH if self.job.syncnet is None else SYNCNET_REACH)

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Track the faces and store the pixels around them.

        Args:
            number: Number of the frame in the video.
            frame: (H W 3) uint8 RGB.
        """
        assert self.patches is not None and self.tracker is not None  # start_shot made them
        self.patches.add(number, frame, self.tracker.step(frame))

    def end_shot(self, shot: Shot) -> None:
        """Make a clip of each track that is fit. Raises OutputError."""
        assert self.patches is not None and self.tracker is not None
        self.patches.finish()
        for face in self.tracker.list_tracks():
            for track in split_track(face, self.job.limits.max_seconds):
                self._add(self._make(track, shot))
        self.patches.close()

    def end_video(self, num_frames: int) -> None:
        """Settle the name of a single track. Raises InputError where there is none."""
        if self.waiting is not None:
            self._settle(self.waiting, self.info.name)
            self.waiting = None
        if not self.items:
            raise InputError(f"{self.info.name}: no face was found")

    def close(self) -> None:
        """Free what an interrupted pass holds."""
        if self.patches is not None:
            self.patches.close()
        if self.waiting is not None and self.waiting.clip is not None:
            (self.job.out / f"{self.waiting.item.name}.mp4").unlink(missing_ok=True)

    def _add(self, outcome: Outcome) -> None:
        """Settle an outcome's name; the first one waits."""
        if self.waiting is None and not self.items:
            self.waiting = outcome
            return
        if self.waiting is not None:
            self._settle(self.waiting, f"{self.info.name}__0")
            self.waiting = None
        self._settle(outcome, outcome.item.name)

    def _make(self, track: Track, shot: Shot) -> Outcome:
        """Check a track and write its frames."""
        name = f"{self.info.name}__{len(self.items) + (self.waiting is not None)}"
        item = LogItem(name, len(track.landmarks) / FPS)
        info = replace(self.info, name=name)
        try:
            check_damage(name, track, shot)
            clip, frames = prepare_track(track, self.mesh, self.patches, self.audio, info, self.job)
            write_frames(self.job.out / f"{name}.mp4", frames)
        except OutputError:
            raise
        except InputError as error:
            item.reason = str(error).removeprefix(f"{name}: ").replace(str(self.path), "the file")
            return Outcome(item, thumbnail=self._cut_thumbnail(track))
        return Outcome(item, clip)

    def _cut_thumbnail(self, track: Track) -> np.ndarray | None:
        """The face of the track's first frame, where it was seen."""
        if not np.isfinite(track.landmarks[0]).all():
            return None
        assert self.patches is not None
        region = region_of_landmarks(track.landmarks[0])
        frame = self.patches.get_square(track.first_frame, region.matrix(1))
        return crop_region(frame, region, THUMBNAIL_PIXELS)

    def _settle(self, outcome: Outcome, name: str) -> None:
        """Give an outcome its final name and write what is left of it. Raises OutputError."""
        made, outcome.item.name = outcome.item.name, name
        if outcome.clip is not None:
            (self.job.out / f"{made}.mp4").replace(self.job.out / f"{name}.mp4")
            outcome.clip.info.name = name
            save_clip_data(self.job.out, outcome.clip)
        elif outcome.thumbnail is not None:
            folder = self.job.out / "dropped"
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"{name}.jpg"), outcome.thumbnail[..., ::-1])
        self.items.append(outcome.item)


def check_damage(name: str, track: Track, shot: Shot) -> None:
    """Check that no frame of a track lies in a damaged part of the video.

    Args:
        name: Name of the clip, for the message.
        track: The track of a face.
        shot: The shot, with the damaged spans of the video.

    Raises:
        InputError: A frame of the track is damaged.
    """
    if any(start * FPS < track.end and track.first_frame < end * FPS for start, end in shot.damaged_spans):
        raise InputError(f"{name}: the picture is damaged")
