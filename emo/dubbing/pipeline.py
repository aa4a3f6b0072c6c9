"""DubbingPipeline: a film and new words in, the same film with mouths that say them out.

Four stages, each of which a killed run takes up where it stopped, in a folder beside the output: the plan (faces,
voices), references (frames with a closed mouth), new motion of each face, and the changed parts of the film. Then the
film is put together. Memory does not grow with the film but for the sound that voices are told apart by (230 MB an
hour) and the landmarks of the faces that are changed (50 MB an hour).
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from emo.core.errors import InputError
from emo.core.files import check_output_file, write_text_atomic
from emo.dubbing.active_speaker import ActiveSpeakerScorer, LipSyncSpeakerScorer
from emo.dubbing.composite import change_face, cut_square, mark_frame
from emo.dubbing.diarization import EmbeddingDiarizer
from emo.dubbing.encode import DEFAULT_CRF, PartEncoder
from emo.dubbing.face_job import FaceJob, FaceMotion, ReferenceStore, generate_motion, measure_strength
from emo.dubbing.film import Film, FilmReader, Part, open_film
from emo.dubbing.mouth import MotionLatentEngine, MouthEngine
from emo.dubbing.plan import DubbingPlan, PlanRequest, faces_folder, load_face, make_plan, read_plan
from emo.dubbing.remux import Stretch, check_streams, write_film
from emo.dubbing.sound import DubbedSound, RemoveVoices
from emo.dubbing.timeline import SYNC_MODES, Take, is_touched, lay_out
from emo.dubbing.tracks import choose_probes, choose_references
from emo.media.audio import probe_audio
from emo.media.video import read_video
from emo.media.yuv import copy_frame
from emo.provenance.content_credentials import Certificate
from emo.provenance.marks import Marks
from emo.provenance.payload import Payload
from emo.provenance.policy import check_policy
from emo.provenance.watermark import Watermark, choose_watermark
from emo.speech.contracts import Diarizer

if TYPE_CHECKING:
    from emo.pipelines.emo import EMOPipeline

REVERSED_FRAMES = 24  # of a part that is played backwards, in memory at a time

OnProgress = Callable[[str, int, int], None]  # name of the stage, done, total


@dataclass(frozen=True)
class DubbingResult:
    """The result of a dubbing.

    Attributes:
        path: The new film.
        plan: Who was whom.
        num_frames: Frames of the new film's picture.
        changed_frames: Frames in which a face was changed.
        copied_frames: Frames whose packets were copied.
        warnings: One line each.
        payload: The watermark's payload, 16 hexadecimal digits; None without a watermark.
    """

    path: Path
    plan: DubbingPlan
    num_frames: int
    changed_frames: int
    copied_frames: int
    warnings: tuple[str, ...]
    payload: str | None = None


class DubbingPipeline:
    """Dubs films.

    Args:
        engine: Changes mouths: an `EMOPipeline` with motion latents, a `MouthEngine`, or a function that returns one of
            them, called when it is needed.
        diarizer: Tells voices apart; None: `EmbeddingDiarizer` (extra `dub`).
        scorer: Tells which face speaks; None: the built-in lip-sync scorer.
        label: Names the engine: a run that another one began is not continued.
    """

    def __init__(
        self,
        engine: "MouthEngine | EMOPipeline | Callable[[], MouthEngine | EMOPipeline]",
        diarizer: Diarizer | None = None,
        scorer: ActiveSpeakerScorer | None = None,
        label: str = "",
    ):
        self._engine, self._diarizer, self.label = engine, diarizer, label
        self.scorer = scorer or LipSyncSpeakerScorer()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path = "mini", **options) -> "DubbingPipeline":
        """Load a pipeline by the name, folder or Hub id of a model with motion latents.

        Args:
            pretrained_model_name_or_path: As of `EMOPipeline.from_pretrained`, as are its errors.
            options: Those of `EMOPipeline.from_pretrained`.

        Returns:
            The pipeline.
        """
        from emo.pipelines.emo import EMOPipeline

        model = EMOPipeline.from_pretrained(pretrained_model_name_or_path, **options)
        return cls(model, label=str(pretrained_model_name_or_path))

    def plan(
        self,
        film: str | Path,
        request: PlanRequest | str | Path,
        path: str | Path,
        *,
        overwrite: bool = False,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> DubbingPlan:
        """Find faces and voices and write the plan, its page and its folder of landmarks.

        Args:
            film: A video file.
            request: New sounds and what is known of the film, or the one new sound.
            path: The .json file to write.
            overwrite: Whether a file of this name is replaced.
            on_progress: Called as on_progress(stage, done, total).

        Returns:
            The plan.

        Raises:
            InputError: A file can't be read or written, no face is found, or a point lies on no face.
        """
        path = Path(path)
        if path.suffix.lower() != ".json":
            raise InputError(f"plan={path}: give a name that ends with .json")
        check_output_file(path, overwrite)
        return self._plan(open_film(film), as_request(request), path, on_progress)

    def __call__(
        self,
        film: str | Path,
        request: PlanRequest | str | Path,
        output: str | Path,
        *,
        plan: str | Path | None = None,
        sync_mode: str = "silence",
        crf: float = DEFAULT_CRF,
        separate: RemoveVoices | None = None,
        seed: int = 0,
        watermark: Watermark | str | None = "auto",
        certificate: Certificate | None = None,
        overwrite: bool = False,
        on_progress: OnProgress = lambda stage, done, total: None,
        on_warning: Callable[[str], None] = lambda line: None,
    ) -> DubbingResult:
        """Dub a film.

        Args:
            film: A video file.
            request: New sounds and what is known of the film, or the one new sound.
            output: The file to write, of the same kind as the film or of one that holds all its streams.
            plan: A plan to follow; None: it is made.
            sync_mode: What happens where the sound has another length: "silence", "cut", "loop" or "bounce"; see
                `emo.dubbing.timeline.lay_out`.
            crf: Quality of changed parts, 0 (lossless) to 51 as of x264.
            separate: Separates voices from the film's sound, whose rest stays under the new voices; None: the film's
                sound is replaced.
            seed: The same seed gives the same film, but for a watermark of a new payload.
            watermark: Of the changed frames: "auto": a new random payload; a `Watermark` of your own payload; None: no
                watermark, see docs/responsible-use for what the law then asks of you.
            certificate: Signs the content credentials; None: one made on this computer.
            overwrite: Whether a file of this name is replaced.
            on_progress: Called as on_progress(stage, done, total).
            on_warning: Called with each warning.

        Returns:
            The result.

        Raises:
            InputError: A file can't be read or written, no face is found, or a setting can't be used.
            OutputError: The film can't be written.
        """
        source, output, request = open_film(film), Path(output), as_request(request)
        if sync_mode not in SYNC_MODES:
            raise InputError(f"sync_mode={sync_mode}: choose {', '.join(SYNC_MODES)}")
        if not 0 <= crf <= 51:
            raise InputError(f"crf={crf:g}: give 0 (lossless) to 51, {DEFAULT_CRF:g} is usual")
        check_output_file(output, overwrite)
        if output.exists() and output.samefile(source.path):
            raise InputError(f"{output} is the film itself; choose another name")
        encoder = PartEncoder(source, crf, _codec_tag(source))
        warnings = check_streams(source, output, encoder)
        for line in warnings:
            on_warning(line)
        sounds = [request.sound] if request.sound is not None else [voice.path for voice in request.voices]
        sounds = [Path(sound) for sound in sounds if sound is not None]
        if not sounds:
            raise InputError("no new sound: give a sound file, or one for each speaker")
        check_policy(next(read_video(source.path)), sounds[0])
        self._load_engine()
        sound_seconds = max(probe_audio(sound).seconds for sound in sounds)
        first = next(read_video(source.path))
        for sound in sounds:
            check_policy(first, sound)
        if sync_mode == "silence" and sound_seconds > source.seconds + 0.5:
            lengths = f"the new sound lasts {sound_seconds:.1f} s, the film {source.seconds:.1f} s"
            warnings.append(f"{lengths}: the sound's end is cut off (sync_mode=loop keeps it)")
            on_warning(warnings[-1])
        takes, seconds = lay_out(source, sound_seconds, sync_mode)
        given = watermark.payload.hex if isinstance(watermark, Watermark) else watermark
        settings = [self.label, str(plan), sync_mode, crf, seed, request.only_seconds, _describe(request), given]
        made = None if plan is None else read_plan(Path(plan))
        files = [source.path, *sounds, *([Path(plan)] if plan is not None else [])]
        work = _open_work_folder(output, settings, files)
        folder = faces_folder(work / "plan.json" if plan is None else Path(plan))
        if made is None:
            made = self._plan(source, request, work / "plan.json", on_progress, resume=True)
        named = {f"sound {number}": sound for number, sound in enumerate(sounds, 1)}
        mark = _keep_watermark(work, watermark, self.label)
        marks = Marks(self.label or "emo", watermark=mark, certificate=certificate, sources=named, edited=source.path)
        run = _Run(source, made, folder, work, self._load_engine, encoder, takes, seconds, request.only_seconds, seed)
        run.mark = None if mark is None else marks.mark_frame
        stretches, counts = run.make_parts(sounds, on_progress)
        sound = DubbedSound(sounds, seconds, source.path, separate, request.only_seconds)
        if (request.only_seconds is not None or separate is not None) and not source.has_sound:
            sound = replace(sound, separate=None, only_seconds=None)
        end = seconds if sync_mode == "cut" else None
        on_progress("write", 0, 1)
        write_film(source, output, stretches, encoder, sound.open, end_seconds=end, overwrite=overwrite, marks=marks)
        on_progress("write", 1, 1)
        shutil.rmtree(work, ignore_errors=True)
        return DubbingResult(output, made, *counts, tuple(warnings), marks.payload_hex)

    def _load_engine(self) -> MouthEngine:
        """Return the engine, loaded on first use."""
        engine: Any = self._engine
        if not isinstance(engine, MouthEngine) and not hasattr(engine, "vae"):
            engine = engine()
        if not isinstance(engine, MouthEngine):
            engine = MotionLatentEngine(engine)
        self._engine = engine
        return engine

    def _load_diarizer(self) -> Diarizer:
        self._diarizer = self._diarizer or EmbeddingDiarizer()
        return self._diarizer

    def _plan(
        self, film: Film, request: PlanRequest, path: Path, on_progress: OnProgress, resume: bool = False
    ) -> DubbingPlan:
        if resume and path.is_file():
            return read_plan(path)
        parts = wanted_parts(film, request.only_seconds)
        first, total = parts[0].first_frame, parts[-1].end_frame - parts[0].first_frame
        folder = faces_folder(path)
        shutil.rmtree(folder, ignore_errors=True)
        made = make_plan(
            film,
            parts,
            request,
            folder,
            self._load_diarizer,
            self.scorer,
            lambda number: on_progress("find faces", number + 1 - first, total),
        )
        made.write(path)
        return made


def as_request(request: PlanRequest | str | Path) -> PlanRequest:
    """Return the request for one new sound, where its file is given."""
    return request if isinstance(request, PlanRequest) else PlanRequest(Path(request))


def wanted_parts(film: Film, only_seconds: tuple[float, float] | None) -> list[Part]:
    """Return the parts of a film that lie in a span of time.

    Args:
        film: The film.
        only_seconds: (start, end); None: the whole film.

    Returns:
        Consecutive parts, at least one.

    Raises:
        InputError: No frame lies in the span.
    """
    parts = film.parts()
    if only_seconds is None:
        return parts
    first, end = film.frame_numbers(*only_seconds)
    wanted = [part for part in parts if part.first_frame < end and part.end_frame > first]
    if not wanted or first >= end:
        raise InputError(f"only={only_seconds[0]:g}-{only_seconds[1]:g}: the film lasts {film.seconds:.2f} s")
    return wanted


class _Run:
    """The stages after the plan."""

    def __init__(self, film, plan, folder, work, load_engine, encoder, takes, seconds, only_seconds, seed):
        self.film: Film = film
        self.plan: DubbingPlan = plan
        self.folder: Path = folder
        self.work: Path = work
        self.load_engine: Callable[[], MouthEngine] = load_engine
        self.encoder: PartEncoder = encoder
        self.takes: list[Take] = takes
        self.seconds: float = seconds
        self.only_seconds: tuple[float, float] | None = only_seconds
        self.seed: int = seed
        self.mark: Callable[[np.ndarray], np.ndarray] | None = None  # marks an upright picture
        self._made: dict[Path, FaceMotion] = {}  # by the file of their motion

    def make_parts(self, sounds: Sequence[Path], on_progress: OnProgress) -> tuple[list[Stretch], tuple[int, int, int]]:
        """Make all changed parts.

        Args:
            sounds: The new sound, or all of them.
            on_progress: See `DubbingPipeline.__call__`.

        Returns:
            The parts of the new film, and its frames, changed frames and copied frames.
        """
        film, parts = self.film, self.film.parts()
        jobs = {take.number: self._list_jobs(take) for take in self.takes}
        engine = store = None
        if any(jobs.values()):
            engine = self.load_engine()
            store = ReferenceStore(self.work, engine.size)
            everything = [job for one in jobs.values() for job in one]
            store.collect(film, parts, everything)
            for done, job in enumerate(everything):
                on_progress("generate motion", done, len(everything))
                if not job.path.is_file():
                    sound = Path(job.speaker.sound) if job.speaker.sound else sounds[0]
                    generate_motion(job, engine, store, sound, self.seed)
            on_progress("generate motion", len(everything), len(everything))
        stretches = [stretch for take in self.takes for stretch in self._cut_take(take, parts, jobs[take.number])]
        total = sum(s.part.end_frame - s.part.first_frame for s in stretches if s.file is not None)
        counts, done = [0, 0, 0], 0
        with FilmReader(film) as reader:
            for stretch in stretches:
                size = stretch.part.end_frame - stretch.part.first_frame
                counts[0] += size
                if stretch.file is None:
                    counts[2] += size
                    continue
                take = self._take_of(stretch)
                if not stretch.file.is_file():
                    face_motions = self._face_motions(jobs[take.number], stretch.part, engine, store)
                    frames = self._frames(reader, stretch.part, take, face_motions)
                    self.encoder.encode(frames, stretch.file)
                counts[1] += _count_changed(jobs[take.number], stretch.part)
                done += size
                on_progress("change faces", done, total)
        return stretches, (counts[0], counts[1], counts[2])

    def _list_jobs(self, take: Take) -> list[FaceJob]:
        """The faces that are changed in a take."""
        jobs = []
        for face in self.plan.faces:
            speaker = self.plan.speaker(face.speaker)
            if speaker is None:
                continue
            track = load_face(self.folder, face.number)
            seconds, strength = measure_strength(self.film, track, take, speaker, self.seconds, self.only_seconds)
            if not np.any(strength > 0):
                continue
            references = choose_references(track, self.film.fps)
            path = self.work / f"motion-{take.number}-{face.number}"
            regions = track.regions(self.film.fps)
            probes = choose_probes(track)
            jobs.append(FaceJob(face.number, track, references, probes, seconds, strength, speaker, path, regions))
        return jobs

    def _cut_take(self, take: Take, parts: Sequence[Part], jobs: Sequence[FaceJob]) -> Iterator[Stretch]:
        """The parts of a take up to the end of the new film, those that are encoded with a file."""
        strengths = [(job.track.first_frame, job.strength) for job in jobs]
        for part in reversed(parts) if take.is_reversed else parts:
            shown = take.seconds(self.film, np.arange(part.first_frame, part.end_frame))
            if shown.min() >= self.seconds - 1e-6:
                continue
            whole = shown.max() < self.seconds - 1e-6
            touched = not self.encoder.can_mix or take.is_reversed or not whole or is_touched(part, strengths)
            file = self.work / f"part-{take.number}-{part.first_packet}" if touched else None
            yield Stretch(part, take.shift(self.film), take.mirror(self.film), file)

    def _take_of(self, stretch: Stretch) -> Take:
        return next(take for take in self.takes if take.shift(self.film) == stretch.shift)

    def _face_motions(self, jobs: Sequence[FaceJob], part: Part, engine, store) -> list[FaceMotion]:
        """Those that change faces in a part."""
        found = [job for job in jobs if is_touched(part, [(job.track.first_frame, job.strength)])]
        for job in found:
            if job.path not in self._made:
                self._made[job.path] = FaceMotion(job, engine, store)
        return [self._made[job.path] for job in found]

    def _frames(
        self, reader: FilmReader, part: Part, take: Take, face_motions: Sequence[FaceMotion]
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of a part as they are shown in the new film, with changed faces."""
        film = self.film
        decoded = decode_reversed(reader, part) if take.is_reversed else reader.decode(part)
        for number, frame in decoded:
            if float(take.seconds(film, np.array([number]))[0]) >= self.seconds - 1e-6:
                continue
            changed, is_changed = copy_frame(frame), False
            for face_motion in face_motions:
                job = face_motion.job
                place = number - job.track.first_frame
                if 0 <= place < len(job.strength) and job.strength[place] > 0:
                    own = cut_square(changed, film, job.regions[place], face_motion.engine.size)
                    change = partial(
                        face_motion.engine.apply,
                        motion=face_motion.compute_motion(place, own),
                        centers=job.centers(place),
                    )
                    change_face(changed, film, job.regions[place], change)
                    is_changed = True
            if is_changed and self.mark is not None:
                mark_frame(changed, film, self.mark)
            yield number, changed


def decode_reversed(reader: FilmReader, part: Part) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode a part from the last frame to the first; it is decoded once for every REVERSED_FRAMES frames.

    Args:
        reader: Of the film.
        part: The part.

    Yields:
        Number and frame.
    """
    end = part.end_frame
    while end > part.first_frame:
        start = max(part.first_frame, end - REVERSED_FRAMES)
        frames = [(number, frame) for number, frame in reader.decode(part) if start <= number < end]
        yield from reversed(frames)
        end = start


def _count_changed(jobs: Sequence[FaceJob], part: Part) -> int:
    changed = np.zeros(part.end_frame - part.first_frame, bool)
    for job in jobs:
        for number in range(max(part.first_frame, job.track.first_frame), min(part.end_frame, job.track.end_frame)):
            changed[number - part.first_frame] |= job.strength[number - job.track.first_frame] > 0
    return int(changed.sum())


def _codec_tag(film: Film) -> str:
    with av.open(str(film.path.absolute()), metadata_errors="replace") as container:
        try:
            return container.streams[film.stream_index].codec_context.codec_tag
        except UnicodeDecodeError:
            return ""


def _describe(request: PlanRequest) -> list:
    voices = [(voice.name, str(voice.path), repr(voice.face)) for voice in request.voices]
    return [str(request.sound), voices, repr(request.face), repr(request.turns)]


def _keep_watermark(work: Path, watermark: Watermark | str | None, label: str) -> Watermark | None:
    """The watermark; of a run that goes on, the one that it began with."""
    chosen, path = choose_watermark(watermark, label or "emo"), work / "payload"
    if watermark == "auto" and path.is_file():
        return Watermark(Payload.from_hex(path.read_text()))
    if chosen is not None:
        write_text_atomic(path, chosen.payload.hex)
    return chosen


def _open_work_folder(output: Path, settings: list, files: Sequence[Path]) -> Path:
    """The folder of what a run has done so far; emptied where another film, sound or setting made it."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(json.dumps([settings, states]).encode()).hexdigest()
    folder = output.with_name(f".{output.name}.dub")
    if (folder / "key").is_file() and (folder / "key").read_text() == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_text_atomic(folder / "key", key)
    return folder
