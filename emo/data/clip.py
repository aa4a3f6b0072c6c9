"""Prepared clips: one face, upright and stabilized in a square crop, with its sound and its landmarks.

On disk a clip is three files of one name: NAME.mp4 (the crop, H.264), NAME.safetensors (the tensors below) and
NAME.json (where it comes from). What follows from the landmarks is written too, for readers without this package.
Shapes: T frames, S samples.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from emo.core.errors import InputError
from emo.core.files import save_arrays, write_text_atomic
from emo.core.timing import FPS
from emo.face.crop import box_of_landmarks
from emo.face.landmarks import mouth_opening
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter

DERIVED = ("face_boxes", "mouth_opening")  # tensors that are written but not read
OPTIONAL = ("emotion",)  # tensors that are written only where they are known
RENAMED_FIELDS = {  # of ClipInfo: names in the JSON of clips of earlier versions, which stay readable
    "licence": "license",
    "turned_degrees": "rotation_degrees",
    "change": "motion",
    "bars": "bars_ratio",
    "letters": "letter_strokes",
    "voice_share": "speech_ratio",
    "music_share": "music_ratio",
    "sync_by": "sync_scorer",
    "covered": "occluded_ratio",
    "outside": "offscreen_ratio",
}
TRUTH_SUFFIX = ".truth.npz"  # of the ground truth that synthetic clips have, see `emo.data.clip_truth`


@dataclass
class ClipInfo:
    """Where a clip comes from and what was measured of it, as its JSON holds it.

    The measures are those that `emo.preparation.filters.ClipLimits` limits; None: not measured.

    Attributes:
        name: File stem of the clip.
        person: Identity group: data are split by it, never by clip.
        source: File or address of the footage.
        license: Name of the footage's license.
        num_frames: T, the number of frames.
        sync_offset_frames: Delay of the footage's sound, negative where it is early; one of SyncNet
            is corrected in the clip's wave.
        sync_confidence: Confidence of `sync_offset_frames`, on the scale of its scorer.
        face_pixels: Smallest side of the face's square.
        rotation_degrees: Angle between face and camera, 90th percentile of the frames.
        sharpness: Sharpness of the face, 1 / pixels^2.
        motion: Gray levels by which the moving tenth of the face varies.
        bars_ratio: Share of the face's square under black bars.
        letter_strokes: Strokes of letters in a line over the mouth.
        speech_ratio: Share of the time with a voice.
        music_ratio: Share of the sound's energy; None: the sound was not separated.
        sync_scorer: What measured the offset: "lip_sync" (`emo.speech.lip_sync`) or "syncnet" (`emo.speech.syncnet`).
        occluded_ratio: Share of the frames in which something covers the mouth.
        offscreen_ratio: Share of the face's square beyond the frame.
        face_box: As `Clip.face_box`.
    """

    name: str
    person: str
    source: str
    license: str
    num_frames: int
    sync_offset_frames: int | None = None
    sync_confidence: float | None = None
    face_pixels: float | None = None
    rotation_degrees: float | None = None
    sharpness: float | None = None
    motion: float | None = None
    bars_ratio: float | None = None
    letter_strokes: float | None = None
    speech_ratio: float | None = None
    music_ratio: float | None = None
    sync_scorer: str | None = None
    occluded_ratio: float | None = None
    offscreen_ratio: float | None = None
    face_box: list[float] | None = None


@dataclass
class Clip:
    """A clip without its frames. An array with T or S = 0 was not measured.

    Attributes:
        info: Where it comes from.
        wave: (S,) float32 at SAMPLE_RATE, T / FPS seconds.
        landmarks: (T 68 2) float32, iBUG points in the unit square of the crop.
        head_speed: (T,) float32, rad/s.
        mesh: (T 468 2) float32, MediaPipe's points in the unit square of the crop; (T 0 2) without labels.
        squares: (T 4) the crops in the footage's frames: center x and y, side in pixels, angle in radians.
        head_angles: (T 3) yaw, pitch, roll in the footage's frames, radians, see `emo.face.pose.head_angles`.
        eye_opening: (T,) of `emo.face.landmarks.eye_opening`: low in a blink.
        gaze: (T 2) yaw and pitch of the eyes in the head, radians.
        vocals: (S,) float32, the voice in `wave` without music; (0,) where there is no music.
        emotion: (T 7) intensities 0 .. 1 in the order of `emo.models.conditions.EMOTIONS`.
    """

    info: ClipInfo
    wave: np.ndarray
    landmarks: np.ndarray
    head_speed: np.ndarray
    mesh: np.ndarray
    squares: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    head_angles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    eye_opening: np.ndarray = field(default_factory=lambda: np.zeros(0))
    gaze: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    vocals: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    emotion: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))

    @property
    def voice(self) -> np.ndarray:
        """(S,) the sound that models are conditioned on: the vocals where there is music, else the wave."""
        return self.vocals if len(self.vocals) else self.wave

    @property
    def face_boxes(self) -> np.ndarray:
        """(T 4) x0, y0, x1, y1 in the unit square of the crop."""
        return np.array([box_of_landmarks(points) for points in self.landmarks])

    @property
    def face_box(self) -> tuple[float, float, float, float]:
        """The union of the face boxes (x0, y0, x1, y1), in the unit square of the crop."""
        boxes = self.face_boxes
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())

    @property
    def mouth_opening(self) -> np.ndarray:
        """(T,) over the height of the face, see `emo.face.landmarks.mouth_opening`."""
        return mouth_opening(self.landmarks)


def load_clip_info(path: Path) -> ClipInfo:
    """Load the JSON of a clip. Raises InputError when it is none."""
    return parse_clip_info(read_clip_file(path, ".json"), path)


def load_clip(path: Path) -> Clip:
    """Load the clip whose JSON is `path`. Raises InputError when a file of it is missing or broken."""
    return parse_clip(read_clip_file(path, ".json"), read_clip_file(path, ".safetensors"), path)


def parse_clip_info(text: bytes, name: str | Path) -> ClipInfo:
    """Parse the JSON of a clip.

    Args:
        text: Content of the JSON file.
        name: Name of the clip, for messages.

    Returns:
        The clip's origin and measures.

    Raises:
        InputError: The text is not the JSON of a clip.
    """
    try:
        info = ClipInfo(**{str(RENAMED_FIELDS.get(key, key)): value for key, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise broken_clip_error(name, error) from error
    if info.sync_scorer == "ear":  # of an earlier version
        info.sync_scorer = "lip_sync"
    return info


def parse_clip(text: bytes, tensors: bytes, name: str | Path) -> Clip:
    """Parse the JSON and the safetensors file of a clip.

    Args:
        text: Content of the JSON file.
        tensors: Content of the safetensors file.
        name: Name of the clip, for messages.

    Returns:
        The clip without its frames.

    Raises:
        InputError: One of the files is broken.
    """
    info = parse_clip_info(text, name)
    try:
        return Clip(info, **{name: tensor for name, tensor in load(tensors).items() if name not in DERIVED})
    except (TypeError, SafetensorError) as error:
        raise broken_clip_error(name, error) from error


def read_clip_file(path: Path, suffix: str) -> bytes:
    """Read one of the files of a clip.

    Args:
        path: JSON of the clip.
        suffix: Suffix of the file to read, with its dot.

    Returns:
        Content of the file.

    Raises:
        InputError: The file can't be read.
    """
    try:
        return path.with_suffix(suffix).read_bytes()
    except OSError as error:
        raise broken_clip_error(path, error) from error


def broken_clip_error(name: str | Path, error: Exception) -> InputError:
    """Return the error for a clip that can't be read.

    Args:
        name: Name of the clip.
        error: The original error.

    Returns:
        The error, whose message names the fix.
    """
    return InputError(f"{name} is not a prepared clip ({error}): prepare it again with emo-prepare")


def read_clip_frames(path: Path) -> Iterator[np.ndarray]:
    """Read the frames (H W 3) uint8 of the clip whose JSON is `path`."""
    return read_video(path.with_suffix(".mp4"))


def list_clips(folders: list[str], hold_out: str | None = None) -> list[Path]:
    """List the JSON paths of the clips of folders, sorted by name within each.

    Args:
        folders: Folders of clips.
        hold_out: File of people whose clips are left out, see `read_hold_out`.

    Returns:
        Paths of the JSON files.

    Raises:
        InputError: A folder has no clips, or a broken one.
    """
    paths, people = [], read_hold_out(hold_out)
    for folder in folders:
        found = sorted(Path(folder).glob("*.json"))
        if not found:
            raise InputError(f"{folder} holds no prepared clips: make them with emo-prepare")
        paths += found
    return [p for p in paths if load_clip_info(p).person not in people]


def read_hold_out(path: str | None) -> set[str]:
    """Read the people who are never trained on, one a line; None: no one. Raises InputError for a missing file."""
    if path is None:
        return set()
    try:
        return set(Path(path).read_text().split())
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): name a text file, one person a line") from error


def save_clip(folder: Path, clip: Clip, frames: Iterable[np.ndarray]) -> None:
    """Write the three files of a clip; the JSON comes last, so a clip without it is unfinished.

    Args:
        folder: Where the clip goes; a clip of its name is replaced.
        clip: Everything but the frames.
        frames: T frames (H W 3) uint8.

    Raises:
        OutputError: A file can't be written.
    """
    write_frames(folder / f"{clip.info.name}.mp4", frames)
    save_clip_data(folder, clip)


def write_frames(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write the mp4 of a clip.

    Args:
        path: The mp4 file.
        frames: Frames (H W 3) uint8 RGB at FPS.

    Raises:
        OutputError: The file can't be written.
    """
    with VideoWriter(path, FPS, overwrite=True, preset="dataset") as video:
        for frame in frames:
            video.write(frame)


def save_clip_data(folder: Path, clip: Clip) -> None:
    """Write the safetensors file and then the JSON of a clip.

    Args:
        folder: Folder of the clips.
        clip: The clip; its name gives the files' names.

    Raises:
        OutputError: A file can't be written.
    """
    values = vars(clip) | {name: getattr(clip, name) for name in DERIVED}
    written = [name for name in values if name != "info" and (name not in OPTIONAL or len(values[name]))]
    tensors = {name: np.ascontiguousarray(values[name], np.float32) for name in written}
    info = replace(clip.info, face_box=[round(side, 4) for side in clip.face_box])
    save_arrays(folder / f"{clip.info.name}.safetensors", tensors)
    write_text_atomic(folder / f"{clip.info.name}.json", json.dumps(asdict(info), indent=1))
