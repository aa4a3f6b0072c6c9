"""Faults x measures: which figure of emo-eval moves under which fault, on real footage.

    python benchmarks/measures.py OUT --clips FOLDER [--planted 2] [--seconds 6] [--window 12]

The first --planted videos of FOLDER (5 s or longer, or nothing is said of drift) get each fault of
emo.metrics.faults in turn, and faces and landmarks are looked for anew. A cell is by how much the figure moved, mean
of the planted clips, in deviations of that figure over all clips of FOLDER. OUT/matrix.png and OUT/matrix.json show it;
a cell is framed where the figure must move. Tracks are kept in OUT/tracks: the same command goes on.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import read_audio
from emo.media.video import read_video
from emo.metrics.faults import Fault, Footage, faults
from emo.metrics.registry import Asked, measure_tracks, measures
from emo.metrics.tracks import Tracks, Watch, content_name, follower, list_videos, load_tracks, save_tracks, track_video

CELL, NAMES, HEAD = (58, 20), 150, 150  # pixels: width and height of a cell, width of the names, height of the head
STRONG = 3.0  # deviations that are drawn as the deepest colour


def footage_of(video: Path, tracks: Tracks, seconds: float) -> Footage:
    frames = list(islice(read_video(video, FPS), round(seconds * FPS)))
    wave = read_audio(video, SAMPLE_RATE, 0.0, len(frames) / FPS)
    return Footage(frames, wave, tracks.landmarks[: len(frames)].astype(np.float32))


def planted(footage: Footage, fault: Fault | None, path: Path) -> Tracks:
    """What is seen of a clip with a fault; kept in a file."""
    if not path.exists():
        faulty = fault.plant(footage) if fault else footage
        save_tracks(path, track_video(faulty.frames, faulty.wave, follower()))
    return load_tracks(path)


def draw(moved: dict[str, dict[str, float]], told: dict[str, Fault], path: Path) -> None:
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
            colour = (255, pale, pale) if value > 0 else (pale, pale, 255)
            frame = "black" if told[fault].told_by.get(name) else None
            pen.rectangle((x + 1, y + 1, x + CELL[0] - 2, y + CELL[1] - 2), colour, frame)
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
    videos, watch, those = list_videos(args.clips), Watch(args.out / "tracks"), measures(Asked(args.window))
    all_tracks = [load_tracks(watch(video)) for video in videos]
    spread = np.nanstd([list(measure_tracks(tracks, those).values()) for tracks in all_tracks], axis=0)
    told, rows = faults(args.window), {}
    for video, tracks in zip(videos[: args.planted], all_tracks, strict=False):
        footage = footage_of(video, tracks, args.seconds)
        for name, fault in {"": None, **told}.items():
            path = args.out / "tracks" / f"{content_name(video)}_{args.seconds:g}_{name.replace(' ', '_')}.safetensors"
            figures = measure_tracks(planted(footage, fault, path), those)
            rows.setdefault(name, []).append(list(figures.values()))
            print(f"{video.stem}: {name or 'as it is'}", flush=True)
    clean = np.array(rows.pop(""))
    moved = {name: np.nanmean(np.array(values) - clean, axis=0) / spread for name, values in rows.items()}
    matrix = {name: dict(zip([m.name for m in those], row.tolist(), strict=True)) for name, row in moved.items()}
    (args.out / "matrix.json").write_text(json.dumps(matrix, indent=1))
    draw(matrix, told, args.out / "matrix.png")
    for name, figures in matrix.items():
        print(f"{name:18}", *(f"{measure} {value:+.1f}" for measure, value in figures.items() if abs(value) >= 0.5))


if __name__ == "__main__":
    main()
