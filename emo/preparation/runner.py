"""Prepare a folder of videos as clips; what can't be used is logged with the reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from emo.core.errors import InputError, OutputError
from emo.core.parallel import map_parallel
from emo.core.storage import local_copy
from emo.core.timing import FPS
from emo.data.clip import ClipInfo
from emo.media.video_pass import VideoPass
from emo.preparation.clip_maker import ClipMaker
from emo.preparation.clips import PreparationJob
from emo.preparation.processing_log import LogItem, ProcessingLog
from emo.preparation.sources import VideoSource
from emo.speech.syncnet import load_syncnet
from emo.speech.voice_activity import load_voice_detector

MAX_SHOT_SECONDS = 300.0  # a longer shot is cut there: it bounds what is stored of a shot (six clips of 50 s)


def prepare_videos(
    sources: Sequence[VideoSource],
    job: PreparationJob,
    people: set[str],
    per_person: int | None,
    workers: int,
    address: str | None,
) -> int:
    """Make a clip of each face of each shot of each video; what is done already is skipped.

    A video that met a temporary error is named at the end, and is done by the next run.

    Args:
        sources: The videos.
        job: Settings.
        people: Whose videos are left out.
        per_person: At most so many videos of one person; None: all.
        workers: Processes at work; above 1 by Ray.
        address: Address of a Ray cluster; None: this machine.

    Returns:
        How many clips the job's folder holds.

    Raises:
        InputError: A package or weights are missing.
        OutputError: A clip can't be written.
    """
    load_voice_detector()
    if job.syncnet is not None:
        load_syncnet(job.syncnet)
    job.out.mkdir(parents=True, exist_ok=True)
    count, log, waiting, failed = Counter(), ProcessingLog(job.out), [], []
    for source in sources:
        count[source.info.person] += 1
        left = source.info.person in people or count[source.info.person] > (per_person or len(sources))
        if not left and source.key not in log.done:
            waiting.append(source)
    waiting.sort(key=lambda source: -source.size)  # the largest first, so that none runs alone at the end
    for source, found in map_parallel(
        partial(prepare_source, job=job), waiting, workers, address, job.separate is not None
    ):
        if isinstance(found, str):
            failed.append(f"{source.key}: {found}")
        else:
            log.add(source.key, found)
    if failed:
        print(f"postponed, run the same command again for them: {len(failed)}", *failed, sep="\n  ", flush=True)
    return len(list(job.out.glob("*.json")))


def prepare_source(source: VideoSource, job: PreparationJob) -> list[LogItem] | str:
    """Prepare a video; an error becomes the reason of its rejection in the log.

    Args:
        source: The video.
        job: Settings and models of the run.

    Returns:
        The result of each tracked face; or a temporary error, as text.

    Raises:
        OutputError: A clip can't be written.
    """
    info = replace(source.info)
    try:
        with local_copy(source.url) as path:
            return prepare_video(path, source.spans, info, job)
    except OutputError:
        raise
    except InputError as error:
        return [LogItem(info.name, 0.0, str(error).removeprefix(f"{info.name}: "))]
    except (OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # one odd video must not end a run over thousands
        return [LogItem(info.name, 0.0, f"{type(error).__name__}: {error}")]


def prepare_video(
    path: Path, spans: Sequence[tuple[float, float]], info: ClipInfo, job: PreparationJob
) -> list[LogItem]:
    """Make the clips of a video in one pass over it.

    Args:
        path: The video.
        spans: The parts that are wanted, (start, end) in seconds.
        info: Where it comes from.
        job: Settings.

    Returns:
        The result of each tracked face.

    Raises:
        InputError: Nothing of the video can be used.
        OutputError: A clip can't be written.
    """
    maker = ClipMaker(path, info, job)
    try:
        VideoPass(path, FPS, spans=spans, max_shot_seconds=MAX_SHOT_SECONDS).run(maker)
    except OutputError:
        raise
    except InputError as error:
        raise InputError(str(error).replace(str(path), "the file")) from error
    finally:
        maker.close()
    return maker.items
