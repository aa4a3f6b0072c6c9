"""A prepared clip: one face, upright and held still in a square crop, with its sound and its landmarks.

On disk a clip is three files of one name: NAME.mp4 (the crop, H.264), NAME.safetensors (the tensors below)
and NAME.json (where it comes from). What follows from the landmarks lies beside them, for those who read clips
without this package. T frames, S samples.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from emo.core.errors import InputError, OutputError
from emo.core.timing import FPS
from emo.face.crop import box_of_landmarks
from emo.face.landmarks import opening
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter

LIPS = slice(48, 68)  # of the 68 points
DERIVED = ("face_boxes", "mouth_opening")  # tensors that are written, and not read


@dataclass
class ClipInfo:
    """Where a clip comes from."""

    name: str
    person: str  # identity group: splits are made by it, never by clip
    source: str
    licence: str
    num_frames: int
    # Of the footage, late is positive; what SyncNet finds is taken out of the clip's wave. None: not measured
    sync_offset_frames: int | None = None
    sync_confidence: float | None = None
    face_pixels: float | None = None  # these are held to emo.preparation.filters.Limits; None: not measured
    turned_degrees: float | None = None
    sharpness: float | None = None
    change: float | None = None
    bars: float | None = None
    letters: float | None = None
    voice_share: float | None = None
    music_share: float | None = None  # of the sound's energy; None: it was not separated
    sync_by: str | None = None  # who measured it: "ear", emo.speech.lip_sync, or "syncnet", emo.speech.syncnet
    covered: float | None = None
    outside: float | None = None
    face_box: list[float] | None = None  # the union of the clip's, as `Clip.face_box`


@dataclass
class Clip:
    info: ClipInfo
    wave: np.ndarray  # (S,) float32 at SAMPLE_RATE, T / FPS seconds
    landmarks: np.ndarray  # (T 68 2) float32, iBUG points in the unit square of the crop
    head_speed: np.ndarray  # (T,) float32, radians per second
    mesh: np.ndarray  # (T 468 2) float32, MediaPipe's points in the unit square of the crop; without labels (T 0 2)
    # (T 4) the crops in the footage's frames: x, y of the centre and side in pixels, angle in radians; a still has none
    squares: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    head_angles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))  # (T 3) yaw, pitch, roll, radians
    eye_opening: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (T,) of emo.face.landmarks: low in a blink
    gaze: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # (T 2) of the eyes in the head: yaw, pitch
    vocals: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # (S,) of `wave`; without music (0,)

    @property
    def voice(self) -> np.ndarray:
        """(S,) what a model hears: the vocals where there is music, else the wave."""
        return self.vocals if len(self.vocals) else self.wave

    @property
    def face_boxes(self) -> np.ndarray:
        """(T 4) x0, y0, x1, y1 in the unit square of the crop."""
        return np.array([box_of_landmarks(points) for points in self.landmarks])

    @property
    def face_box(self) -> tuple[float, float, float, float]:
        """The union of the boxes."""
        boxes = self.face_boxes
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())

    @property
    def mouth_opening(self) -> np.ndarray:
        """(T,) of emo.face.landmarks."""
        return opening(self.landmarks)


def save_clip(folder: Path, clip: Clip, frames: Iterator[np.ndarray]) -> None:
    """Writes the three files; the JSON comes last, so a clip without it is unfinished. Raises OutputError."""
    base = folder / clip.info.name
    with VideoWriter(Path(f"{base}.mp4"), FPS, overwrite=True) as video:
        for frame in frames:
            video.write(frame)
    told = vars(clip) | {name: getattr(clip, name) for name in DERIVED}
    tensors = {k: np.ascontiguousarray(v, np.float32) for k, v in told.items() if k != "info"}
    info = replace(clip.info, face_box=[round(side, 4) for side in clip.face_box])
    try:
        save_file(tensors, f"{base}.safetensors")
        Path(f"{base}.json").write_text(json.dumps(asdict(info), indent=1))
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{base} can't be written ({error}); free some space or choose another folder") from error


def load_info(path: Path) -> ClipInfo:
    """path: the clip's JSON file. Raises InputError when it is none."""
    return parse_info(read_part(path, ".json"), path)


def load_clip(path: Path) -> Clip:
    """path: the clip's JSON file. Raises InputError when a file of the clip is missing or broken."""
    return parse_clip(read_part(path, ".json"), read_part(path, ".safetensors"), path)


def parse_info(text: bytes, name: str | Path) -> ClipInfo:
    """text: of the JSON. Raises InputError, which calls the clip `name`, when it is none."""
    try:
        return ClipInfo(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise broken(name, error) from error


def parse_clip(text: bytes, tensors: bytes, name: str | Path) -> Clip:
    """text, tensors: of the JSON and the safetensors. Raises InputError, which calls the clip `name`."""
    info = parse_info(text, name)
    try:
        return Clip(info, **{name: tensor for name, tensor in load(tensors).items() if name not in DERIVED})
    except (TypeError, SafetensorError) as error:
        raise broken(name, error) from error


def read_part(path: Path, suffix: str) -> bytes:
    try:
        return path.with_suffix(suffix).read_bytes()
    except OSError as error:
        raise broken(path, error) from error


def broken(name: str | Path, error: Exception) -> InputError:
    return InputError(f"{name} is no prepared clip ({error}): prepare it again with emo-prepare")


def read_clip_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames (H W 3) uint8 of the clip whose JSON is `path`."""
    return read_video(path.with_suffix(".mp4"))


def list_clips(folders: list[str], hold_out: str | None = None) -> list[Path]:
    """The JSON paths of all clips whose person does not stand in the file `hold_out`, sorted by name.

    Raises InputError for a folder without clips, or with a broken one.
    """
    paths, people = [], read_hold_out(hold_out)
    for folder in folders:
        found = sorted(Path(folder).glob("*.json"))
        if not found:
            raise InputError(f"{folder} holds no prepared clips: make them with emo-prepare")
        paths += found
    return [p for p in paths if load_info(p).person not in people]


def read_hold_out(path: str | None) -> set[str]:
    """The people never trained on: one name a line. Raises InputError for a missing file."""
    if path is None:
        return set()
    try:
        return set(Path(path).read_text().split())
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): name a text file, one person a line") from error
