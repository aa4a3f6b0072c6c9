"""Our measures against known truth, on drawn talking heads.

    python benchmarks/known_truth.py OUT [--clips 40] [--seen 4] [--size 512]

Head speed and the shift of a sound from the truth's landmarks of --clips clips of eSpeak speech; cuts, mouth opening,
eye opening and gaze from the pixels of --seen of them, which are drawn into OUT (existing ones are not drawn again).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import normalize_landmarks, smooth_regions
from emo.face.detector import FaceDetector
from emo.face.landmarks import LIP_POINTS, MEDIAPIPE_TO_IBUG, eye_opening, mouth_opening
from emo.face.pose import SPEED_REACH_FRAMES, head_speed
from emo.face.refinement import LandmarkRefiner
from emo.face.tracking import track_faces
from emo.media.audio import read_audio
from emo.media.shots import find_shots
from emo.media.video import read_video
from emo.speech.lip_sync import load_lip_sync_scorer, score_lip_sync
from emo.synthetic.drawn_footage import VideoSpec, draw_videos, list_video_specs, make_head, make_performance
from emo.synthetic.drawn_head import rotation_matrix

TEXTS = [
    "My mother baked big apple pies, and Bob washed the boots. Then we saw the boats move away from the shore.",
    "Please bring the blue paper bag to the market before the shop closes. My father will wait for you at the door.",
    "We were away a year ago, and now the weather has become warmer. Most people open their windows in the morning.",
    "The old piano by the wall was never in tune. Who would have thought that somebody might want to buy it?",
    "A quick brown fox jumps over the lazy dog while people watch. Both of them have done it many times before.",
]
OPEN_EYE_BLINK = 0.3  # of a blink, below which the eyes are open
MAX_SHIFT_FRAMES = 10  # frames by which a sound is shifted


def known_speed(rotations: np.ndarray) -> np.ndarray:
    """(T,) radians per second of the truth's yaw, pitch, roll (T 3), over the time that emo.face.pose takes."""
    turns = np.stack([rotation_matrix(*angles) for angles in rotations.astype(float)])
    frames = np.arange(len(turns))
    before, after = np.maximum(frames - SPEED_REACH_FRAMES, 0), np.minimum(frames + SPEED_REACH_FRAMES, len(turns) - 1)
    chord = np.linalg.norm(turns[after] - turns[before], axis=(1, 2)) / np.sqrt(8)  # sine of half the angle
    return 2 * np.arcsin(chord) * FPS / (after - before)


def shift_error(landmarks: np.ndarray, wave: np.ndarray, late_frames: int) -> int:
    """Frames by which the lip-sync scorer errs over a sound `late_frames` late; landmarks (T 68 2) pixels."""
    normalized = normalize_landmarks(landmarks, smooth_regions(landmarks))
    late = round(late_frames / FPS * SAMPLE_RATE)
    shifted = np.pad(wave, (max(late, 0), max(-late, 0)))[max(-late, 0) :][: len(wave)]
    return score_lip_sync(normalized[:, LIP_POINTS], shifted, load_lip_sync_scorer(), FPS).offset_frames - late_frames


def measure_truth(take: VideoSpec, late_frames: int) -> tuple[float, float, int, int]:
    """Mean true head speed, that of emo.face.pose, and the error in frames of the shift that the lip-sync scorer finds,
    of the head as it turns and of one that looks straight ahead."""
    with tempfile.TemporaryDirectory() as folder:
        motion = make_performance(take, None, Path(folder) / "sound.wav")
        wave = read_audio(Path(folder) / "sound.wav", SAMPLE_RATE)
    head, poses = make_head(take.seed, 64), [motion.get_pose(k) for k in range(len(motion))]
    straight = [replace(pose, rotation=(0.0, 0.0, 0.0)) for pose in poses]
    turned, ahead = (
        np.stack([head.compute_landmarks(pose)[MEDIAPIPE_TO_IBUG, :2] for pose in those]) for those in (poses, straight)
    )
    errors = [shift_error(landmarks, wave, late_frames) for landmarks in (turned, ahead)]
    return known_speed(motion.head_rotation).mean(), head_speed(turned, FPS).mean(), *errors


def measure_pixels(video: Path, detector: FaceDetector, parts: LandmarkRefiner) -> np.ndarray:
    """(4,): r of the mouth opening that is seen in the pixels and of the true one, and its amplitude over the true; r
    of the eyes' opening; degrees by which the gaze errs while the eyes are open, mean of both ways."""
    true = load_file(video.with_suffix(".safetensors"))
    tracks = track_faces(read_video(video), detector, parts)
    if not tracks:
        return np.array([0.0, 0.0, 0.0, np.nan])
    track, seen = tracks[0], np.isfinite(tracks[0].landmarks[:, 0, 0])
    points, true = track.landmarks[seen], {name: v[track.first_frame : track.end][seen] for name, v in true.items()}
    mouth, eyes, awake = mouth_opening(points), eye_opening(points), true["blink"] < OPEN_EYE_BLINK
    true_eyes = eye_opening(true["landmarks"][:, MEDIAPIPE_TO_IBUG, :2])
    error = np.degrees(np.abs(track.gaze[seen] + true["gaze"])[awake]).mean()  # the truth's is to the right and down
    mouth_r, eyes_r = np.corrcoef(mouth, true["mouth_opening"])[0, 1], np.corrcoef(eyes, true_eyes)[0, 1]
    return np.array([mouth_r, mouth.std() / true["mouth_opening"].std(), eyes_r, error])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seen", type=int, default=4)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()

    # landmarks of the truth
    random, rows = np.random.default_rng(0), []
    for take in list_video_specs(TEXTS, [], args.clips, 0):
        late = int(random.integers(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1))
        known, found, turned, ahead = measure_truth(take, late)
        rows.append((found / known, turned, ahead))
        print(f"{take.name}  head speed {known:.3f} rad/s, ratio {found / known:.3f}  shift {late:+d}", end="")
        print(f", error {turned:+d}, looking ahead {ahead:+d}", flush=True)
    ratio, *errors = np.array(rows).T
    right = (abs(ratio - 1) <= 0.1).mean()
    print(f"head speed: ratio {ratio.min():.3f} .. {ratio.max():.3f}, within 10 %: {right:.0%}")
    turned, ahead = np.mean(np.abs(errors) <= 1, axis=1)
    print(f"shift within 1 frame: {turned:.0%} of {len(rows)} clips, {ahead:.0%} where the head looks straight ahead")

    # pixels
    takes, detector, parts = list_video_specs(TEXTS, [], args.seen, 0), FaceDetector(), LandmarkRefiner()
    draw_videos(args.out, takes, args.size, 4.0)
    videos = [args.out / take.row["file"] for take in takes]
    seen = [measure_pixels(video, detector, parts) for video in videos]
    for name, row in zip([*(video.stem for video in videos), "mean"], [*seen, np.mean(seen, axis=0)], strict=True):
        print("{}  mouth opening r {:.3f}, amplitude {:.2f}  eyes r {:.3f}, gaze off by {:.1f}°".format(name, *row))
    misses = []
    for one, other in zip(videos, videos[1:], strict=False):
        first, second = list(read_video(one)), list(read_video(other))
        cuts = [start for start, _ in find_shots(first + second)[1:]]
        misses.append(abs(cuts[0] - len(first)) if len(cuts) == 1 else len(first))
    print(f"cuts: found within 1 frame, and no other, {(np.array(misses) <= 1).mean():.0%} of {len(misses)}")


if __name__ == "__main__":
    main()
