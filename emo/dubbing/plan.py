"""The plan of a dubbing: who speaks when in the film and in the new sound, and which face is whose.

It is a JSON file that a person may correct, a page to look at, and a folder with the landmarks of each face:

    plan.json     speakers with their turns, faces with their speakers
    plan.html     the same with pictures
    plan.faces/   NUMBER.npz of each face

`make_plan` decides by the film's own sound and faces who is who. Voices without a face stay off-screen.

Times are seconds after the film's start.
"""

import base64
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import write_text_atomic
from emo.core.timing import SAMPLE_RATE
from emo.dubbing.active_speaker import ActiveSpeakerScorer, assign_faces, choose_speakers
from emo.dubbing.diarization import find_speech
from emo.dubbing.film import Film, Part
from emo.dubbing.tracks import FaceTrack, encode_thumbnail, find_tracks, load_track
from emo.media.audio import read_audio
from emo.media.html import COLORS, embed_jpeg, render_page, render_table, svg_bar, svg_document
from emo.speech.contracts import Diarizer, SpeakerTurn

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


@dataclass(frozen=True)
class FacePoint:
    """A point on a face of one frame, in pixels of the upright picture."""

    frame: int
    x: float
    y: float


@dataclass(frozen=True)
class NewVoice:
    """The new words of one speaker.

    Attributes:
        name: The speaker: of the film's voices or the RTTM file, or any name.
        path: The sound, which starts with the film.
        face: A point on the speaker's face; None: found by voice and time.
    """

    name: str
    path: Path
    face: FacePoint | None = None


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made of.

    Attributes:
        sound: One file with all new voices; None: `voices` have them.
        voices: A file for each speaker.
        face: The only face that is changed; None: all that speak.
        turns: Who speaks when in the film; None: it is found out.
        only_seconds: The only part of the film that is changed; None: all.
    """

    sound: Path | None = None
    voices: Sequence[NewVoice] = ()
    face: FacePoint | None = None
    turns: Sequence[SpeakerTurn] | None = None
    only_seconds: tuple[float, float] | None = None


def make_plan(
    film: Film,
    parts: Sequence[Part],
    request: PlanRequest,
    folder: Path,
    load_diarizer: Callable[[], Diarizer],
    scorer: ActiveSpeakerScorer,
    on_frame: Callable[[int], None] = lambda number: None,
) -> DubbingPlan:
    """Find faces and voices, and assign them.

    Args:
        film: The film.
        parts: What of it is looked at.
        request: New sounds and what the user knows.
        folder: Where the landmarks of the faces go.
        load_diarizer: Returns what tells voices apart; called only where that is needed.
        scorer: Tells which face speaks.
        on_frame: Called with the number of each frame.

    Returns:
        The plan.

    Raises:
        InputError: A sound can't be read; there is no face; a point lies on no face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faces, edges = [], np.append(film.frame_seconds, film.seconds)
    for number, track in enumerate(find_tracks(film, parts, on_frame)):
        save_face(folder, number, track)
        faces.append(describe_face(number, track, (edges[track.first_frame], edges[track.end_frame])))
    if not faces:
        raise InputError(f"{film.path}: no face is seen long enough; only faces from the front to the side are found")
    turns = list(request.turns) if request.turns is not None else []
    wave = read_audio(film.path, SAMPLE_RATE) if film.has_sound else None
    if request.turns is None and wave is not None:
        turns = list(load_diarizer().diarize(wave))
    if wave is not None and turns:
        _assign_by_lips(film, faces, turns, wave, folder, scorer)
    speakers = _list_speakers(turns)
    if not speakers:
        name = request.voices[0].name if len(request.voices) == 1 else "A"
        speakers = [PlannedSpeaker(name)]
        _assign_largest(faces, name)
    _use_points(film, faces, speakers, request, folder)
    _add_new_sounds(speakers, request, load_diarizer)
    if not turns:
        for speaker in speakers:
            speaker.film_turns = [(0.0, film.seconds)]  # the film has no sound: its mouths may move at any time
    sounds = [str(request.sound)] if request.sound is not None else [str(voice.path) for voice in request.voices]
    return DubbingPlan(str(film.path), sounds, film.seconds, speakers, faces)


def _assign_by_lips(
    film: Film,
    faces: list[PlannedFace],
    turns: Sequence[SpeakerTurn],
    wave: np.ndarray,
    folder: Path,
    scorer: ActiveSpeakerScorer,
) -> None:
    """Give each face the speaker whose words its lips say."""
    scores, starts, seconds = {}, {}, film.frame_seconds
    for face in faces:
        if any(turn.start_seconds < face.end_seconds and face.start_seconds < turn.end_seconds for turn in turns):
            times = seconds[face.first_frame : face.end_frame]
            scores[face.number] = scorer.score(load_face(folder, face.number), times, wave)
            starts[face.number] = float(times[0])
    votes = assign_faces(turns, scores, starts)
    chosen = choose_speakers(votes)
    for face in faces:
        face.votes = {name: round(value, 2) for name, value in votes.get(face.number, {}).items()}
        face.speaker = chosen.get(face.number)


def _list_speakers(turns: Sequence[SpeakerTurn]) -> list[PlannedSpeaker]:
    speakers: dict[str, PlannedSpeaker] = {}
    for turn in sorted(turns, key=lambda turn: turn.start_seconds):
        one = speakers.setdefault(turn.speaker, PlannedSpeaker(turn.speaker))
        one.film_turns.append((round(turn.start_seconds, 3), round(turn.end_seconds, 3)))
    return list(speakers.values())


def _assign_largest(faces: list[PlannedFace], name: str) -> None:
    """Give a speaker the face that is seen largest and longest, of those that are seen together."""

    def weight(face: PlannedFace) -> float:
        return (face.box[2] - face.box[0]) * (face.end_seconds - face.start_seconds)

    taken: list[PlannedFace] = []
    for face in sorted(faces, key=weight, reverse=True):
        if not any(face.first_frame < other.end_frame and other.first_frame < face.end_frame for other in taken):
            face.speaker = name
            taken.append(face)


def _use_points(
    film: Film, faces: list[PlannedFace], speakers: list[PlannedSpeaker], request: PlanRequest, folder: Path
) -> None:
    """Apply what the user has pointed at."""
    for voice in request.voices:
        if voice.face is not None:
            face = find_face(film, faces, voice.face, folder)
            found = next((one for one in speakers if one.name == face.speaker), None)
            if found is None:
                found = PlannedSpeaker(voice.name)
                speakers.append(found)
            for other in faces:
                other.votes = {voice.name if name == found.name else name: s for name, s in other.votes.items()}
                other.speaker = voice.name if other.speaker == found.name else other.speaker
            found.name = face.speaker = voice.name
    if request.face is not None:
        face = find_face(film, faces, request.face, folder)
        face.speaker = face.speaker or speakers[0].name
        for other in faces:
            other.speaker = other.speaker if other is face else None


def find_face(film: Film, faces: Sequence[PlannedFace], point: FacePoint, folder: Path) -> PlannedFace:
    """Return the face that a point lies on.

    Args:
        film: The film.
        faces: Its faces.
        point: The point.
        folder: Of the landmarks.

    Returns:
        The face.

    Raises:
        InputError: There is no face at this point.
    """
    for face in faces:
        if face.first_frame <= point.frame < face.end_frame:
            landmarks = load_face(folder, face.number).landmarks[point.frame - face.first_frame]
            low, high = landmarks.min(0), landmarks.max(0)
            margin = 0.25 * (high - low)
            if np.all([point.x, point.y] >= low - margin) and np.all([point.x, point.y] <= high + margin):
                return face
    raise InputError(
        f"face={point.frame}:{point.x:g},{point.y:g}: no face is there; frames are counted from 0 to "
        f"{len(film.pts) - 1}, x and y are pixels of {film.upright_size[0]} x {film.upright_size[1]}"
    )


def _add_new_sounds(
    speakers: list[PlannedSpeaker], request: PlanRequest, load_diarizer: Callable[[], Diarizer]
) -> None:
    """Give each speaker its new turns, by name, else by the time at which it speaks."""
    if request.sound is not None:
        wave = read_audio(request.sound, SAMPLE_RATE)
        if len(speakers) == 1:
            speakers[0].new_turns = _round(find_speech(wave))
            return
        found: dict[str, Spans] = {}
        for turn in load_diarizer().diarize(wave, len(speakers)):
            found.setdefault(turn.speaker, []).append((turn.start_seconds, turn.end_seconds))
        for name, speaker in match_by_time(found, speakers).items():
            speaker.new_turns = _round(found[name])
        return
    spoken = {voice.name: _round(find_speech(read_audio(voice.path, SAMPLE_RATE))) for voice in request.voices}
    files = {voice.name: str(voice.path) for voice in request.voices}
    named = {speaker.name: speaker for speaker in speakers if speaker.name in spoken}
    others = [speaker for speaker in speakers if speaker.name not in spoken]
    unmatched = {name: spans for name, spans in spoken.items() if name not in named}
    for name, speaker in {**named, **match_by_time(unmatched, others)}.items():
        speaker.sound, speaker.new_turns = files[name], spoken[name]


def _round(spans: Sequence[tuple[float, float]]) -> Spans:
    return [(round(start, 3), round(end, 3)) for start, end in spans]


def match_by_time(
    found: Mapping[str, Sequence[tuple[float, float]]], speakers: Sequence[PlannedSpeaker]
) -> dict[str, PlannedSpeaker]:
    """Match new voices to the film's: those that speak at the same times belong together.

    Args:
        found: Name of a new voice -> when it speaks.
        speakers: The film's.

    Returns:
        Name of a new voice -> speaker; each speaker once.
    """
    from scipy.optimize import linear_sum_assignment

    if not found or not speakers:
        return {}
    names = list(found)
    shared = np.array([[_overlap(found[name], speaker.film_turns) for speaker in speakers] for name in names])
    rows, columns = linear_sum_assignment(-shared)
    return {names[row]: speakers[column] for row, column in zip(rows, columns, strict=True)}


def _overlap(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float:
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in one for c, d in other)
