"""What happens to one face in one showing of the film: when its mouth is changed, and by which motion.

T frames of the face. The new motion lies in a file, 25 rows per second, so that a killed run need not generate it
again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.core.files import atomic_file
from emo.core.timing import FPS
from emo.dubbing.composite import cut_square
from emo.dubbing.film import Film, FilmReader, Part
from emo.dubbing.mouth import MouthEngine, portrait_face
from emo.dubbing.plan import PlannedSpeaker
from emo.dubbing.timeline import Take, cut_spans, fade_in_and_out
from emo.dubbing.tracks import FaceTrack, bracket, choose_portrait, measure_opening
from emo.face.crop import Region, normalize_points, smooth_gaussian
from emo.face.landmarks import EYE_POINTS, LIP_POINTS
from emo.face.pose import head_angles, head_rotations
from emo.media.audio import stream_audio

LEAD_SECONDS = 1.0  # of sound before the first changed frame
FREE_OCCLUSION, COVERED_OCCLUSION = 0.5, 0.8  # probabilities between which a change fades
FRONT_YAW_RADIANS, SIDE_YAW_RADIANS = 0.75, 1.0  # angles between which a change fades
MAX_GAIN, MIN_CLOSING = 2.5, 0.01  # of the motion that closes a mouth; openings in heights of the face
VOICE_PAD_SECONDS, VOICE_FADE_SECONDS = 0.04, 0.08  # around a new turn, outside of which the mouth is closed


@dataclass
class FaceJob:
    """A face whose mouth is changed.

    Attributes:
        number: Of the face in the plan.
        track: Its landmarks.
        references: (N,) frames with a closed mouth, counted from the track's first.
        probes: (K,) frames in which it is open, counted likewise.
        seconds: (T,) when its frames are shown in the new film.
        strength: (T,) 0..1, how much of the change is made.
        speaker: Whose new words it says.
        path: File of the new motion.
        regions: T squares of the face.
    """

    number: int
    track: FaceTrack
    references: np.ndarray
    probes: np.ndarray
    seconds: np.ndarray
    strength: np.ndarray
    speaker: PlannedSpeaker
    path: Path
    regions: list[Region]

    @property
    def start_seconds(self) -> float:
        """Time of the motion's first row."""
        return float(self.seconds[self.strength > 0].min())

    @property
    def num_rows(self) -> int:
        """Number of the motion's rows."""
        return int(np.ceil((float(self.seconds[self.strength > 0].max()) - self.start_seconds) * FPS)) + 2

    def centers(self, frame: int) -> np.ndarray:
        """Return the middle of eyes and mouth (2 2) in sides of the square; `frame` counts from the track's first."""
        points = normalize_points(self.track.landmarks[frame], self.regions[frame])
        return np.stack([points[EYE_POINTS].mean(0), points[LIP_POINTS].mean(0)])


class ReferenceStore:
    """The squares of all references, as pictures in a folder; a killed run keeps those that it has.

    Args:
        folder: Where they lie.
        size: Side of a square, pixels.
    """

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size
        self.read = lru_cache(maxsize=8)(self._read)

    def path(self, face: int, frame: int) -> Path:
        """Return the file of a reference.

        Args:
            face: Number of the face.
            frame: Counted from the face's first.

        Returns:
            The PNG's path.
        """
        return self.folder / f"reference-{face}-{frame}.png"

    def collect(self, film: Film, parts: Sequence[Part], jobs: Sequence[FaceJob]) -> None:
        """Cut out all references and probes that are missing.

        Args:
            film: The film.
            parts: Its parts.
            jobs: What is changed.
        """
        wanted: dict[int, dict[Path, Region]] = {}
        for job in jobs:
            for frame in {*job.references.tolist(), *job.probes.tolist()}:
                if not self.path(job.number, frame).is_file():
                    squares = wanted.setdefault(job.track.first_frame + frame, {})
                    squares[self.path(job.number, frame)] = job.regions[frame]
        numbers = np.array(sorted(wanted))
        with FilmReader(film) as reader:
            for part in parts:
                if not np.any((numbers >= part.first_frame) & (numbers < part.end_frame)):
                    continue
                for shown, frame in reader.decode(part):
                    for path, region in wanted.get(shown, {}).items():
                        square = cut_square(frame, film, region, self.size)
                        with atomic_file(path) as partial:
                            partial.write_bytes(cv2.imencode(".png", square[..., ::-1])[1].tobytes())

    def _read(self, face: int, frame: int) -> np.ndarray:
        """Return the square (size size 3) uint8 RGB of a reference."""
        data = np.frombuffer(self.path(face, frame).read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None, f"{self.path(face, frame)} is no picture"
        return np.ascontiguousarray(picture[..., ::-1])


def measure_strength(
    film: Film,
    track: FaceTrack,
    take: Take,
    speaker: PlannedSpeaker,
    end_seconds: float,
    only_seconds: tuple[float, float] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Say when a face is changed: while its speaker speaks in the film or in the new sound, and the mouth is seen.

    Args:
        film: The film.
        track: The face.
        take: Which showing of the film.
        speaker: Whose face it is.
        end_seconds: Length of the new film.
        only_seconds: The only part that is changed; None: all.

    Returns:
        (T,) when the frames are shown, and (T,) the strength of the change, 0..1.
    """
    frames = np.arange(track.first_frame, track.end_frame)
    film_times, times = film.frame_seconds[frames], take.seconds(film, frames)
    inside = cut_spans(film_times, speaker.film_turns) | cut_spans(times, speaker.new_turns)
    if only_seconds is not None:
        inside &= (film_times >= only_seconds[0]) & (film_times < only_seconds[1])
    inside &= times < end_seconds
    strength = fade_in_and_out(film_times, inside)
    yaw = np.abs(head_angles(head_rotations(track.landmarks))[:, 0])
    seen = np.clip((COVERED_OCCLUSION - track.mouth_occlusion) / (COVERED_OCCLUSION - FREE_OCCLUSION), 0, 1)
    seen = seen * np.clip((SIDE_YAW_RADIANS - yaw) / (SIDE_YAW_RADIANS - FRONT_YAW_RADIANS), 0, 1)
    seen = np.minimum(seen, smooth_gaussian(seen[:, None], 2.0)[:, 0])
    strength = strength * seen
    return times, np.where(strength > 0.01, strength, 0.0)


def voice_presence(times: np.ndarray, turns: Sequence[tuple[float, float]]) -> np.ndarray:
    """Compute when the new voice speaks, with short fades around its turns.

    Args:
        times: (T,) seconds of the new sound.
        turns: (start, end) of each turn, seconds.

    Returns:
        (T,) 0..1.
    """
    present = np.zeros(len(times))
    for start, end in turns:
        distance = np.maximum(start - times, times - end) - VOICE_PAD_SECONDS
        present = np.maximum(present, np.clip(1 - distance / VOICE_FADE_SECONDS, 0, 1))
    return present


def stream_voice(job: FaceJob, sound: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield the new voice of a job, from LEAD_SECONDS before its first frame on; silent in others' turns.

    Args:
        job: The job.
        sound: File with the voice, and perhaps others'.
        sample_rate: Hz.

    Yields:
        (S,) float32.
    """
    start = max(0.0, job.start_seconds - LEAD_SECONDS)
    position, total = 0, round((job.num_rows / FPS + job.start_seconds - start) * sample_rate)
    try:
        for chunk in stream_audio(sound, sample_rate, start):
            chunk = chunk[: total - position]
            times = start + (position + np.arange(len(chunk))) / sample_rate
            position += len(chunk)
            yield (chunk * voice_presence(times, job.speaker.new_turns)).astype(np.float32)
            if position >= total:
                return
    except InputError:  # the sound ends before the job begins
        pass
    if position < total:
        yield np.zeros(total - position, np.float32)


def generate_motion(job: FaceJob, engine: MouthEngine, store: ReferenceStore, sound: Path, seed: int) -> None:
    """Write the new motion of a job to its file: rows (C h w) float16, FPS per second.

    Args:
        job: What is changed, with the file.
        engine: Generates motion.
        store: The references, of which the most frontal one is the portrait.
        sound: File with the new voice.
        seed: Seed of the random numbers.

    Raises:
        OutputError: The file can't be written.
    """
    place = choose_portrait(job.track, job.references)
    frame = int(job.references[place])
    landmarks = normalize_points(job.track.landmarks[frame], job.regions[frame])
    face = portrait_face(engine.size, landmarks)
    skipped = round(min(job.start_seconds, LEAD_SECONDS) * FPS)
    chunks = stream_voice(job, sound, engine.sample_rate)
    rows = engine.generate(store.read(job.number, frame), face, chunks, seed + job.number)
    with atomic_file(job.path) as partial, open(partial, "wb") as file:
        shape: tuple[int, ...] = ()
        for index, row in enumerate(rows):
            shape = row.shape
            if index >= skipped:
                file.write(row.astype("<f2").tobytes())
        header = np.array([len(shape), *shape], "<i4").tobytes()
        file.write(header + len(header).to_bytes(4, "little"))


class MotionFile:
    """Rows (C h w) float16 of the file of `generate_motion`, read one by one: a mapped file would count as memory."""

    def __init__(self, path: Path):
        self._path = path
        with open(path, "rb") as file:
            end = file.seek(-4, 2)
            length = int.from_bytes(file.read(4), "little")
            file.seek(end - length)
            self.shape = tuple(np.frombuffer(file.read(length), "<i4")[1:].tolist())
        self._row_bytes = 2 * prod(self.shape)
        self._count = (end - length) // self._row_bytes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        with open(self._path, "rb") as file:
            file.seek(index * self._row_bytes)
            return np.frombuffer(file.read(self._row_bytes), "<f2").reshape(self.shape)


def motion_to_rest(
    job: FaceJob, engine: MouthEngine, store: ReferenceStore, frame: int, square: np.ndarray
) -> np.ndarray:
    """Measure the motion that closes a frame's mouth: to the references before and after it, by their distance.

    Args:
        job: The job.
        engine: Measures motion.
        store: The references.
        frame: Counted from the track's first.
        square: (size size 3) uint8, the frame's own square.

    Returns:
        (C h w) float32, relative to the frame itself.
    """
    before, after, share = bracket(job.references, frame)
    places = [before] if before == after else [before, after]
    closed = np.stack([store.read(job.number, int(job.references[place])) for place in places])
    motion = engine.measure(closed, np.repeat(square[None], len(closed), axis=0))
    return motion[0] if len(motion) == 1 else (1 - share) * motion[0] + share * motion[1]


def measure_gain(job: FaceJob, engine: MouthEngine, store: ReferenceStore) -> float:
    """Measure by how much an engine understates the motion that closes this face's mouth.

    The mouths of the probes are closed, and the landmarks tell how far they still are open.

    Args:
        job: The job.
        engine: The engine.
        store: The squares.

    Returns:
        1 for an exact engine, at most MAX_GAIN.
    """
    rest = float(np.median(job.track.openings[job.references]))
    wanted = reached = 0.0
    for frame in job.probes.tolist():
        square = store.read(job.number, frame)
        closed = engine.apply(square, motion_to_rest(job, engine, store, frame, square), job.centers(frame))
        opened, left = measure_opening(square), measure_opening(closed)
        if opened is not None and left is not None:
            wanted += max(0.0, opened - rest)
            reached += max(0.0, opened - left)
    return float(np.clip(wanted / reached, 1.0, MAX_GAIN)) if reached > MIN_CLOSING else 1.0


class FaceMotion:
    """Computes the motion that each frame of a job gets.

    Args:
        job: The job, whose motion is generated.
        engine: Measures motion.
        store: The references.
    """

    def __init__(self, job: FaceJob, engine: MouthEngine, store: ReferenceStore):
        self.job, self.engine, self.store = job, engine, store
        self.motion = MotionFile(job.path)
        self.gain = measure_gain(job, engine, store)

    def compute_motion(self, frame: int, square: np.ndarray) -> np.ndarray:
        """Return what is added to a frame's own motion.

        Args:
            frame: Counted from the track's first.
            square: (size size 3) uint8, the frame's own square.

        Returns:
            (C h w) float32: strength * (motion to a closed mouth + new motion where the voice speaks).
        """
        closing = self.gain * motion_to_rest(self.job, self.engine, self.store, frame, square)
        time = float(self.job.seconds[frame])
        present = voice_presence(np.array([time]), self.job.speaker.new_turns)[0]
        return (self.job.strength[frame] * (closing + present * self._new_motion(time))).astype(np.float32)

    def _new_motion(self, time: float) -> np.ndarray:
        place = np.clip((time - self.job.start_seconds) * FPS, 0, len(self.motion) - 1)
        low = min(int(place), len(self.motion) - 1)
        high = min(low + 1, len(self.motion) - 1)
        share = float(place) - low
        return (1 - share) * self.motion[low].astype(np.float32) + share * self.motion[high].astype(np.float32)
