"""Prepare a set of talking heads: photographs on a 3D head that speak, sing and move, each clip with its ground truth.

A job makes a few clips of one photograph. Which jobs there are, and all random numbers of each, depend only on the seed
and the job's number, so the same command makes the same files with any number of workers, and continues after an
interruption. Jobs run in blocks; the set is complete at the end of the first block at which it is long enough.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.parallel import map_parallel
from emo.core.storage import read_manifest
from emo.core.timing import FPS
from emo.data.clip import list_clips, load_clip
from emo.data.sampling import list_pictures
from emo.face.crop import region_of_landmarks
from emo.media.image import read_image
from emo.preparation.head_clips import HeadClipSource, write_head_clip
from emo.preparation.processing_log import FILE_NAME, LogItem, ProcessingLog, read_processing_log
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.head_motion import MIN_SCALE
from emo.synthetic.heads.performance import Head, Performance, PhotoPerson, perform_clip, perform_utterance
from emo.synthetic.heads.photo_head import PhotoHead, find_landmarks
from emo.synthetic.voices.kokoro import Kokoro
from emo.synthetic.voices.sentences import LANGUAGES
from emo.synthetic.voices.utterances import Utterance, VoiceChoice, draw_song_utterance, draw_speech_utterance

DRIVER_SHARES = {"speech": 0.55, "clip": 0.3, "song": 0.15}
FACE_MODEL_LICENSE = "face model: ICT-FaceKit (MIT)"
BLOCK_SIZE = 48  # jobs between two checks of the set's length
SECOND_SUFFIX = "_second"  # of the name of a clip in which a second person performs the same motion
SECOND_TRIES = 4  # pictures that are tried for a second person
SQUARE_SIDES = (0.9, 1.35)  # side of the picture's square over that of the square that the pipeline animates
BuildHead = Callable[[np.ndarray, FaceModel, int, int, np.random.Generator], Head]  # see `build_photo_person`


@dataclass(frozen=True)
class HeadsSettings:
    """Which set of talking heads is made.

    Attributes:
        photos: Folder of pictures of one face each; a manifest.csv in it may name file,license.
        out: Folder of the clips.
        face_model: ICT-FaceKit's folder, or a packed .npz.
        hours: Smallest length of the set.
        size: Side of the clips, pixels.
        seed: Seed of all random numbers.
        part: "train" leaves out the people, voices and languages of `hold_out`, "held_out" uses only them.
        hold_out: Text file, see `read_heads_hold_out`.
        kokoro: Kokoro's folder; None: eSpeak NG alone speaks.
        drivers: Folders of prepared clips of real people, whose motion and voice drive heads too.
        clips_per_job: Clips of a photograph in one job.
        seconds: Shortest and longest length of a clip.
        steady_ratio: Share of the clips whose crop follows the head.
        cross_identity_ratio: Share of the clips whose voice and motion a second person performs too, in a clip of its
            own; the pair has one `motion_id` in its ground truth.
        block_size: Jobs between two checks of the set's length.
        languages: Languages of the texts, as eSpeak NG names them.
    """

    photos: Path
    out: Path
    face_model: Path
    hours: float = 2.0
    size: int = 256
    seed: int = 0
    part: str = "train"
    hold_out: Path | None = None
    kokoro: Path | None = None
    drivers: tuple[Path, ...] = ()
    clips_per_job: int = 3
    seconds: tuple[float, float] = (3.0, 8.0)
    steady_ratio: float = 0.5
    cross_identity_ratio: float = 0.0
    block_size: int = BLOCK_SIZE
    languages: tuple[str, ...] = LANGUAGES

    def check(self) -> None:
        """Check all values.

        Raises:
            InputError: A value is out of its range, or `hold_out` is missing.
        """
        if self.part not in ("train", "held_out"):
            raise InputError(f"part={self.part}: give train or held_out")
        if self.part == "held_out" and self.hold_out is None:
            raise InputError("part=held_out needs hold_out=FILE, a text file of people, voices and languages")
        if not 64 <= self.size <= 1024:
            raise InputError(f"size={self.size}: give 64 to 1024 pixels")
        if self.hours <= 0:
            raise InputError(f"hours={self.hours:g}: give more than 0")
        if self.clips_per_job < 1:
            raise InputError(f"clips_per_job={self.clips_per_job}: give 1 or more")
        if not 0.0 <= self.cross_identity_ratio <= 1.0:
            raise InputError(f"cross_identity_ratio={self.cross_identity_ratio:g}: give 0 to 1")
        if not 1.0 <= self.seconds[0] <= self.seconds[1] <= 60.0:
            raise InputError(f"seconds={self.seconds[0]:g} {self.seconds[1]:g}: give two times from 1 to 60")


@dataclass(frozen=True)
class HoldOut:
    """What training must not contain, for evaluation on it."""

    people: frozenset[str] = frozenset()
    voices: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PhotoJob:
    """A photograph of which a few clips are made."""

    number: int
    photo: Path
    license: str

    @property
    def name(self) -> str:
        """Its name in the processing log, and the beginning of its clips' names."""
        return f"heads_{self.number:06d}"


def prepare_head_clips(
    settings: HeadsSettings,
    workers: int = 1,
    ray_address: str | None = None,
    build: BuildHead | None = None,
) -> float:
    """Make the clips of a set that do not exist yet.

    Args:
        settings: Which set.
        workers: Number of processes; 1: this one.
        ray_address: Address of a running Ray cluster; None: this machine.
        build: Makes a head of a picture; None: `build_photo_person`.

    Returns:
        Length of the set in hours.

    Raises:
        InputError: For values that make no set, missing pictures or models, or pictures none of which can be used.
        OutputError: A clip can't be written.
    """
    settings.check()
    hold_out = read_heads_hold_out(settings.hold_out)
    load_face_model(settings.face_model)
    kokoro = load_kokoro(settings.kokoro)
    if kokoro is not None:
        kokoro.load()
    people = list_people(settings, hold_out)
    list_driver_clips(settings.drivers, settings.hold_out)
    settings.out.mkdir(parents=True, exist_ok=True)
    log, seconds = ProcessingLog(settings.out), 0.0
    rejected: set[Path] = set()
    work = partial(run_job, settings=settings, build=build or build_photo_person)
    for block in list_blocks(settings, people):
        jobs = [job for job in block if job.photo not in rejected]
        waiting = [job for job in jobs if job.name not in log.done]
        for job, items in map_parallel(work, waiting, workers, ray_address):
            log.add(job.name, items)
        logged = read_processing_log(settings.out)
        seconds += sum(item.seconds for job in jobs for item in logged[job.name])
        rejected |= {job.photo for job in jobs if not any(item.seconds for item in logged[job.name])}
        if len(rejected) == len(people):
            raise InputError(f"{settings.photos}: no picture can be used: see {settings.out / FILE_NAME}")
        if seconds >= settings.hours * 3600:
            break
    return seconds / 3600


def run_job(job: PhotoJob, settings: HeadsSettings, build: BuildHead) -> list[LogItem]:
    """Make the clips of a photograph.

    Args:
        job: The photograph.
        settings: Which set it belongs to.
        build: Makes a head of a picture.

    Returns:
        The result of each clip; one item if the photograph can't be used.

    Raises:
        OutputError: A clip can't be written.
    """
    model = load_face_model(settings.face_model)
    voices = choose_voices(settings, read_heads_hold_out(settings.hold_out), load_kokoro(settings.kokoro))
    random = np.random.default_rng([settings.seed, 1, job.number])
    try:
        person_seed = zlib.crc32(job.photo.stem.encode())
        head = build(read_image(job.photo), model, settings.size, person_seed, random)
    except OutputError:
        raise
    except InputError as error:
        reason = getattr(error, "reason", "")
        return [LogItem(job.name, 0.0, f"{job.photo.name}: {reason} {error}".replace(":  ", ": "))]
    items = []
    for number in range(settings.clips_per_job):
        second = find_second_person(job, number, settings, model, build)
        people = [(job.photo, job.license, head)] + ([] if second is None else [second])
        min_scale = max(person.min_scale for _, _, person in people)
        for suffix, (photo, license, person) in zip(("", SECOND_SUFFIX), people, strict=False):
            random = np.random.default_rng([settings.seed, 2, job.number, number])  # the same for both people
            is_steady = bool(random.random() < settings.steady_ratio)
            motion_id = f"{job.name}_{number}"
            name = motion_id + suffix
            try:
                performance, driver = draw_performance(settings, person, model, voices, min_scale, is_steady, random)
                source = HeadClipSource(name, photo, license, FACE_MODEL_LICENSE, driver, is_steady, motion_id)
                write_head_clip(settings.out, source, person, performance, model.names)
                items.append(LogItem(name, len(performance) / FPS))
            except OutputError:
                raise
            except InputError as error:
                items.append(LogItem(name, 0.0, str(error)))
    return items


def find_second_person(
    job: PhotoJob, number: int, settings: HeadsSettings, model: FaceModel, build: BuildHead
) -> tuple[Path, str, Head] | None:
    """Choose the second person of a clip, who performs the same voice and motion.

    Args:
        job: The first person.
        number: Of the job's clip.
        settings: How many clips have a second person, and of whom.
        model: The face model.
        build: Makes a head of a picture.

    Returns:
        Picture, its license and the head; None without a second person, or if SECOND_TRIES pictures can't be used.
    """
    random = np.random.default_rng([settings.seed, 3, job.number, number])
    if random.random() >= settings.cross_identity_ratio:
        return None
    others = [row for row in list_people(settings, read_heads_hold_out(settings.hold_out)) if row[0] != job.photo]
    for row in random.permutation(len(others))[:SECOND_TRIES]:
        photo, license = others[int(row)]
        try:
            head = build(read_image(photo), model, settings.size, zlib.crc32(photo.stem.encode()), random)
            return photo, license, head
        except OutputError:
            raise
        except InputError:
            continue
    return None


def build_photo_person(
    image: np.ndarray, model: FaceModel, size: int, person_seed: int, random: np.random.Generator
) -> PhotoPerson:
    """Make the head of a photograph, in a square around the face.

    Args:
        image: (H W 3) uint8.
        model: The face model.
        size: Side of the frames, pixels.
        person_seed: Chooses what the photograph does not show: teeth, gums, tongue.
        random: Chooses how much of the picture the square shows.

    Returns:
        The head and the smallest scale of its motion.

    Raises:
        FitRejected: The photograph can't be used.
    """
    face = find_landmarks(image)
    region = region_of_landmarks(face.landmarks)
    side = min(region.side * random.uniform(*SQUARE_SIDES), *image.shape[:2])
    limit = np.array(image.shape[1::-1]) - side
    x, y = np.clip(np.array(region.center) - side / 2, 0, limit)
    head = PhotoHead.build(image, model, size, person_seed, (x, y, x + side, y + side), face)
    face_center, room_above = float(face.landmarks[:, 1].mean()) - y, float(y)
    return PhotoPerson(head, max(MIN_SCALE, face_center / (face_center + room_above)))


def draw_performance(
    settings: HeadsSettings,
    head: Head,
    model: FaceModel,
    voices: VoiceChoice,
    min_scale: float,
    keep_distance: bool,
    random: np.random.Generator,
) -> tuple[Performance, str]:
    """Draw what a head performs: speech, a song, or the motion and voice of a real clip.

    Args:
        settings: Which set.
        head: Who performs.
        model: The face model.
        voices: Voices and languages to choose from.
        min_scale: Smallest scale of the motion.
        keep_distance: Whether the head stays as near as in the portrait.
        random: Draws everything.

    Returns:
        The performance, and its source in words for ClipInfo.source.
    """
    clips = list_driver_clips(settings.drivers, settings.hold_out)
    shares = DRIVER_SHARES | ({} if clips else {"clip": 0.0})
    kind = str(random.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    seconds, max_seconds = random.uniform(*settings.seconds), settings.seconds[1]
    if kind == "clip":
        path = clips[int(random.integers(len(clips)))]
        clip = load_clip(path)
        license_text = f"voice and motion: {clip.info.license}"
        voice = np.asarray(clip.voice, np.float32)
        utterance = Utterance("clip", voice, voice=clip.info.person, license=license_text)
        performance = perform_clip(
            clip.landmarks, utterance, head, model, random, max_seconds, min_scale, keep_distance
        )
        return performance, f"driven by {path.stem}"
    draw = draw_song_utterance if kind == "song" else partial(draw_speech_utterance, voices)
    utterance = draw(seconds, random)
    performance = perform_utterance(utterance, head, model.names, random, max_seconds, min_scale, keep_distance)
    return performance, f"{utterance.kind} {utterance.voice}".strip()


def read_heads_hold_out(path: Path | None) -> HoldOut:
    """Read a text file with one name a line: a person, `voice:NAME` or `language:NAME`. Raises InputError."""
    if path is None:
        return HoldOut()
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error}): name a text file, one name a line") from error
    voices, languages = (
        frozenset(name.split(":", 1)[1] for name in names if name.startswith(f"{kind}:"))
        for kind in ("voice", "language")
    )
    return HoldOut(frozenset(name for name in names if ":" not in name), voices, languages)


def choose_voices(settings: HeadsSettings, hold_out: HoldOut, kokoro: Kokoro | None) -> VoiceChoice:
    """Choose the voices and languages of a part; the held-out part uses all where none is held out.

    Args:
        settings: Which part and languages.
        hold_out: Held-out people, voices and languages.
        kokoro: The Kokoro voices; None: eSpeak NG alone speaks.

    Returns:
        Voices and languages to draw from.
    """
    voices = frozenset(kokoro.voices if kokoro else ())
    if settings.part == "train":
        languages = tuple(name for name in settings.languages if name not in hold_out.languages)
        return VoiceChoice(kokoro, languages, voices - hold_out.voices)
    languages = tuple(name for name in settings.languages if name in hold_out.languages) or settings.languages
    return VoiceChoice(kokoro, languages, voices & hold_out.voices or voices)


def list_people(settings: HeadsSettings, hold_out: HoldOut) -> list[tuple[Path, str]]:
    """List the photographs of a part, sorted.

    Args:
        settings: Folder of the photographs, and which part.
        hold_out: Held-out people.

    Returns:
        Each photograph with its license; "" if unknown.

    Raises:
        InputError: There are no photographs for the part.
    """
    manifest = read_manifest(settings.photos)
    is_held_out = settings.part == "held_out"
    photos = [path for path in list_pictures([str(settings.photos)]) if (path.stem in hold_out.people) == is_held_out]
    if not photos:
        raise InputError(f"{settings.photos} holds no pictures for part={settings.part}")
    return [(photo, manifest.get(photo.name, [{}])[0].get("license", "")) for photo in photos]


def list_blocks(settings: HeadsSettings, people: list[tuple[Path, str]]) -> Iterator[list[PhotoJob]]:
    """List jobs in blocks, without end: in every round each photograph once, in a new order.

    Args:
        settings: Seed and size of the blocks.
        people: Photographs with their licenses.

    Yields:
        The jobs of a block.
    """
    count, round_number = len(people), 0
    while True:
        order = np.random.default_rng([settings.seed, 0, round_number]).permutation(count)
        jobs = [PhotoJob(round_number * count + k, *people[p]) for k, p in enumerate(order)]
        yield from (jobs[k : k + settings.block_size] for k in range(0, count, settings.block_size))
        round_number += 1


@cache
def load_face_model(path: Path) -> FaceModel:
    """Load a face model once a process. Raises InputError."""
    return FaceModel.load(path)


@cache
def load_kokoro(folder: Path | None) -> Kokoro | None:
    """Open Kokoro's folder once a process; None without one."""
    return None if folder is None else Kokoro(folder)


@cache
def list_driver_clips(folders: tuple[Path, ...], hold_out: Path | None) -> list[Path]:
    """List the clips of real people who are not held out.

    Args:
        folders: Folders of clips.
        hold_out: File of people who are held out; None: no one.

    Returns:
        Paths of the clips' JSON files.

    Raises:
        InputError: A folder has no clips.
    """
    if not folders:
        return []
    return list_clips([str(folder) for folder in folders], None if hold_out is None else str(hold_out))
