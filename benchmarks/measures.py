"""Faults x measures: which figure of emo-eval moves with which fault, on real footage.

    python benchmarks/measures.py OUT --clips FOLDER [--planted 2] [--seconds 6] [--window 12]

The first --planted videos of FOLDER (5 s or longer: shorter ones have no drift) get each fault of emo.metrics.faults in
turn, and their faces are tracked anew. A cell is by how much the figure moved, mean of these clips, in standard
deviations of that figure over all clips of FOLDER. OUT/matrix.png and OUT/matrix.json show it; a cell is framed where
the figure must move. Tracks are stored in OUT/tracks, so the same command resumes.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from emo.core.files import hash_files
from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import read_audio
from emo.media.video import read_video
from emo.metrics.faults import Fault, Footage, list_faults
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks
from emo.metrics.runner import list_videos
from emo.metrics.single_pass import EvaluationPass, VideoGroup
from emo.metrics.tracks import VideoTracks, load_tracks, make_face_tracker, save_tracks, track_frames

CELL, NAMES, HEAD = (58, 20), 150, 150  # pixels: width and height of a cell, width of the names, height of the head
STRONG = 3.0  # deviations that are drawn as the deepest color


def read_footage(video: Path, tracks: VideoTracks, seconds: float) -> Footage:
    frames = list(islice(read_video(video, FPS), round(seconds * FPS)))
    wave = read_audio(video, SAMPLE_RATE, 0.0, len(frames) / FPS)
    return Footage(frames, wave, tracks.landmarks[: len(frames)].astype(np.float32))


def track_fault(footage: Footage, fault: Fault | None, path: Path) -> VideoTracks:
    """The tracks of a clip with a fault, stored in a file."""
    if not path.exists():
        faulty = fault.apply(footage) if fault else footage
        save_tracks(path, track_frames(faulty.frames, faulty.wave, make_face_tracker()))
    return load_tracks(path)


def draw(moved: dict[str, dict[str, float]], faults: dict[str, Fault], path: Path) -> None:
    """The matrix as a picture: red rises, blue falls, framed where it must."""
    columns = [*next(iter(moved.values()))]
    size = NAMES + CELL[0] * len(columns), HEAD + CELL[1] * len(moved)
    names = Image.new("L", (HEAD, CELL[0] * len(columns)), 255)
    for k, name in enumerate(columns):
        ImageDraw.Draw(names).text((4, CELL[0] * k + CELL[0] // 2 - 6), name, 0)
    picture = Image.new("RGB", size, "white")
    picture.paste(names.rotate(90, expand=True), (NAMES, 0))
    pen = ImageDraw.Draw(picture)
    for row, (fault, figures) in enumerate(moved.items()):
        pen.text((4, HEAD + CELL[1] * row + 4), fault, "black")
        for column, (name, value) in enumerate(figures.items()):
            x, y = NAMES + CELL[0] * column, HEAD + CELL[1] * row
            pale = 255 - round(200 * min(1.0, abs(value) / STRONG)) if np.isfinite(value) else 255
            color = (255, pale, pale) if value > 0 else (pale, pale, 255)
            frame = "black" if faults[fault].expected_changes.get(name) else None
            pen.rectangle((x + 1, y + 1, x + CELL[0] - 2, y + CELL[1] - 2), color, frame)
            pen.text((x + 10, y + 4), f"{value:+.1f}" if np.isfinite(value) else "-", "black")
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--planted", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--window", type=int, default=12)
    args = parser.parse_args()
    (args.out / "tracks").mkdir(parents=True, exist_ok=True)
    videos, measures = list_videos(args.clips), list_measures(EvaluationOptions(args.window))
    evaluation_pass = EvaluationPass(args.out / "tracks")
    all_tracks = [evaluation_pass(VideoGroup((video,)))[video].load() for video in videos]
    spread = np.nanstd([list(measure_tracks(tracks, measures).values()) for tracks in all_tracks], axis=0)
    faults, rows = list_faults(args.window), {}
    for video, tracks in zip(videos[: args.planted], all_tracks, strict=False):
        footage = read_footage(video, tracks, args.seconds)
        for name, fault in {"": None, **faults}.items():
            path = args.out / "tracks" / f"{hash_files(video)}_{args.seconds:g}_{name.replace(' ', '_')}.safetensors"
            figures = measure_tracks(track_fault(footage, fault, path), measures)
            rows.setdefault(name, []).append(list(figures.values()))
            print(f"{video.stem}: {name or 'unchanged'}", flush=True)
    clean = np.array(rows.pop(""))
    moved = {name: np.nanmean(np.array(values) - clean, axis=0) / spread for name, values in rows.items()}
    matrix = {name: dict(zip([m.name for m in measures], row.tolist(), strict=True)) for name, row in moved.items()}
    (args.out / "matrix.json").write_text(json.dumps(matrix, indent=1))
    draw(matrix, faults, args.out / "matrix.png")
    for name, figures in matrix.items():
        print(f"{name:18}", *(f"{measure} {value:+.1f}" for measure, value in figures.items() if abs(value) >= 0.5))


if __name__ == "__main__":
    main()
