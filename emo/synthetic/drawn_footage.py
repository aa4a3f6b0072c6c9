"""Synthetic videos: drawn talking heads whose mouth, gaze, pose and emotion are exactly known.

For each video, OUT/NAME.mp4 is written, OUT/NAME.safetensors with the ground truth, and a row of OUT/manifest.csv, as
`emo-prepare videos` reads it. The ground truth of T frames:

    landmarks         (T 468 3) pixels, as emo.preparation.labels writes them
    mouth_opening     (T,) as emo.face.landmarks measures it, in the same face looking straight ahead
    irises            (T 2 2) pixels
    head_rotation (T 3), gaze (T 2), blink (T,), emotion (T,), emotion_strength (T,): see emo.synthetic.motion_curves
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
from emo.synthetic.drawn_head import TRAITS, Camera, DrawnHead
from emo.synthetic.espeak import synthesize_speech
from emo.synthetic.motion_curves import Motion, generate_motion
from emo.synthetic.sample_portrait import SAMPLE_APPEARANCE, Appearance
from emo.synthetic.visemes import mouth_from_audio, mouth_from_phonemes

MAX_SECONDS = 60.0  # of a video
MIN_SIZE = 64  # pixels
# linear RGB, from light to dark
SKIN_COLORS = [(0.75, 0.49, 0.37), (0.66, 0.375, 0.255), (0.47, 0.24, 0.14), (0.26, 0.12, 0.065), (0.13, 0.058, 0.033)]
LIP_COLORS = [(0.53, 0.19, 0.18), (0.47, 0.145, 0.13), (0.33, 0.10, 0.085), (0.19, 0.062, 0.055), (0.12, 0.042, 0.04)]
HAIR_COLORS = [(0.30, 0.18, 0.075), (0.19, 0.075, 0.03), (0.085, 0.045, 0.027), (0.04, 0.024, 0.017)]
HAIR_COLORS += [(0.018, 0.014, 0.012), (0.26, 0.25, 0.24)]
IRIS_COLORS = [(0.085, 0.058, 0.024), (0.11, 0.15, 0.19), (0.10, 0.125, 0.06), (0.05, 0.03, 0.014)]


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
