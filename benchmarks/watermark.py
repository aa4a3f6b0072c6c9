"""How well the watermark survives: clips are marked, attacked, and searched for the mark.

    python benchmarks/watermark.py robustness VIDEOS --clips 8 --output marks.jsonl
    python benchmarks/watermark.py unmarked VIDEOS PICTURES ... --output unmarked.jsonl
    python benchmarks/watermark.py cost VIDEOS
    python benchmarks/watermark.py sheet VIDEO --output sheet.png
    python benchmarks/watermark.py table marks.jsonl

VIDEOS are folders. `robustness` and `unmarked` add a line of JSON for each case and skip cases that are in the file, so
they can be stopped and continued.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from emo.media.color import tag_bt709, to_yuv
from emo.media.image import read_image
from emo.media.video import VIDEO_SUFFIXES, read_video
from emo.provenance.detection import Evidence, find_watermark, sum_frames
from emo.provenance.payload import Payload
from emo.provenance.watermark import Watermark

FPS = 25
STEP = 3  # every third decoded frame is looked at, as emo-detect does
Frames = list[np.ndarray]


def each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frames], Frames]:
    return lambda frames: [np.ascontiguousarray(change(frame)) for frame in frames]


def crop(share: float) -> Callable[[Frames], Frames]:
    def cut(frame: np.ndarray) -> np.ndarray:
        height, width = (round(share * side) for side in frame.shape[:2])
        top, left = (frame.shape[0] - height) // 3, (frame.shape[1] - width) * 2 // 3
        return frame[top : top + height, left : left + width]

    return each(cut)


def resize(scale: float) -> Callable[[Frames], Frames]:
    return each(lambda f: cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 2))


def rotate(degrees: float) -> Callable[[Frames], Frames]:
    def turn(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        return cv2.warpAffine(frame, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))

    return each(turn)


def levels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frames], Frames]:
    table = np.clip(np.rint(change(np.arange(256.0))), 0, 255).astype(np.uint8)
    return each(lambda frame: table[frame])


def saturate(factor: float) -> Callable[[Frames], Frames]:
    def change(frame: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        return np.clip(grey + factor * (frame - grey), 0, 255).astype(np.uint8)

    return each(change)


def add_noise(frames: Frames) -> Frames:
    rng = np.random.default_rng(0)
    return [np.clip(f + rng.normal(0, 8, f.shape[:2] + (1,)), 0, 255).astype(np.uint8) for f in frames]


def subtitle(frame: np.ndarray) -> np.ndarray:
    frame, height = frame.copy(), frame.shape[0]
    where = (frame.shape[1] // 10, height - height // 10)
    for color, width in (((0, 0, 0), 8), ((255, 255, 255), 2)):
        cv2.putText(frame, "This is what was said, in words", where, 0, height / 600, color, width, cv2.LINE_AA)
    return frame


def jpeg(frame: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def record_screen(frames: Frames) -> Frames:
    """Resampled by an odd factor with a soft filter, with a gamma, placed on a desktop, at 30 fps."""
    table = np.rint(255 * (np.arange(256) / 255) ** 0.9).astype(np.uint8)
    out = []
    for frame in change_rate(frames):
        picture = table[cv2.GaussianBlur(cv2.resize(frame, None, fx=0.87, fy=0.87), (0, 0), 0.6)]
        out.append(cv2.copyMakeBorder(picture, 30, 50, 40, 40, cv2.BORDER_CONSTANT, value=(60, 62, 70)))
    return out


def change_rate(frames: Frames) -> Frames:
    """25 -> 30 fps: every fifth frame twice."""
    return [frames[k * 5 // 6] for k in range(len(frames) * 6 // 5)]


def average(frames: Frames) -> Frames:
    return [np.mean(frames[max(0, k - 2) : k + 3], axis=0).astype(np.uint8) for k in range(len(frames))]


def mark_again(frames: Frames) -> Frames:
    return each(Watermark(Payload(123456, 654)).mark)(frames)


def regenerate(frames: Frames) -> Frames:
    """The first frame, moved as every fifth one, by the autoencoder of the shipped model, at 256 x 256."""
    import torch

    from emo import EMOPipeline
    from emo.media.image import images_to_tensor, tensor_to_images

    vae = EMOPipeline.from_pretrained("mini").vae
    small = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in frames[::5]]
    tensors = images_to_tensor(np.stack(small))
    with torch.no_grad():
        out = [tensor_to_images(vae.decode(vae.encode(t[None], tensors[:1]), tensors[:1]))[0] for t in tensors]
    return [frame for frame in out for _ in range(5)]


@dataclass(frozen=True)
class Attack:
    """What is done to the frames, and how they are encoded then."""

    change: Callable[[Frames], Frames] = lambda frames: frames
    codec: str = "libx264"
    crf: int = 23
    rounds: int = 1
    fps: int = FPS


ATTACKS = {
    **{f"H.264 CRF {crf}": Attack(crf=crf) for crf in (18, 23, 28, 32, 36, 40)},
    "resize 0.5": Attack(resize(0.5)),
    "resize 1.5": Attack(resize(1.5)),
    "crop 0.8": Attack(crop(0.8)),
    "brightness +40": Attack(levels(lambda v: v + 40)),
    "contrast 1.4": Attack(levels(lambda v: 128 + 1.4 * (v - 128))),
    "gamma 1.5": Attack(levels(lambda v: 255 * (v / 255) ** 1.5)),
    "saturation 0": Attack(saturate(0.0)),
    "saturation 1.8": Attack(saturate(1.8)),
    "25 -> 30 fps": Attack(change_rate, fps=30),
    "subtitles": Attack(each(subtitle)),
    "drop 1 of 4 frames": Attack(lambda frames: [f for k, f in enumerate(frames) if k % 4]),
    **{f"H.265 CRF {crf}": Attack(codec="libx265", crf=crf) for crf in (23, 28, 32, 36)},
    **{f"VP9 CRF {crf}": Attack(codec="libvpx-vp9", crf=crf) for crf in (31, 40)},
    **{f"AV1 CRF {crf}": Attack(codec="libsvtav1", crf=crf) for crf in (32, 40)},
    "resize 0.4": Attack(resize(0.4)),
    "resize 0.7": Attack(resize(0.7)),
    "crop 0.6": Attack(crop(0.6)),
    "rotate 5": Attack(rotate(5)),
    "blur 1.5 px": Attack(each(lambda f: cv2.GaussianBlur(f, (0, 0), 1.5))),
    "noise 8": Attack(add_noise),
    "JPEG 50 frames": Attack(each(jpeg)),
    "screen recording": Attack(record_screen, fps=30),
    "border 10 %": Attack(each(lambda f: cv2.copyMakeBorder(f, *[f.shape[0] // 10] * 4, cv2.BORDER_CONSTANT))),
    "mirrored": Attack(each(lambda f: f[:, ::-1])),
    "crop 0.8, CRF 32": Attack(crop(0.8), crf=32),
    "resize 0.5, CRF 32": Attack(resize(0.5), crf=32),
    "crop 0.7, brightness +40": Attack(lambda frames: levels(lambda v: v + 40)(crop(0.7)(frames))),
    "denoise": Attack(each(lambda f: cv2.bilateralFilter(f, 7, 30, 5))),
    "encode twice, CRF 30": Attack(crf=30, rounds=2),
    "average of 5 frames": Attack(average),
    "a second mark": Attack(mark_again),
    "our autoencoder": Attack(regenerate),
}


def encode(frames: Frames, codec: str, crf: int, fps: int) -> bytes:
    """Encode frames as an mp4 in memory, with the codec's usual settings, VP9 and AV1 at their quick ones."""
    data = io.BytesIO()
    options = {
        "libx264": {},
        "libx265": {"preset": "fast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"b": "0", "deadline": "realtime", "cpu-used": "6"},
        "libsvtav1": {"preset": "9", "svtav1-params": "lp=1"},
    }[codec]
    with av.open(data, "w", "mp4") as container:
        stream = container.add_stream(codec, rate=fps)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {**options, "crf": str(crf)}
        stream.codec_context.thread_count = 1
        tag_bt709(stream.codec_context)
        for index, frame in enumerate(frames):
            picture = to_yuv(frame)
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return data.getvalue()


def decode(data: bytes, step: int = 1) -> Frames:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 0, None, step)]


def attack_frames(frames: Frames, attack: Attack) -> Frames:
    frames = attack.change(frames)
    for number in range(attack.rounds):
        last = number == attack.rounds - 1
        frames = decode(encode(frames, attack.codec, attack.crf, attack.fps), STEP if last else 1)
    return frames


def load_clip(path: Path, seconds: float, side: int) -> Frames:
    """The first seconds of a video, its shorter side made `side` pixels where it is larger."""
    frames = []
    for frame in islice(read_video(path, FPS), round(seconds * FPS)):
        scale = min(1.0, side / min(frame.shape[:2]))
        size = [round(scale * value / 2) * 2 for value in frame.shape[1::-1]]
        frames.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    return frames


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find_files(folders: Iterable[Path], suffixes: set[str]) -> list[Path]:
    found = [f for folder in folders for f in ([folder] if folder.is_file() else sorted(folder.rglob("*")))]
    return [path for path in found if path.suffix.lower() in suffixes]


def measure_robustness(args: argparse.Namespace) -> None:
    clips = find_files(args.inputs, VIDEO_SUFFIXES)
    clips = clips[:: max(1, len(clips) // args.clips)][: args.clips]
    done = {(line["clip"], line["attack"]) for line in read_lines(args.output)}
    chosen = [name for name in ATTACKS if not args.attacks or any(word in name for word in args.attacks)]
    for number, path in enumerate(clips):
        missing = [name for name in chosen if (path.name, name) not in done]
        if not missing:
            continue
        payload = Payload(int.from_bytes(np.random.default_rng(number).bytes(5), "big"), number)
        marked = each(Watermark(payload).mark)(load_clip(path, args.seconds, args.side))
        for name in missing:
            frames = attack_frames(marked, ATTACKS[name])
            found = find_watermark(Evidence(sum_frames(frames, len(frames)), 1.0, 1.0))
            right = found.payload == payload
            line = {"clip": path.name, "attack": name, "found": found.found, "payload": right}
            line |= {"probability": found.false_alarm_probability, "frames": len(marked), "shape": marked[0].shape[:2]}
            with args.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)


def measure_unmarked(args: argparse.Namespace) -> None:
    done = {line["file"] for line in read_lines(args.output)}
    files = find_files(args.inputs, VIDEO_SUFFIXES | {".png", ".jpg", ".jpeg", ".webp"})
    rng = np.random.default_rng(0)
    noises = {f"noise {k}": np.uint8(rng.integers(0, 256, (256, 256, 3))) for k in range(args.noise)}
    cases = {str(path): path for path in files} | noises
    for name, source in cases.items():
        if name in done:
            continue
        if isinstance(source, np.ndarray):
            frames = [source]
        elif source.suffix.lower() in VIDEO_SUFFIXES:
            frames = list(islice(read_video(source, 5.0), 10))
        else:
            frames = [read_image(source)]
        found = find_watermark(Evidence(sum_frames(frames, len(frames)), 1.0, 1.0), thorough=args.thorough)
        line = {"file": name, "found": found.found, "probability": found.false_alarm_probability}
        with args.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
    lines = read_lines(args.output)
    least = min(line["probability"] for line in lines)
    print(f"{sum(line['found'] for line in lines)} of {len(lines)} found, least probability {least:.2g}")


def measure_cost(args: argparse.Namespace) -> None:
    """PSNR, temporal difference, milliseconds of CPU and size of the file."""
    for path in find_files(args.inputs, VIDEO_SUFFIXES)[: args.clips]:
        frames = load_clip(path, args.seconds, args.side)
        watermark = Watermark(Payload(1))
        marked = each(watermark.mark)(frames)
        began = time.process_time()
        for frame in frames:
            watermark.mark(frame)
        milliseconds = 1000 * (time.process_time() - began) / len(frames)
        error = np.mean([(a.astype(np.float32) - b) ** 2 for a, b in zip(frames, marked, strict=True)])
        change = [
            np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in zip(clip, clip[1:], strict=False)])
            for clip in (frames, marked)
        ]
        sizes = [len(encode(clip, "libx264", 16, FPS)) for clip in (frames, marked)]
        print(
            f"{path.name} {frames[0].shape[:2]}: PSNR {10 * np.log10(255**2 / error):.2f} dB, temporal difference "
            f"{100 * (change[1] / change[0] - 1):+.2f} %, {milliseconds:.2f} ms a frame, "
            f"H.264 CRF 16 {100 * (sizes[1] / sizes[0] - 1):+.1f} %",
            flush=True,
        )


def draw_sheet(args: argparse.Namespace) -> None:
    """Unmarked, marked, and the difference x 20 around grey."""
    rows = []
    for path in args.inputs:
        frame = load_clip(path, 0.04, args.side)[0] if path.suffix in VIDEO_SUFFIXES else read_image(path)
        marked = Watermark(Payload(1)).mark(frame)
        difference = np.clip(128 + 20 * (marked.astype(np.int16) - frame), 0, 255).astype(np.uint8)
        row = np.concatenate([frame, marked, difference], axis=1)
        rows.append(cv2.resize(row, (1536, round(row.shape[0] * 1536 / row.shape[1])), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(args.output), np.concatenate(rows)[..., ::-1])


def print_table(args: argparse.Namespace) -> None:
    lines = [line for path in args.inputs for line in read_lines(path)]
    print("| attack | clips | found | payload right, of those found |\n|---|---|---|---|")
    for name in ATTACKS:
        cases = [line for line in lines if line["attack"] == name]
        found = [line for line in cases if line["found"]]
        if cases:
            right = f"{sum(line['payload'] for line in found)} of {len(found)}"
            print(f"| {name} | {len(cases)} | {len(found)} | {right} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {
        "robustness": measure_robustness,
        "unmarked": measure_unmarked,
        "cost": measure_cost,
        "sheet": draw_sheet,
        "table": print_table,
    }
    parser.add_argument("job", choices=jobs)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--attacks", nargs="*", help="parts of names of attacks (default: all)")
    parser.add_argument("--noise", type=int, default=0, help="pictures of noise, besides the files")
    parser.add_argument("--thorough", action="store_true", help="unmarked: search crops and turns too")
    args = parser.parse_args()
    jobs[args.job](args)


if __name__ == "__main__":
    main()
