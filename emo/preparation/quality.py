"""What a face looks like through a piece of footage: one measure each, of a few frames.

A burst is BURST frames within half a second; a piece has one every two seconds, and never fewer than LEAST_BURSTS.
B bursts, N = BURST * B frames, all crops uint8.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from emo.core.timing import FPS
from emo.face.crop import crop, cut, region_of_landmarks, transform
from emo.face.tracking import Track
from emo.media.image import sharpness

BURST, STEP_FRAMES = 3, 6  # frames of a burst, and from one of them to the next
LEAST_BURSTS, BURST_SECONDS = 8, 2.0
FACE_PIXELS = 128  # side of the square that is looked at
FACE = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (64, 62), (34, 46), 0, 0, 360, 1, -1) > 0
COARSE = 4  # pixels of the square that are one where change is looked for: finer, it is compression
STROKE_PIXELS, STROKE_GREY = 9, 45.0  # strokes of letters are thinner, and so much brighter than what is around
LINE_PIXELS = 5  # a line of writing is at least so high
LATTICE = np.stack(np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5), -1).reshape(-1, 2) / 16  # of a square
FRAME_PIXELS = 320  # width of the frame at which bars are looked for
BLACK, LIT = 24, 0.3  # grey levels of a bar at most; share of the row beside it that is brighter at some time


@dataclass
class Sight:
    """What was measured; `screen.Limits` says what is kept."""

    sharpness: float
    change: float
    bars: float
    letters: float
    outside: float  # share of the face's squares that lies beyond the frame


UNSEEN = Sight(*[np.nan] * 5)


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def change(faces: Sequence[np.ndarray]) -> float:
    """faces N of (128 128 3), each upright in its square -> grey levels by which the tenth of the face that moves
    most strays from its mean over time. A photo stays the same, however the camera goes over it."""
    size = FACE_PIXELS // COARSE
    small = [cv2.resize(grey(face), (size, size), interpolation=cv2.INTER_AREA) for face in faces]
    inside = np.stack(small).astype(np.float32)[:, FACE[COARSE // 2 :: COARSE, COARSE // 2 :: COARSE]]
    return float(np.quantile((inside - inside.mean(1, keepdims=True)).std(0), 0.9))


def content(brightest: np.ndarray) -> tuple[int, int, int, int]:
    """brightest (H W), the most that each pixel ever showed -> the box (x0, y0, x1, y1) inside of the black bars.
    The dark of a room is no bar: what is beside a bar is lit along much of it."""
    ends = []
    for lit in (brightest.T > BLACK, brightest > BLACK):
        share = lit.mean(1)
        rows = np.flatnonzero(share > 0.02)
        first, last = (rows[0], rows[-1]) if len(rows) else (0, len(lit) - 1)
        ends += [first if share[first : first + 3].max() > LIT else 0]
        ends += [last + 1 if share[max(0, last - 2) : last + 1].max() > LIT else len(lit)]
    x0, x1, y0, y1 = map(int, ends)
    return x0, y0, x1, y1


def bar_share(brightest: np.ndarray, points: np.ndarray) -> float:
    """brightest (H W); points (M 2) of the face's squares, in its pixels -> the share of them that bars hide. Beyond
    the frame its border goes on."""
    height, width = brightest.shape
    x0, y0, x1, y1 = content(brightest)
    x, y = points.T
    left, right = (x0 > 0) & (x < x0), (x1 < width) & (x >= x1)
    return float((left | right | ((y0 > 0) & (y < y0)) | ((y1 < height) & (y >= y1))).mean())


def letters(boxes: np.ndarray) -> float:
    """boxes (BURST 64 128), one place of the frame at several times -> how many bright thin strokes stand there,
    side by side in one line, and do not move."""
    kernel = np.ones((STROKE_PIXELS, STROKE_PIXELS), np.uint8)
    low, high = boxes.min(0), boxes.max(0)
    strokes = (cv2.morphologyEx(low, cv2.MORPH_TOPHAT, kernel) > STROKE_GREY) & (high - low < STROKE_GREY)
    starts = strokes & ~np.pad(strokes, [(0, 0), (1, 0)])[:, :-1]
    lines = np.lib.stride_tricks.sliding_window_view(starts, LINE_PIXELS, axis=0).mean(-1)
    return float(lines.sum(1).max())


def mouth_matrix(points: np.ndarray) -> np.ndarray:
    """points (68 2) pixels -> (2 3) the unit square -> what lies from the nose to the chin, upright in the frame."""
    x0, x1 = points[3:14, 0].min(), points[3:14, 0].max()
    y0, y1 = points[33, 1], points[8, 1]
    return np.array([[max(1.0, x1 - x0), 0, x0], [0, max(1.0, y1 - y0), y0]])


def bursts(track: Track) -> list[list[int]]:
    """The frames of each burst, counted from the track's first, among those in which the face was seen."""
    seen = np.flatnonzero(np.isfinite(track.landmarks[:, 0, 0]))
    if len(seen) == 0:
        return []
    count = max(LEAST_BURSTS, round(len(track.landmarks) / FPS / BURST_SECONDS))
    last = len(seen) - 1
    starts = np.linspace(0, max(0, last - STEP_FRAMES * (BURST - 1)), count).round().astype(int)
    return [[int(seen[min(last, start + STEP_FRAMES * k)]) for k in range(BURST)] for start in starts]


@dataclass(eq=False)
class Watched:
    """A track whose frames are coming by."""

    track: Track
    bursts: list[list[int]]
    faces: dict[int, np.ndarray] = field(default_factory=dict)  # (128 128 3) of each frame
    mouths: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # (64 128) of each burst and frame
    squares: list[np.ndarray] = field(default_factory=list)  # (M 2), in shares of the frame
    brightest: np.ndarray | None = None  # (H W)

    def add(self, number: int, frame: np.ndarray) -> None:
        """The frame (H W 3) uint8 of the video with this number."""
        number -= self.track.first
        mine = [k for k, burst in enumerate(self.bursts) if number in burst]
        if not mine:
            return
        points, (height, width) = self.track.landmarks[number], frame.shape[:2]
        region = region_of_landmarks(points)
        self.faces[number] = crop(frame, region, FACE_PIXELS)
        for k in mine:
            middle = self.track.landmarks[self.bursts[k][BURST // 2]]
            box = grey(cut(frame, mouth_matrix(middle), FACE_PIXELS))
            self.mouths[k, number] = cv2.resize(box, (FACE_PIXELS, FACE_PIXELS // 2), interpolation=cv2.INTER_AREA)
        self.squares.append(transform(region.matrix(1), LATTICE) / [width, height])
        size = FRAME_PIXELS, max(1, round(height * FRAME_PIXELS / width))
        small = grey(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        self.brightest = small if self.brightest is None else np.maximum(self.brightest, small)

    def sight(self) -> Sight:
        if not self.faces:
            return UNSEEN
        faces = [self.faces[number] for burst in self.bursts for number in burst]
        written = [letters(np.stack([self.mouths[k, n] for n in burst])) for k, burst in enumerate(self.bursts)]
        points = np.concatenate(self.squares)
        outside = float(((points < 0) | (points > 1)).any(1).mean())
        bars = bar_share(self.brightest, points * self.brightest.shape[::-1])
        sharp = [sharpness(grey(face), FACE) for face in faces]
        return Sight(float(np.median(sharp)), change(faces), bars, max(written), outside)


def look(frames: Iterable[np.ndarray], tracks: Sequence[Track]) -> list[Sight]:
    """Frames (H W 3) uint8 of a video at FPS, read once and no further than needed, and faces in it -> what each looks
    like. Held in memory are small crops of the tracks that are on at one time."""
    order = sorted(range(len(tracks)), key=lambda index: tracks[index].first)
    sights, watched = [UNSEEN] * len(tracks), {}
    for number, frame in enumerate(frames):
        while order and tracks[order[0]].first <= number:
            index = order.pop(0)
            watched[index] = Watched(tracks[index], bursts(tracks[index]))
        for index, one in list(watched.items()):
            one.add(number, frame)
            if number + 1 == one.track.end:
                sights[index] = watched.pop(index).sight()
        if not order and not watched:
            break
    return sights
