"""The ground truth of talking heads against what MediaPipe sees in their frames.

    python3.11 -m venv mediapipe-env && mediapipe-env/bin/pip install mediapipe==0.10.14 'numpy<2' av safetensors soxr
    PYTHONPATH=. mediapipe-env/bin/python benchmarks/heads_truth.py CLIPS [--count 40] [--drivers FOLDER ...]

MediaPipe is no dependency of the package; this runs in an environment of its own. CLIPS is a folder that `emo-prepare
heads` wrote. Each clip is compared with its .truth.npz:

mouth    correlation of the inner lips' gap with the truth's, and its amplitude (90th less 10th percentile) over it
pose     mean error of yaw and pitch in degrees, relative to the portrait, and the slope of what is seen over the truth
blinks   share of the blinks (closed by more than 0.9 at their peak) in which the eyes are seen to close to under half,
         within a frame; and the number of closings that are seen where the truth has none
gaze     mean error of the eyes' yaw and pitch in the head in degrees, relative to the portrait, and slopes, lids open
driven   of clips with a real person's motion: the mouth as MediaPipe sees it in both clips (with --drivers)
"""

import argparse
from pathlib import Path

import cv2
import mediapipe
import numpy as np

from emo.data.clip import Clip, list_clips, load_clip, read_clip_frames
from emo.data.clip_truth import load_clip_truth
from emo.face.landmarks import IRIS_TRAVEL, MEDIAPIPE_TO_IBUG, eye_opening, mouth_opening

RIGID = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 8, 67, 297, 109, 338, 54, 284]
RIGID += [127, 356, 234, 454, 21, 251]  # points of the mesh that neither speech nor brows move much
IRISES = ((33, 133, 468), (362, 263, 473))  # corners and iris, the picture's left eye first
CLOSED, PEAK, OPEN = 0.5, 0.9, 0.3  # of the eyes' usual height: closed; of the truth's blink: a peak, and open lids
Mesh = mediapipe.solutions.face_mesh.FaceMesh


def find_mesh(mesh: Mesh, image: np.ndarray) -> np.ndarray:
    """MediaPipe's points (478 3) of a picture (H W 3), in sides; NaN without a face."""
    found = mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
    if not found:
        return np.full((478, 3), np.nan)
    return np.array([(point.x, point.y, point.z) for point in found[0].landmark])


def find_rotation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotation (3 3) from points (N 3) to points (N 3) (Kabsch 1976)."""
    left, _, right = np.linalg.svd((after - after.mean(0)).T @ (before - before.mean(0)))
    return left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right


def measure_gaze(points: np.ndarray) -> np.ndarray:
    """Gaze (2,) to the picture's left and up, radians, of a mesh (478 3) that is turned to the camera."""
    angles = []
    for first, last, iris in IRISES:
        across = points[last, :2] - points[first, :2]
        offset = points[iris, :2] - (points[first, :2] + points[last, :2]) / 2
        along, down = offset @ across, offset @ np.array([-across[1], across[0]])
        angles.append(-np.arcsin(np.clip(np.array([along, down]) / (across @ across) / IRIS_TRAVEL, -1, 1)))
    return np.mean(angles, 0)


def find_runs(is_inside: np.ndarray) -> list[tuple[int, int]]:
    """First frame and last + 1 of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_inside, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def compare_curves(seen: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Correlation of two curves (T,), and the amplitude of the first over the second's."""
    spread = np.quantile(seen, 0.9) - np.quantile(seen, 0.1), np.quantile(known, 0.9) - np.quantile(known, 0.1)
    return float(np.corrcoef(seen, known)[0, 1]), float(spread[0] / max(spread[1], 1e-6))


def find_meshes(path: Path, mesh: Mesh) -> np.ndarray:
    """MediaPipe's points (T 478 3) of a clip's frames; without a face those of the last frame with one."""
    points = np.array([find_mesh(mesh, frame) for frame in read_clip_frames(path)])
    is_found = np.isfinite(points).all((1, 2))
    if not is_found.any():
        return points
    last = np.maximum.accumulate(np.where(is_found, np.arange(len(points)), int(np.argmax(is_found))))
    return points[last]


def measure_mouth(points: np.ndarray) -> np.ndarray:
    """Mouth opening (T,) of meshes (T 478 3)."""
    return mouth_opening(points[:, MEDIAPIPE_TO_IBUG, :2])


def measure_clip(path: Path, clip: Clip, mesh: Mesh) -> dict[str, np.ndarray | float] | None:
    """Measure a clip.

    Args:
        path: Of its JSON.
        clip: Its content.
        mesh: MediaPipe's face mesh.

    Returns:
        By name: mouth and amplitude; pose and gaze (T' 2 2), what is seen and what is known in degrees; blinks, found
        and wrong; points, the meshes. None if MediaPipe finds no face in the portrait, or in no frame.
    """
    known, points = load_clip_truth(path), find_meshes(path, mesh)
    portrait = find_mesh(mesh, cv2.imdecode(known["portrait"], cv2.IMREAD_COLOR)[..., ::-1])
    if np.isnan(portrait).any() or np.isnan(points).any():
        return None
    rotations = [find_rotation(portrait[RIGID], frame[RIGID]) for frame in points]
    pose = np.array([(np.arctan2(-r[2, 0], r[2, 2]), np.arcsin(np.clip(-r[2, 1], -1, 1))) for r in rotations])
    gaze = np.array([measure_gaze(frame @ r) for frame, r in zip(points, rotations, strict=True)])
    gaze -= measure_gaze(portrait)
    blink, lids = known["blink"].mean(1), eye_opening(points[:, MEDIAPIPE_TO_IBUG, :2])
    is_open = blink < OPEN
    is_seen_closed = lids < CLOSED * np.median(lids[is_open])
    blinks = [(a, b) for a, b in find_runs(blink > 0.5) if blink[a:b].max() > PEAK]
    found = sum(is_seen_closed[max(a - 1, 0) : b + 1].any() for a, b in blinks)
    wrong = sum(blink[max(a - 2, 0) : b + 2].max() < OPEN for a, b in find_runs(is_seen_closed))
    mouth, amplitude = compare_curves(measure_mouth(points), mouth_opening(clip.landmarks))
    return {
        "mouth": mouth,
        "amplitude": amplitude,
        "pose": np.degrees(np.stack([pose, known["head_radians"][:, :2]], 1)),
        "gaze": np.degrees(np.stack([gaze, known["gaze_radians"]], 1))[is_open],
        "blinks": len(blinks),
        "found": int(found),
        "wrong": int(wrong),
        "points": points,
    }


def describe_angles(values: np.ndarray) -> str:
    """Mean errors and slopes of angles (N 2 2), what is seen and what is known, in words."""
    seen, known = values[:, 0], values[:, 1]
    errors = np.abs(seen - known).mean(0)
    slopes = [np.polyfit(known[:, k], seen[:, k], 1)[0] if np.ptp(known[:, k]) > 4 else np.nan for k in range(2)]
    return f"yaw {errors[0]:4.1f} pitch {errors[1]:4.1f} (slopes {slopes[0]:.2f} {slopes[1]:.2f})"


def main() -> None:
    """Measure the clips of a folder and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", help="folder of clips that emo-prepare heads wrote")
    parser.add_argument("--count", type=int, default=40, help="number of clips (40)")
    parser.add_argument("--drivers", nargs="*", default=[], help="folders of the real clips that drove them")
    args = parser.parse_args()
    drivers = {path.stem: path for path in list_clips(args.drivers)} if args.drivers else {}
    mesh = Mesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.3)
    rows, driven, missed = [], [], 0
    for path in list_clips([args.clips])[: args.count]:
        clip = load_clip(path)
        row = measure_clip(path, clip, mesh)
        if row is None:
            missed += 1
            print(f"{path.stem} {clip.info.person:22s} no face is found", flush=True)
            continue
        rows.append(row)
        text = f"{path.stem} {clip.info.person:22s} mouth r {row['mouth']:.3f} amplitude {row['amplitude']:.2f}"
        text += f" pose {describe_angles(row['pose'])} gaze {describe_angles(row['gaze'])}"
        text += f" blinks {row['found']} of {row['blinks']}, {row['wrong']} wrong"
        source = clip.info.source.rpartition("driven by ")[2]
        if source in drivers:
            real = measure_mouth(find_meshes(drivers[source], mesh))
            count = min(len(real), len(row["points"]))
            driven.append(compare_curves(measure_mouth(row["points"])[:count], real[:count]))
            text += f" driven r {driven[-1][0]:.3f} amplitude {driven[-1][1]:.2f}"
        print(text, flush=True)
    print(f"{len(rows)} clips ({missed} more without a face that MediaPipe finds), mean and worst:")
    if not rows:
        return
    for name in ("mouth", "amplitude"):
        values = [row[name] for row in rows]
        middle = f"mean {np.mean(values):.3f} median {np.median(values):.3f}"
        print(f"{name:10s} {middle} from {min(values):.3f} to {max(values):.3f}")
    for name in ("pose", "gaze"):
        print(f"{name:10s} {describe_angles(np.concatenate([row[name] for row in rows]))}")
    blinks, found, wrong = (sum(row[name] for row in rows) for name in ("blinks", "found", "wrong"))
    print(f"{'blinks':10s} {found} of {blinks} found, {wrong} where there is none")
    if driven:
        r, amplitude = np.transpose(driven)
        spread = f"{amplitude.min():.2f} to {amplitude.max():.2f}"
        print(f"{'driven':10s} r {r.mean():.3f} median {np.median(r):.3f} from {r.min():.3f}, amplitude {spread}")


if __name__ == "__main__":
    main()
