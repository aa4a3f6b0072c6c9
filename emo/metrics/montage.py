"""Videos that show clips side by side, the real one and the generated one, written by moviepy (extra `eval`)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.files import move_file
from emo.metrics.gallery import best_and_worst
from emo.metrics.report import Report
from emo.metrics.score import SetScore

MIN_HEIGHT_PIXELS, MAX_HEIGHT_PIXELS = 360, 720  # of a clip in a montage
LABEL_PIXELS = 32  # height of the line above a clip
FONT_PIXELS = 16
BT709 = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-color_range", "tv"]
BT709 += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]


def check_moviepy() -> None:
    """Raises InputError if moviepy is missing."""
    if find_spec("moviepy") is None:
        raise InputError("montage=True: moviepy is missing: pip install 'emo-portrait[eval]'")


def check_references(videos: list[list[Path]], real: list[Path]) -> None:
    """Check that a montage can be made, before anything is measured.

    Args:
        videos: The videos of each generated set.
        real: The real videos.

    Raises:
        InputError: No generated video has the name of a real one.
    """
    names = {path.stem for path in real}
    if not any(path.stem in names for paths in videos for path in paths):
        raise InputError(
            f"montage=True: no video has the name of one in {real[0].parent}: name them like the real ones"
        )


def write_montages(report: Report, videos: list[list[Path]], real: list[Path], out: Path) -> list[Path]:
    """Write montages of the best and the worst clips of each set, by closeness to real footage.

    Args:
        report: The results; its first sets are those of `videos`.
        videos: The videos of each generated set.
        real: The real videos; clips without a real one of the same name are left out.
        out: The folder of the evaluation.

    Returns:
        The files `out`/montages/SET/best_1.mp4, worst_1.mp4, ...

    Raises:
        InputError: A video can't be read, or a montage can't be written.
    """
    references, written = {path.stem: path for path in real}, []
    for one, paths in zip(report.sets, videos, strict=False):
        folder = out / "montages" / one.name
        for rank, pair in enumerate(select_pairs(one, references), 1):
            for kind, clip in zip(("best", "worst"), pair, strict=True):
                path, score = paths[clip], one.clip_scores[clip]
                labels = f"reference: {path.stem}", f"generated: {one.name}, score {score:.2f}"
                written.append(write_montage(references[path.stem], path, folder / f"{kind}_{rank}.mp4", labels))
    return written


def select_pairs(one: SetScore, references: dict[str, Path]) -> list[tuple[int, int]]:
    """Pair the best clip with the worst, the second best with the second worst, among clips that have a reference.

    Args:
        one: Scores of the generated set.
        references: Name of a clip -> the real video of the same name.

    Returns:
        Pairs of indices in `one.clips`.
    """
    has_reference = np.array([name in references for name in one.clips])
    return best_and_worst(np.where(has_reference, one.clip_scores, np.nan))


def write_montage(reference: Path, generated: Path, output: Path, labels: tuple[str, str]) -> Path:
    """Write two videos side by side, each below its label, with the sound of the generated one.

    Args:
        reference: The left video.
        generated: The right one, whose frame rate is taken.
        output: The mp4; its folder is made, and a file of that name is replaced.
        labels: One line above each video.

    Returns:
        `output`.

    Raises:
        InputError: A video can't be read.
        OutputError: The file can't be written.
    """
    from moviepy import TextClip, VideoFileClip, clips_array

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output.parent} can't be made ({error.strerror}): choose another -o") from error
    part = output.with_suffix(".part.mp4")
    try:
        with VideoFileClip(str(reference), audio=False) as left, VideoFileClip(str(generated)) as right:
            seconds = min(left.duration, right.duration)
            height = int(np.clip(max(left.h, right.h), MIN_HEIGHT_PIXELS, MAX_HEIGHT_PIXELS)) // 2 * 2
            titles, clips = [], []
            for clip, label in zip((left, right), labels, strict=True):
                width = round(clip.w * height / clip.h / 2) * 2
                clips.append(clip.resized((width, height)))
                titles.append(
                    TextClip(
                        text=fit_label(label, width),
                        font_size=FONT_PIXELS,
                        size=(width, LABEL_PIXELS),
                        color="white",
                        bg_color="black",
                        method="caption",
                        text_align="center",
                        duration=seconds,
                    )
                )
            montage = clips_array([titles, clips]).with_duration(seconds).with_audio(right.audio)
            montage.write_videofile(
                str(part),
                fps=right.fps,
                codec="libx264",
                audio_codec="aac",
                preset="veryfast",
                pixel_format="yuv420p",
                ffmpeg_params=["-crf", "18", *BT709],
                logger=None,
                temp_audiofile_path=str(output.parent),
            )
        move_file(part, output)
    except (OSError, ValueError) as error:  # moviepy's errors hold ffmpeg's whole log
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{output}: moviepy can't join {reference} and {generated} ({reason})") from error
    finally:
        part.unlink(missing_ok=True)
    return output


def fit_label(label: str, width: int) -> str:
    """Shorten a label to one line.

    Args:
        label: The text.
        width: Width of the line in pixels.

    Returns:
        The label, or its start and an ellipsis.
    """
    characters = max(1, 2 * width // FONT_PIXELS - 2)
    return label if len(label) <= characters else label[: characters - 1] + "…"
