"""Decode each video of an evaluation once and compute all its measures in that pass.

`EvaluationPass` takes a group: a real video and the generated ones that are compared with it frame by frame, or a video
alone. It decodes all of them frame by frame together and passes the frames to observers, which compute for each video:

- its tracks (`emo.metrics.tracks`) and thumbnails for the report,
- SyncNet's score, on crops of the face that is tracked in the same pass,
- the features of each network (FID, FVD, ArcFace, ...),
- its comparison with the portrait that it was made from (`emo.metrics.portrait`),
- PSNR, SSIM and LPIPS between a generated video and the real one.

Every result is a file of its own, named by the content of what it was made of, so that the same evaluation resumes and
another one with one network more computes only that. A video of which nothing is missing is not decoded.

Shapes: T frames at FPS; a batch of frames for the networks is (N 3 H W) uint8.
"""

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import hash_files, load_arrays, save_arrays
from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import (
    SYNCNET_MEDIAN_FRAMES,
    box_of_landmarks,
    crop_for_syncnet,
    crop_region,
    full_region,
    region_of_landmarks,
    smooth_squares,
    syncnet_squares,
)
from emo.media.audio import read_audio
from emo.media.decode import first_audio_seconds
from emo.media.html import THUMBNAIL_PIXELS
from emo.media.video import read_video
from emo.media.video_pass import VideoPass
from emo.metrics.controls import make_asked
from emo.metrics.networks.catalog import FeatureExtractor, load_network
from emo.metrics.portrait import PortraitObserver, read_portrait
from emo.metrics.reconstruction import compute_psnr, compute_ssim
from emo.metrics.stability import interpolate_gaps
from emo.metrics.tracks import (
    CachedLandmarks,
    LandmarkSource,
    SavedObserver,
    TrackBuilder,
    VideoTracks,
    load_tracks,
    make_face_tracker,
    save_tracks,
)
from emo.pipelines.control_files import read_controls
from emo.speech.syncnet import SyncNet, SyncNetScorer, load_syncnet

BATCH_FRAMES = 32  # for the networks: whole clips of FVD's 16 frames
MAX_WAITING_BYTES = 500_000_000  # of frames that wait until the face is visible again
NUM_THUMBNAILS, MAX_CANDIDATES = 6, 64  # of a video: shown in the report, and stored while it is decoded


@dataclass(frozen=True)
class VideoGroup:
    """Videos that are decoded in step: the real one, if any, and those that are compared with it."""

    videos: tuple[Path, ...]
    real: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """All videos of the group, the real one last."""
        return self.videos if self.real is None else (*self.videos, self.real)


@dataclass(frozen=True)
class VideoFiles:
    """The files of the measurements of one video; None: not requested."""

    tracks: Path
    thumbnails: Path
    syncnet: Path | None = None
    features: dict[str, Path] = field(default_factory=dict)  # by the names of emo.metrics.networks.catalog
    reconstruction: Path | None = None
    portrait: Path | None = None
    asked: Path | None = None  # what the video was asked to show, a file of the user's

    def load(self) -> VideoTracks:
        """Return all measurements of the video. Raises InputError for a broken file."""
        tracks = load_tracks(self.tracks)
        if self.syncnet:
            tracks.syncnet = load_arrays(self.syncnet)["syncnet"]
        if "arcface" in self.features:
            tracks.face_embeddings = load_arrays(self.features["arcface"])["features"]
        if self.reconstruction:
            tracks.reconstruction = load_arrays(self.reconstruction)["reconstruction"]
        if self.portrait:
            compared = load_arrays(self.portrait)
            tracks.portrait, tracks.portrait_pose = compared["portrait"], compared["portrait_pose"]
        if self.asked:
            count = len(tracks.face_visible)
            tracks.asked = make_asked(read_controls(self.asked, FPS), count, tracks.portrait_pose)
        return tracks


@dataclass(frozen=True)
class EvaluationPass:
    """A group of videos -> the files of what was measured of each. A picklable function for `map_parallel`.

    Attributes:
        folder: Where the files go.
        syncnet: Weights of SyncNet; None: it is not run.
        networks: Weights of the networks that are run, by the names of `emo.metrics.networks.catalog`.
        weight_names: `hash_files` of each, also of "syncnet".
        portraits: Video -> the picture that it was made from.
        asked: Video -> the file that says what it was asked to show.
    """

    folder: Path
    syncnet: Path | None = None
    networks: dict[str, Path] = field(default_factory=dict)
    weight_names: dict[str, str] = field(default_factory=dict)
    portraits: dict[Path, Path] = field(default_factory=dict)
    asked: dict[Path, Path] = field(default_factory=dict)

    def __call__(self, group: VideoGroup) -> dict[Path, VideoFiles]:
        """Measure what is missing.

        Raises:
            InputError: A video can't be read, weights are not the published ones, or a generated video and the real one
                have different sizes.
        """
        files = {video: self.list_files(video, group.real) for video in group.all}
        pairs = [
            PairObserver(video, group.real, path, self.load_lpips())
            for video in group.videos
            if (path := files[video].reconstruction) is not None and not path.exists()
        ]
        wanted = {video for pair in pairs for video in (pair.video, pair.real)}
        passes = {}
        for video in group.all:
            observers = self.make_observers(video, files[video])
            if observers or video in wanted:
                passes[video] = observers
        decode_in_step(passes, pairs)
        for observers in passes.values():
            for observer in observers:
                observer.save()
        for pair in pairs:
            pair.save()
        return files

    def list_files(self, video: Path, real: Path | None) -> VideoFiles:
        """List where the results of a video are stored; the files need not exist yet.

        Args:
            video: The video.
            real: The real video that it is compared with; None: there is none.

        Returns:
            Paths that contain hashes of the videos and weights.

        Raises:
            InputError: A video can't be read.
        """
        content = hash_files(video)

        def path(*parts: str) -> Path:
            return self.folder / f"{'_'.join([content, *parts])}.safetensors"

        names, picture = self.weight_names, self.portraits.get(video)
        return VideoFiles(
            tracks=path(),
            thumbnails=self.folder / "thumbnails" / f"{content}.safetensors",
            syncnet=path("syncnet", names["syncnet"]) if self.syncnet else None,
            features={name: path(name, names[name]) for name in self.networks if name != "lpips"},
            reconstruction=None
            if real is None or video == real
            else path(hash_files(real), "reconstruction", names.get("lpips", "")),
            portrait=None if picture is None else path(hash_files(picture), "portrait"),
            asked=self.asked.get(video),
        )

    def load_lpips(self) -> FeatureExtractor | None:
        """Load LPIPS if its weights are given. Raises InputError for other weights."""
        return load_network("lpips", self.networks["lpips"]) if "lpips" in self.networks else None

    def make_observers(self, video: Path, files: VideoFiles) -> list["SavedObserver"]:
        """Make the observers of the results that are missing.

        Args:
            video: The video.
            files: Paths of its results.

        Returns:
            The observers, the tracker first; empty where nothing is missing.

        Raises:
            InputError: The sound or weights can't be read.
        """
        features = {name: path for name, path in files.features.items() if not path.exists()}
        needs_syncnet = files.syncnet is not None and not files.syncnet.exists()
        needs_portrait = files.portrait is not None and not files.portrait.exists()
        known = read_cached_tracks(files.tracks)
        has_rest = not features and not needs_syncnet and not needs_portrait
        if known is not None and files.thumbnails.exists() and has_rest:
            return []
        wave = None
        if (known is None or needs_syncnet) and first_audio_seconds(video) is not None:
            wave = read_audio(video, SAMPLE_RATE)
        observers, source = [], known and CachedLandmarks(known.visible_landmarks)
        if known is None:
            source = SavedTracks(wave, files.tracks)
            observers.append(source)
        if not files.thumbnails.exists():
            observers.append(ThumbnailObserver(source, files.thumbnails))
        if features:
            extractors = {name: load_network(name, self.networks[name]) for name in features}
            observers.append(FeatureObserver(source, extractors, features))
        if needs_portrait:
            observers.append(PortraitObserver(source, read_portrait(self.portraits[video]), files.portrait))
        if needs_syncnet:
            observers.append(SyncNetObserver(source, load_syncnet(self.syncnet), wave, video, files.syncnet))
        return observers


def decode_in_step(passes: dict[Path, list["SavedObserver"]], pairs: list["PairObserver"]) -> None:
    """Decode each video once, all frame by frame together, and pass the frames to the observers.

    Args:
        passes: Video -> its observers.
        pairs: Comparisons, which get the frames that both videos have.

    Raises:
        InputError: A video can't be read, or the videos of a pair have different sizes.
    """
    iterators = [VideoPass(video, FPS, find_shots=False).iterate(*passes[video]) for video in passes]
    for row in zip_longest(*iterators):
        frames = {video: item[1] for video, item in zip(passes, row, strict=True) if item is not None}
        for pair in pairs:
            if pair.video in frames and pair.real in frames:
                pair.add_frames(frames[pair.video], frames[pair.real])


class SavedTracks(TrackBuilder, SavedObserver):
    """The tracks of a video."""

    def __init__(self, wave: np.ndarray | None, path: Path):
        super().__init__(wave, make_face_tracker())
        self.path = path

    def save(self) -> None:
        """Write the tracks. Raises OutputError."""
        save_tracks(self.path, self.finish())


class ThumbnailObserver(SavedObserver):
    """Some faces of a video, evenly spaced in time. Its length is unknown before the end, so every frame, then every
    second, fourth, ... is a candidate."""

    def __init__(self, source: LandmarkSource, path: Path):
        self.source, self.path = source, path
        self._candidates: dict[int, np.ndarray] = {}
        self._step, self._region, self._count = 1, None, 0

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Add a frame as a candidate, cropped to the face.

        Args:
            number: Index of the frame.
            frame: (H W 3) uint8.
        """
        points, self._count = self.source.visible_landmarks(number), number + 1
        if np.isfinite(points).all():
            self._region = region_of_landmarks(points)
        if number % self._step:
            return
        region = self._region or full_region(*frame.shape[:2])
        self._candidates[number] = crop_region(frame, region, THUMBNAIL_PIXELS)
        if len(self._candidates) > MAX_CANDIDATES:
            self._step *= 2
            self._candidates = {k: picture for k, picture in self._candidates.items() if k % self._step == 0}

    def save(self) -> None:
        """Write NUM_THUMBNAILS candidates that are evenly spaced in time. Raises OutputError."""
        numbers = np.array([*self._candidates])
        wanted = np.linspace(0, self._count - 1, NUM_THUMBNAILS).round()
        chosen = [int(numbers[np.abs(numbers - k).argmin()]) for k in wanted]
        self.path.parent.mkdir(exist_ok=True)
        arrays = {"numbers": np.array(chosen), "pictures": np.stack([self._candidates[k] for k in chosen])}
        save_arrays(self.path, arrays)


class FeatureObserver(SavedObserver):
    """The features of a video by one or more networks, BATCH_FRAMES frames at a time."""

    def __init__(self, source: LandmarkSource, extractors: dict[str, FeatureExtractor], paths: dict[str, Path]):
        self.source, self.extractors, self.paths = source, extractors, paths
        self._frames: list[np.ndarray] = []
        self._landmarks: list[np.ndarray] = []
        self._features: dict[str, list[np.ndarray]] = {name: [] for name in extractors}

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Add a frame and its landmarks to the batch.

        Args:
            number: Index of the frame.
            frame: (H W 3) uint8.
        """
        self._frames.append(frame)
        self._landmarks.append(self.source.visible_landmarks(number))
        if len(self._frames) == BATCH_FRAMES:
            self._extract()

    def _extract(self) -> None:
        frames, landmarks = stack_frames(self._frames), np.stack(self._landmarks)
        for name, extract in self.extractors.items():
            self._features[name].append(extract(frames, landmarks))
        self._frames, self._landmarks = [], []

    def save(self) -> None:
        """Write the features (N D) of each network. Raises OutputError."""
        if self._frames:
            self._extract()
        for name, path in self.paths.items():
            save_arrays(path, {"features": np.concatenate(self._features[name])})


class SyncNetObserver(SavedObserver):
    """SyncNet's score of a video.

    Its crops follow a median of the face's box over SYNCNET_MEDIAN_FRAMES frames, and in a gap the interpolated box, so
    a frame waits until both are computed. A gap so long that the waiting frames exceed MAX_WAITING_BYTES is the one
    case in which a video is decoded a second time, for this score alone.
    """

    def __init__(self, source: LandmarkSource, net: SyncNet, wave: np.ndarray | None, video: Path, path: Path):
        self.source, self.net, self.wave, self.video, self.path = source, net, wave, video, path
        self._scorer = SyncNetScorer(net)
        self._landmarks: list[np.ndarray] = []  # of all frames, NaN where the face is not visible
        self._boxes: list[tuple[float, ...]] = []  # of the frames with detected or interpolated landmarks
        self._waiting: list[np.ndarray] = []  # the newest frames
        self._cropped = 0  # frames that were given to SyncNet
        self._overflowed = False

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Add a frame and crop the frames whose smoothed square is determined.

        Args:
            number: Index of the frame.
            frame: (H W 3) uint8.
        """
        points = self.source.visible_landmarks(number)
        self._landmarks.append(points)
        if self.wave is None or self._overflowed:
            return
        self._waiting.append(frame)
        if np.isfinite(points).all():
            self._add_boxes(number + 1)
        self._crop(len(self._boxes) - SYNCNET_MEDIAN_FRAMES // 2)
        self._overflowed = len(self._waiting) * frame.nbytes > MAX_WAITING_BYTES
        if self._overflowed:
            self._waiting = []

    def _add_boxes(self, end: int) -> None:
        """Add the boxes of the frames before `end`, those in a gap interpolated."""
        first = max(0, len(self._boxes) - 1)
        points = np.stack(self._landmarks[first:end])
        filled = interpolate_gaps(points, np.isfinite(points).all((1, 2)))
        self._boxes += [box_of_landmarks(row) for row in filled[len(self._boxes) - first :]]

    def _crop(self, end: int) -> None:
        """Pass the crops of the frames before `end` to SyncNet; their smoothed squares are complete."""
        reach = SYNCNET_MEDIAN_FRAMES // 2
        while self._cropped < end:
            first = max(0, self._cropped - reach)
            boxes = np.array(self._boxes[first : self._cropped + reach + 1])
            square = smooth_squares(boxes)[self._cropped - first]
            self._scorer.add(crop_for_syncnet(self._waiting.pop(0), square))
            self._cropped += 1

    def save(self) -> None:
        """Write confidence, distance and offset; NaN without sound or face, or where frames are too few."""
        visible = np.isfinite(np.stack(self._landmarks)).all((1, 2))
        score = np.full(3, np.nan)
        if self.wave is not None and visible.any() and len(visible) >= SYNCNET_MEDIAN_FRAMES:
            if self._overflowed:
                self._decode_again(visible)
            else:
                self._finish_boxes()
            found = self._scorer.finish(self.wave)
            score = np.array([found.confidence, found.distance, found.offset_frames])
        save_arrays(self.path, {"syncnet": score})

    def _finish_boxes(self) -> None:
        """After the last visible frame its box stays."""
        self._boxes += [self._boxes[-1]] * (len(self._landmarks) - len(self._boxes))
        self._crop(len(self._boxes))

    def _decode_again(self, visible: np.ndarray) -> None:
        self._scorer = SyncNetScorer(self.net)
        squares = syncnet_squares(interpolate_gaps(np.stack(self._landmarks), visible))
        for frame, square in zip(read_video(self.video, FPS), squares, strict=True):
            self._scorer.add(crop_for_syncnet(frame, square))


class PairObserver:
    """PSNR, SSIM and LPIPS between a generated video and the real one, over the frames that both have."""

    def __init__(self, video: Path, real: Path, path: Path, lpips: FeatureExtractor | None):
        self.video, self.real, self.path, self.lpips = video, real, path, lpips
        self._frames: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._rows: list[list[np.ndarray]] = []

    def add_frames(self, frame: np.ndarray, real: np.ndarray) -> None:
        """Add the next frame of each video.

        Args:
            frame: (H W 3) uint8 of the generated video.
            real: (H W 3) uint8 of the real one.

        Raises:
            InputError: The frames have different sizes.
        """
        if frame.shape != real.shape:
            mine, other = (f"{shape[1]} x {shape[0]} pixels" for shape in (frame.shape, real.shape))
            raise InputError(
                f"{self.video} has {mine} and {self.real} {other}: make them one size for reconstruction=True"
            )
        self._frames[0].append(frame)
        self._frames[1].append(real)
        if len(self._frames[0]) == BATCH_FRAMES:
            self._compare()

    def _compare(self) -> None:
        a, b = (stack_frames(frames) for frames in self._frames)
        lpips = self.lpips(a, b) if self.lpips else np.full(len(a), np.nan)
        self._rows.append([compute_psnr(a, b), compute_ssim(a, b), lpips])
        self._frames = ([], [])

    def save(self) -> None:
        """Write the means (3,). Raises OutputError."""
        if self._frames[0]:
            self._compare()
        save_arrays(self.path, {"reconstruction": np.concatenate(self._rows, axis=1).mean(1)})


def read_cached_tracks(path: Path) -> VideoTracks | None:
    """Return the tracks in a file; None where there is none, or it was written by another version."""
    if not path.exists():
        return None
    arrays = load_arrays(path)
    return VideoTracks(**arrays) if arrays.keys() == VideoTracks.__dataclass_fields__.keys() else None


def stack_frames(frames: list[np.ndarray]) -> np.ndarray:
    """Stack N frames (H W 3) to (N 3 H W)."""
    return np.stack(frames).transpose(0, 3, 1, 2)


def load_thumbnails(path: Path) -> list[tuple[int, np.ndarray]]:
    """Return indices of frames and pictures (P P 3) uint8. Raises InputError for a broken file."""
    arrays = load_arrays(path)
    return list(zip(arrays["numbers"].tolist(), arrays["pictures"], strict=True))
