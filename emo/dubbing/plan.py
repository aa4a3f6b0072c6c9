"""The plan of a dubbing: who speaks when in the film and in the new sound, and which face is whose.

It is a JSON file that a person may correct, a page to look at, and a folder with the landmarks of each face:

    plan.json     speakers with their turns, faces with their speakers
    plan.html     the same with pictures
    plan.faces/   NUMBER.npz of each face

Times are seconds after the film's start.
"""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emo.core.errors import InputError
from emo.core.files import write_text_atomic
from emo.dubbing.tracks import FaceTrack, encode_thumbnail, load_track
from emo.media.charts import COLORS, svg_bar, svg_document
from emo.media.html import embed_jpeg, render_page, render_table

VERSION = 1
PAGE_WIDTH, ROW_HEIGHT = 900, 14  # pixels of the page's timelines

Spans = list[tuple[float, float]]


@dataclass
class PlannedSpeaker:
    """A voice.

    Attributes:
        name: Its name.
        sound: The file with its new words; None: those of this voice in the common file.
        film_turns: When it speaks in the film.
        new_turns: When it speaks in the new sound.
    """

    name: str
    sound: str | None = None
    film_turns: Spans = field(default_factory=list)
    new_turns: Spans = field(default_factory=list)


@dataclass
class PlannedFace:
    """A face of one shot.

    Attributes:
        number: Names its landmarks' file.
        first_frame, end_frame: Its first frame, and the frame after its last.
        start_seconds, end_seconds: Their times.
        box: (x0, y0, x1, y1) of its first frame, pixels, for a person to recognize it by.
        speaker: Whose voice moves its mouth; None: the face stays as it is.
        votes: Speaker -> seconds in which its lips fit.
        thumbnail: A JPEG file in base64.
    """

    number: int
    first_frame: int
    end_frame: int
    start_seconds: float
    end_seconds: float
    box: tuple[int, int, int, int]
    speaker: str | None
    votes: dict[str, float]
    thumbnail: str = ""


@dataclass
class DubbingPlan:
    """All that is decided before a frame is changed."""

    film: str
    sounds: list[str]
    seconds: float
    speakers: list[PlannedSpeaker]
    faces: list[PlannedFace]
    version: int = VERSION

    def speaker(self, name: str | None) -> PlannedSpeaker | None:
        """Return the speaker of a name."""
        return next((one for one in self.speakers if one.name == name), None)

    def write(self, path: Path) -> None:
        """Write plan.json and plan.html; the landmarks are there already."""
        write_text_atomic(path, json.dumps(asdict(self), indent=1) + "\n")
        write_text_atomic(path.with_suffix(".html"), render_plan(self))


def faces_folder(path: Path) -> Path:
    """Return the folder of the landmarks that belong to a plan's file."""
    return path.with_suffix(".faces")


def save_face(folder: Path, number: int, track: FaceTrack) -> None:
    """Write the landmarks of a face.

    Args:
        folder: Folder of the plan's landmarks.
        number: Number of the face.
        track: The face.
    """
    track.save(folder / f"{number:05d}.npz")


def load_face(folder: Path, number: int) -> FaceTrack:
    """Read the landmarks of a face.

    Args:
        folder: Folder of the plan's landmarks.
        number: Number of the face.

    Returns:
        The face's track.

    Raises:
        InputError: They are missing.
    """
    path = folder / f"{number:05d}.npz"
    if not path.is_file():
        raise InputError(f"{path} is missing: it belongs to the plan; make the plan again")
    return load_track(path)


def read_plan(path: Path) -> DubbingPlan:
    """Read a plan that a person may have changed.

    Args:
        path: plan.json.

    Returns:
        The plan.

    Raises:
        InputError: It is not such a file, or names a speaker that it does not have.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        speakers = [PlannedSpeaker(**one) for one in values["speakers"]]
        faces = [PlannedFace(**one) for one in values["faces"]]
        plan = DubbingPlan(values["film"], values["sounds"], float(values["seconds"]), speakers, faces)
        for speaker in speakers:
            speaker.film_turns = [(float(a), float(b)) for a, b in speaker.film_turns]
            speaker.new_turns = [(float(a), float(b)) for a, b in speaker.new_turns]
        version = values.get("version")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path} is not a plan of emo-dub ({reason}); make it again") from error
    if version != VERSION:
        raise InputError(f"{path} was made by another version of emo-dub; make it again")
    names = {speaker.name for speaker in speakers}
    for face in faces:
        if face.speaker is not None and face.speaker not in names:
            known = ", ".join(sorted(names)) or "none"
            raise InputError(f"{path}: face {face.number} has speaker {face.speaker!r}, but the speakers are {known}")
    return plan


def render_plan(plan: DubbingPlan) -> str:
    """Return the page of a plan."""
    title = f"Dubbing of {Path(plan.film).name}"
    parts = [f"<h1>{html.escape(title)}</h1><p>Change <code>speaker</code> of a face in the JSON file, or a turn.</p>"]
    colors = {speaker.name: COLORS[index % len(COLORS)] for index, speaker in enumerate(plan.speakers)}
    for speaker in plan.speakers:
        rows = [_spans(speaker.film_turns, plan.seconds, 0, colors[speaker.name], "film")]
        rows.append(_spans(speaker.new_turns, plan.seconds, ROW_HEIGHT, colors[speaker.name], "new sound"))
        picture = svg_document(PAGE_WIDTH, 2 * ROW_HEIGHT, rows)
        sound = html.escape(speaker.sound or "common file")
        parts.append(f"<h2>{html.escape(speaker.name)}</h2><p>film above, new sound below: {sound}</p>{picture}")
    cells = [
        (
            str(face.number),
            f"{face.start_seconds:.2f} to {face.end_seconds:.2f}",
            face.speaker or "stays as it is",
            ", ".join(f"{name} {seconds:.1f} s" for name, seconds in face.votes.items()),
        )
        for face in plan.faces
    ]
    parts.append(render_table("Faces", cells, ("face", "seconds", "speaker", "lips fit")))
    parts.append('<div class="sheet">')
    for face in plan.faces:
        text = f"face {face.number}: {face.speaker or 'stays as it is'}"
        picture = embed_jpeg(base64.b64decode(face.thumbnail), text)
        parts.append(f"<figure>{picture}<figcaption>{html.escape(text)}</figcaption></figure>")
    return render_page(title, [*parts, "</div>"])


def _spans(spans: Sequence[tuple[float, float]], seconds: float, y: float, color: str, title: str) -> str:
    scale = PAGE_WIDTH / max(seconds, 1e-6)
    bars = (
        svg_bar(a * scale, y + 1, max(1, (b - a) * scale), ROW_HEIGHT - 2, color, f"{title} {a:.2f} to {b:.2f} s")
        for a, b in spans
    )
    return "".join(bars)


def describe_face(number: int, track: FaceTrack, seconds: tuple[float, float]) -> PlannedFace:
    """Make the plan's entry of a face that has no speaker yet.

    Args:
        number: Of its landmarks' file.
        track: The face.
        seconds: Start and end.

    Returns:
        The entry, with a thumbnail.
    """
    from emo.face.crop import box_of_landmarks

    x0, y0, x1, y1 = (round(side) for side in box_of_landmarks(track.landmarks[0]))
    thumbnail = base64.b64encode(encode_thumbnail(track.thumbnail)).decode()
    start, end = (round(value, 3) for value in seconds)
    return PlannedFace(number, track.first_frame, track.end_frame, start, end, (x0, y0, x1, y1), None, {}, thumbnail)
