"""Synthetic footage: talking heads whose mouth, gaze, pose and emotion are exactly known.

OUT/NAME.mp4 is the video, OUT/NAME.safetensors the truth, OUT/manifest.csv a line for each, as `emo-prepare videos`
reads it. T frames; in the truth lie `landmarks` (T 468 3) pixels as emo.preparation.labels writes them, `mouth_opening`
(T,) as emo.face.landmarks measures it in a face that looks straight ahead, `irises` (T 2 2) pixels, `head_rotation` (T 3),
`gaze` (T 2), `blink` (T,), `emotion` (T,) and `emotion_strength` (T,) as in `emo.synthetic.motion_curves`.
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
from emo.face.landmarks import IBUG, opening
from emo.media.audio import read_audio, write_wav
from emo.media.video_writer import VideoWriter
from emo.synthetic.drawn_head import TRAITS, Frame, Head
from emo.synthetic.espeak import speak
from emo.synthetic.motion_curves import Motion, move
from emo.synthetic.sample_portrait import SAMPLE, Looks
from emo.synthetic.visemes import mouth_of_phones, mouth_of_sound

LONGEST_SECONDS = 60.0  # of a video
# linear RGB, from light to dark
SKINS = [(0.75, 0.49, 0.37), (0.66, 0.375, 0.255), (0.47, 0.24, 0.14), (0.26, 0.12, 0.065), (0.13, 0.058, 0.033)]
LIPS = [(0.53, 0.19, 0.18), (0.47, 0.145, 0.13), (0.33, 0.10, 0.085), (0.19, 0.062, 0.055), (0.12, 0.042, 0.04)]
HAIRS = [(0.30, 0.18, 0.075), (0.19, 0.075, 0.03), (0.085, 0.045, 0.027), (0.04, 0.024, 0.017), (0.018, 0.014, 0.012)]
HAIRS += [(0.26, 0.25, 0.24)]
IRISES = [(0.085, 0.058, 0.024), (0.11, 0.15, 0.19), (0.10, 0.125, 0.06), (0.05, 0.03, 0.014)]


@dataclass(frozen=True)
class Take:
    """A video to draw: a sentence or a sound file."""

    name: str
    seed: int
    text: str | None = None
    sound: Path | None = None

    @property
    def row(self) -> dict[str, str]:
        """Its line of manifest.csv."""
        said = ("drawn and spoken by programs", self.text) if self.text else (f"that of {self.sound}", str(self.sound))
        return dict(zip(("file", "speaker", "licence", "source"), (f"{self.name}.mp4", self.name, *said), strict=True))


def read_sentences(path: Path) -> list[str]:
    """The lines of a text file that say something. Raises InputError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error}): give a text file, a sentence a line") from error
    if not any(lines):
        raise InputError(f"{path} is empty: give a sentence a line")
    return [line for line in lines if line]


def list_takes(texts: list[str], sounds: list[Path], count: int | None, seed: int) -> list[Take]:
    """`count` videos (default: one of each text and sound), going round; take k is drawn from seed + k, and named
    after that and what is said."""
    given = [{"text": text} for text in texts] + [{"sound": sound} for sound in sounds]
    total, takes = len(given) if count is None else count, []
    for k in range(total):
        said = given[k % len(given)]
        mark = zlib.crc32(str(*said.values()).encode())
        takes.append(Take(f"synth_{mark:08x}_{seed + k:05}", seed + k, **said))
    return takes


def draw_looks(random: np.random.Generator) -> Looks:
    """Somebody's colours, hair and light."""
    tone = random.uniform(0, len(SKINS) - 1)
    skin, lip = (tuple(between(table, tone)) for table in (SKINS, LIPS))
    dark = int(tone > 2)  # dark skin, dark hair and eyes
    hair = tuple(HAIRS[random.integers(3 * dark, len(HAIRS))])
    side, high, front = random.choice([-1, 1]) * random.uniform(0.2, 0.75), random.uniform(-0.75, -0.3), 0.67
    return replace(
        SAMPLE,
        skin=skin,
        lip=lip,
        hair=hair,
        brow=tuple(np.array(hair) * 0.6 + 0.4 * np.array(SAMPLE.brow) * (1 - 0.6 * dark)),
        iris=IRISES[3 if dark else random.integers(len(IRISES))],
        shirt=tuple(random.uniform(0.02, 0.4, 3)),
        wall=tuple(random.uniform(0.05, 0.4) * random.uniform(0.8, 1.2, 3)),
        lamp=(side, high, front),
        strands=3400,
        hair_length=random.uniform(0.72, 1.0),
    )


def between(table: list[tuple[float, ...]], place: float) -> np.ndarray:
    """The table's row at `place`, mixed from its neighbours."""
    return np.array([np.interp(place, np.arange(len(table)), column) for column in zip(*table, strict=True)])


def draw_head(seed: int, size: int) -> Head:
    """The person of a seed, in a square picture of `size` pixels."""
    random = np.random.default_rng([seed, 0])
    looks, traits = draw_looks(random), random.uniform(-1, 1, len(TRAITS))
    frame = Frame(size, random.uniform(0.8, 1.1), tuple(random.uniform(-0.15, 0.15, 2)))
    return Head(looks, traits, seed, frame)


def perform(take: Take, seconds: float | None, sound: Path) -> Motion:
    """What the head does; the take's own sound comes to the file `sound`, a wav. Raises InputError."""
    random = np.random.default_rng([take.seed, 1])
    longest = LONGEST_SECONDS if seconds is None else seconds
    if take.text is not None:
        speech = speak(take.text, random)
        wave, rate = speech.wave[: round(longest * speech.sample_rate)], speech.sample_rate
    else:
        heard, rate = read_audio(take.sound, SAMPLE_RATE, 0.0, longest), SAMPLE_RATE
        wave = heard
    count = int(len(wave) / rate * FPS)
    if count < 2:
        raise InputError(f"{take.sound or take.text}: there is less than a tenth of a second to speak")
    wave = wave[: round(count / FPS * rate)]
    write_wav(sound, wave, rate)
    if take.text is not None:
        return move(mouth_of_phones(speech.phones, count, FPS), FPS, random)
    return move(mouth_of_sound(heard[: len(wave)], rate, count, FPS), FPS, random)


def truth(head: Head, motion: Motion) -> dict[str, np.ndarray]:
    """The tensors of a truth file."""
    poses = [motion.pose(k) for k in range(len(motion))]
    straight = np.stack([head.landmarks(replace(pose, rotation=(0.0, 0.0, 0.0))) for pose in poses])
    known = {
        "landmarks": np.stack([head.landmarks(pose) for pose in poses]),
        "mouth_opening": opening(straight[:, IBUG, :2]),
        "head_rotation": motion.head_rotation,
        "irises": np.stack([head.irises(pose) for pose in poses]),
        "gaze": motion.gaze,
        "blink": motion.blink,
        "emotion_strength": motion.strength,
    }
    tensors = {name: np.ascontiguousarray(value, np.float32) for name, value in known.items()}
    return tensors | {"emotion": np.ascontiguousarray(motion.emotion, np.int64)}


def make_take(out: Path, take: Take, size: int, seconds: float | None) -> None:
    """Writes the truth and the video of a take; the video comes last, so one that is there is whole. Raises
    InputError."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        motion, head = perform(take, seconds, sound), draw_head(take.seed, size)
        with VideoWriter(out / f"{take.name}.mp4", FPS, sound, overwrite=True) as video:
            for k in range(len(motion)):
                video.write(head.draw(motion.pose(k)))
            try:
                save_file(truth(head, motion), out / f"{take.name}.safetensors")
            except (OSError, SafetensorError) as error:
                raise OutputError(
                    f"{out / take.name}.safetensors can't be written ({error}); free some space"
                ) from error


def make_synth(out: Path, takes: list[Take], size: int = 512, seconds: float | None = None) -> int:
    """Draws what is not there yet; returns how many videos the takes make. Raises InputError."""
    if size < 64:
        raise InputError(f"--size {size}: a head needs 64 pixels or more")
    if seconds is not None and seconds <= 0:
        raise InputError(f"--seconds {seconds:g}: give more than 0")
    out.mkdir(parents=True, exist_ok=True)
    listed = read_manifest(out)
    for take in takes:
        if not (out / take.row["file"]).exists():
            make_take(out, take, size, seconds)
        if take.row["file"] not in listed:
            add_row(out / "manifest.csv", take.row)
    return len(takes)


def add_row(path: Path, row: dict[str, str]) -> None:
    """A line more in a manifest, its first line before it where there is none yet."""
    first = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if first:
            writer.writeheader()
        writer.writerow(row)
