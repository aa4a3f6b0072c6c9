"""Synthetic videos: drawn talking heads whose mouth, gaze, pose and emotion are exactly known.

For each video, OUT/NAME.mp4 is written, OUT/NAME.safetensors with the ground truth, and a row of OUT/manifest.csv, as
`emo-prepare videos` reads it. The ground truth of T frames:

    landmarks         (T 468 3) pixels, as emo.preparation.labels writes them
    mouth_opening     (T,) as emo.face.landmarks measures it, in the same face looking straight ahead
    irises            (T 2 2) pixels
    head_rotation (T 3), gaze (T 2), blink (T,), emotion (T,), emotion_strength (T,): see Motion
"""

import csv
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from emo.core.errors import InputError, OutputError
from emo.core.storage import read_manifest
from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.landmarks import MEDIAPIPE_TO_IBUG, mouth_opening
from emo.media.audio import read_audio, write_wav
from emo.media.video_writer import VideoWriter
from emo.synthetic.drawn_head import TRAITS, Camera, DrawnHead, Pose
from emo.synthetic.espeak import synthesize_speech
from emo.synthetic.sample_portrait import SAMPLE_APPEARANCE, Appearance
from emo.synthetic.visemes import MouthMotion, mouth_from_audio, mouth_from_phonemes

MAX_SECONDS = 60.0  # of a video
MIN_SIZE = 64  # pixels
# linear RGB, from light to dark
SKIN_COLORS = [(0.75, 0.49, 0.37), (0.66, 0.375, 0.255), (0.47, 0.24, 0.14), (0.26, 0.12, 0.065), (0.13, 0.058, 0.033)]
LIP_COLORS = [(0.53, 0.19, 0.18), (0.47, 0.145, 0.13), (0.33, 0.10, 0.085), (0.19, 0.062, 0.055), (0.12, 0.042, 0.04)]
HAIR_COLORS = [(0.30, 0.18, 0.075), (0.19, 0.075, 0.03), (0.085, 0.045, 0.027), (0.04, 0.024, 0.017)]
HAIR_COLORS += [(0.018, 0.014, 0.012), (0.26, 0.25, 0.24)]
IRIS_COLORS = [(0.085, 0.058, 0.024), (0.11, 0.15, 0.19), (0.10, 0.125, 0.06), (0.05, 0.03, 0.014)]
# name -> expression (weights of drawn_head.EXPRESSIONS) and eye closure at full strength
EMOTIONS = {
    "neutral": ((0.0, 0.0, 0.0), 0.0),
    "happy": ((1.0, 0.15, 0.0), 0.10),
    "sad": ((-0.85, 0.0, 1.0), 0.18),
    "angry": ((-0.5, -0.5, -1.0), 0.08),
    "surprised": ((-0.1, 1.1, 0.2), -0.22),
}
BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)  # eye closure, frame by frame at 25 frames per second
MAX_SWING_RADIANS = np.array([0.30, 0.14, 0.10])  # of yaw, pitch and roll
EMOTION_RAMP_FRAMES = 10  # in which an emotion rises and falls


@dataclass(frozen=True)
class VideoSpec:
    """A video to draw: of a sentence or of an audio file."""

    name: str
    seed: int
    text: str | None = None
    audio: Path | None = None

    @property
    def manifest_row(self) -> dict[str, str]:
        """Its row of manifest.csv."""
        if self.text:
            origin = "drawn and spoken by programs", self.text
        else:
            origin = f"that of {self.audio}", str(self.audio)
        return dict(
            zip(("file", "speaker", "license", "source"), (f"{self.name}.mp4", self.name, *origin), strict=True)
        )


@dataclass(frozen=True)
class Motion:
    """What the head does in each of T frames."""

    head_rotation: np.ndarray  # (T 3) radians, yaw, pitch, roll: to the picture's right, down, clockwise
    gaze: np.ndarray  # (T 2) radians, of the eyes relative to the head: to the picture's right, down
    blink: np.ndarray  # (T,) eye closure by blinks, 0 .. 1
    emotion: np.ndarray  # (T,) index in EMOTIONS
    emotion_strength: np.ndarray  # (T,) 0 .. 1
    mouth: MouthMotion

    def __len__(self) -> int:
        return len(self.blink)

    def get_pose(self, frame: int) -> Pose:
        """Return the pose of a frame."""
        expression, eye_closure = list(EMOTIONS.values())[self.emotion[frame]]
        strength, blink = float(self.emotion_strength[frame]), float(self.blink[frame])
        return Pose(
            rotation=tuple(self.head_rotation[frame].tolist()),
            gaze=tuple(self.gaze[frame].tolist()),
            eye_closure=blink + strength * eye_closure * (1 - blink),
            mouth_opening=float(self.mouth.opening[frame]),
            mouth_width=float(self.mouth.width[frame]),
            expression=tuple(strength * weight for weight in expression),
        )


def read_sentences(path: Path) -> list[str]:
    """Read a text file with a sentence on each line.

    Raises:
        InputError: It can't be read or has none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error}): give a text file, a sentence a line") from error
    if not any(lines):
        raise InputError(f"{path} is empty: give a sentence a line")
    return [line for line in lines if line]


def list_video_specs(texts: list[str], audio_files: list[Path], count: int | None, seed: int) -> list[VideoSpec]:
    """List the videos to draw.

    Args:
        texts: Sentences.
        audio_files: Files, used after the sentences.
        count: How many videos, repeating sentences and files; None: one of each.
        seed: Video k is drawn from seed + k, and named after that and what is spoken.

    Returns:
        The videos' specifications.
    """
    inputs = [{"text": text} for text in texts] + [{"audio": path} for path in audio_files]
    total, specs = len(inputs) if count is None else count, []
    for k in range(total):
        spoken = inputs[k % len(inputs)]
        checksum = zlib.crc32(str(*spoken.values()).encode())
        specs.append(VideoSpec(f"synth_{checksum:08x}_{seed + k:05}", seed + k, **spoken))
    return specs


def draw_videos(out: Path, specs: list[VideoSpec], size: int = 512, seconds: float | None = None) -> int:
    """Draw the videos that do not exist yet.

    Args:
        out: The folder.
        specs: The videos.
        size: Width and height in pixels.
        seconds: The longest a video may be; None: MAX_SECONDS.

    Returns:
        The number of all videos.

    Raises:
        InputError: A setting, a text or an audio file can't be used.
        OutputError: A file can't be written.
    """
    if size < MIN_SIZE:
        raise InputError(f"size={size}: a head needs {MIN_SIZE} pixels or more")
    if seconds is not None and seconds <= 0:
        raise InputError(f"seconds={seconds:g}: give more than 0")
    out.mkdir(parents=True, exist_ok=True)
    listed = read_manifest(out)
    for spec in specs:
        if not (out / spec.manifest_row["file"]).exists():
            draw_video(out, spec, size, seconds)
        if spec.manifest_row["file"] not in listed:
            append_manifest_row(out / "manifest.csv", spec.manifest_row)
    return len(specs)


def draw_video(out: Path, spec: VideoSpec, size: int, seconds: float | None) -> None:
    """Write the ground truth of a video, then the video: if that exists, both are complete.

    Args:
        out: Folder of the videos.
        spec: What is drawn.
        size: Side of the picture, pixels.
        seconds: Longest duration; None: no limit.

    Raises:
        InputError: The text or the audio file can't be used.
        OutputError: A file can't be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "sound.wav"
        motion, head = make_performance(spec, seconds, audio), make_head(spec.seed, size)
        with VideoWriter(out / f"{spec.name}.mp4", FPS, audio, overwrite=True, preset="dataset") as video:
            for k in range(len(motion)):
                video.write(head.draw(motion.get_pose(k)))
            truth = out / f"{spec.name}.safetensors"
            try:
                save_file(compute_ground_truth(head, motion), truth)
            except (OSError, SafetensorError) as error:
                raise OutputError(f"{truth} can't be written ({error}); free some space") from error


def make_performance(spec: VideoSpec, seconds: float | None, audio_path: Path) -> Motion:
    """Generate what the head does in a video, and write what it says.

    Args:
        spec: The video.
        seconds: The longest it may be; None: MAX_SECONDS.
        audio_path: The WAV file to write.

    Returns:
        The motion of the head.

    Raises:
        InputError: The text can't be spoken or the audio not be read, or it is too short.
    """
    random = np.random.default_rng([spec.seed, 1])
    longest = MAX_SECONDS if seconds is None else seconds
    if spec.text is not None:
        speech = synthesize_speech(spec.text, random)
        wave, rate = speech.wave[: round(longest * speech.sample_rate)], speech.sample_rate
    else:
        wave, rate = read_audio(spec.audio, SAMPLE_RATE, 0.0, longest), SAMPLE_RATE
    count = int(len(wave) / rate * FPS)
    if count < 2:
        raise InputError(f"{spec.audio or spec.text}: less than 0.1 s of speech")
    wave = wave[: round(count / FPS * rate)]
    write_wav(audio_path, wave, rate)
    if spec.text is not None:
        mouth = mouth_from_phonemes(speech.phonemes, count, FPS)
    else:
        mouth = mouth_from_audio(wave, rate, count, FPS)
    return generate_motion(mouth, FPS, random)


def generate_motion(mouth: MouthMotion, fps: float, random: np.random.Generator) -> Motion:
    """Generate head, eyes and emotions for the frames of a mouth motion.

    Args:
        mouth: Motion of the mouth.
        fps: Frames per second.
        random: Draws the motion.

    Returns:
        The motion.
    """
    seconds = (np.arange(len(mouth.opening)) + 0.5) / fps
    emotion, strength = generate_emotions(seconds, random)
    rotation, gaze = generate_head_rotation(seconds, random), generate_gaze(seconds, random)
    return Motion(rotation, gaze, generate_blinks(seconds, random), emotion, strength, mouth)


def generate_head_rotation(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate head rotation: sums of slow and fast sines.

    Args:
        seconds: (T,) times.
        random: Draws frequencies, phases and amplitudes.

    Returns:
        (T 3) yaw, pitch, roll in radians.
    """
    rates, phases = random.uniform(0.1, 0.7, (4, 3)), random.uniform(0, 2 * np.pi, (4, 3))
    swings = np.sin(2 * np.pi * rates * seconds[:, None, None] + phases) / (0.4 + 2 * rates)  # (T 4 3)
    liveliness = random.uniform(0.2, 1.0)  # some people hardly move while they talk
    return liveliness * random.uniform(0.4, 1.0, 3) * MAX_SWING_RADIANS * swings.sum(1) / 1.6


def generate_gaze(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate gaze: fixations with jumps between them.

    Args:
        seconds: (T,) times.
        random: Draws durations and directions.

    Returns:
        (T 2) yaw and pitch in radians.
    """
    fixation = number_intervals(seconds, 0.5, 2.5, random)
    directions = random.normal(0, 1, (fixation[-1] + 1, 2)) * [0.16, 0.07]
    return directions.clip([-0.35, -0.15], [0.35, 0.15])[fixation]


def generate_blinks(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate blinks.

    Args:
        seconds: (T,) times.
        random: Draws their times.

    Returns:
        (T,) closure of the eyes, 0 to 1.
    """
    starts = np.cumsum(random.uniform(1.5, 5.0, int(seconds[-1] / 1.5) + 2))
    since_start = seconds[:, None] - starts
    return np.interp(since_start * 25.0, np.arange(-1, 7), [0, *BLINK, 0]).max(1)


def generate_emotions(seconds: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Generate emotions that rise and fall one after the other.

    Args:
        seconds: (T,) times.
        random: Draws emotions and durations.

    Returns:
        Index of the emotion (T,) and its strength (T,), 0 to 1.
    """
    interval = number_intervals(seconds, 2.0, 5.0, random)
    emotion = random.integers(0, len(EMOTIONS), interval[-1] + 1)[interval]
    edges = np.flatnonzero(np.diff(interval, prepend=-1, append=interval[-1] + 1))
    first, last = edges[interval - interval[0]], edges[interval - interval[0] + 1] - 1
    number = np.arange(len(seconds))
    ramp = np.clip(np.minimum(number - first, last - number) / EMOTION_RAMP_FRAMES, 0, 1)
    return emotion, ramp * ramp * (3 - 2 * ramp) * (emotion > 0)


def number_intervals(
    seconds: np.ndarray, min_seconds: float, max_seconds: float, random: np.random.Generator
) -> np.ndarray:
    """Divide time into intervals of random length.

    Args:
        seconds: (T,) times.
        min_seconds: Shortest interval.
        max_seconds: Longest interval.
        random: Draws the lengths.

    Returns:
        (T,) number of the interval of each time.
    """
    ends = np.cumsum(random.uniform(min_seconds, max_seconds, int(seconds[-1] / min_seconds) + 2))
    return np.searchsorted(ends, seconds)


def compute_ground_truth(head: DrawnHead, motion: Motion) -> dict[str, np.ndarray]:
    """Compute the tensors of a ground-truth file, which the module's text lists.

    Args:
        head: The drawn person.
        motion: Motion of the video's frames.

    Returns:
        Tensors by name.
    """
    poses = [motion.get_pose(k) for k in range(len(motion))]
    straight = np.stack([head.compute_landmarks(replace(pose, rotation=(0.0, 0.0, 0.0))) for pose in poses])
    values = {
        "landmarks": np.stack([head.compute_landmarks(pose) for pose in poses]),
        "mouth_opening": mouth_opening(straight[:, MEDIAPIPE_TO_IBUG, :2]),
        "head_rotation": motion.head_rotation,
        "irises": np.stack([head.compute_irises(pose) for pose in poses]),
        "gaze": motion.gaze,
        "blink": motion.blink,
        "emotion_strength": motion.emotion_strength,
    }
    tensors = {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
    return tensors | {"emotion": np.ascontiguousarray(motion.emotion, np.int64)}


def make_head(seed: int, size: int) -> DrawnHead:
    """Make the person of a seed.

    Args:
        seed: Seed of appearance, face shape and camera.
        size: Side of the picture, pixels.

    Returns:
        The person in front of a camera.
    """
    random = np.random.default_rng([seed, 0])
    appearance, traits = choose_appearance(random), random.uniform(-1, 1, len(TRAITS))
    camera = Camera(size, random.uniform(0.8, 1.1), tuple(random.uniform(-0.15, 0.15, 2)))
    return DrawnHead(appearance, traits, seed, camera)


def choose_appearance(random: np.random.Generator) -> Appearance:
    """Draw colors, hair and light of a person at random."""
    tone = random.uniform(0, len(SKIN_COLORS) - 1)
    skin, lip = (tuple(interpolate_row(table, tone)) for table in (SKIN_COLORS, LIP_COLORS))
    is_dark = int(tone > 2)  # dark skin comes with dark hair and eyes
    hair = tuple(HAIR_COLORS[random.integers(3 * is_dark, len(HAIR_COLORS))])
    side, high, front = random.choice([-1, 1]) * random.uniform(0.2, 0.75), random.uniform(-0.75, -0.3), 0.67
    return replace(
        SAMPLE_APPEARANCE,
        skin=skin,
        lip=lip,
        hair=hair,
        brow=tuple(np.array(hair) * 0.6 + 0.4 * np.array(SAMPLE_APPEARANCE.brow) * (1 - 0.6 * is_dark)),
        iris=IRIS_COLORS[3 if is_dark else random.integers(len(IRIS_COLORS))],
        shirt=tuple(random.uniform(0.02, 0.4, 3)),
        wall=tuple(random.uniform(0.05, 0.4) * random.uniform(0.8, 1.2, 3)),
        lamp=(side, high, front),
        strands=3400,
        hair_length=random.uniform(0.72, 1.0),
    )


def interpolate_row(table: list[tuple[float, ...]], place: float) -> np.ndarray:
    """Return the row of a table at a fractional index, interpolated linearly between its neighbors.

    Args:
        table: N rows of K numbers.
        place: Index, 0 to N - 1.

    Returns:
        (K,) numbers.
    """
    return np.array([np.interp(place, np.arange(len(table)), column) for column in zip(*table, strict=True)])


def append_manifest_row(path: Path, row: dict[str, str]) -> None:
    """Append a row to a manifest; a new file starts with a header.

    Args:
        path: The CSV file.
        row: Values by column.
    """
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
