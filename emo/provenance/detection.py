"""Find the watermark in a picture or video and read its payload.

`Evidence` sums up the luma of the frames in canonical size: the watermark is the same in every frame, the picture is
not, so in the sum the watermark grows faster. Each frame is divided by its local variance, so that even areas, where
the watermark is as strong as the picture, count most.

The evidence is folded to one tile; its spectrum is compared with the sync. First the picture is taken as it is, then
shifted, then cropped or bordered, then turned too, and all that mirrored: the later a watermark is found, the more
places were tried, and the larger the probability that one of them fits by chance.

That probability is a bound, not an estimate. For an unmarked picture, whatever it shows, the phases of the watermark
are independent random numbers, and a sum of a_k cos(u_k) over random phases u_k exceeds z sqrt(sum a_k^2 / 2) with a
probability of at most exp(-z^2 / 2) (Chernoff; E exp(t cos u) = I_0(t) <= exp(t^2 / 4)). This is multiplied by the
number of places tried, and by the 2^64 payloads where the payload is counted as evidence.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from emo.media.image import read_image
from emo.media.video import VIDEO_SUFFIXES, probe_video, read_video
from emo.provenance.payload import CODED_BITS, PAYLOAD_BITS, Payload, decode_payload, encode_payload
from emo.provenance.watermark import HIGHEST, LOWEST, TILE, canonical_size, make_carriers, modulate

FALSE_ALARM_PROBABILITY = 1e-6  # of a file, at which a watermark counts as found
RINGS = 8  # of frequencies, each with its own weight
LEAST_RING_WEIGHT = 0.05
CLIPPED_AMPLITUDE = 2.0  # of a frequency, in units of its ring
MAP_SIZE = 64  # places of the tile that are tried, along each side
STAGES = 4
SCALES = np.exp(np.arange(math.log(0.55), math.log(1.36), 0.01))
COARSE_SCALES = np.exp(np.arange(math.log(0.7), math.log(1.3), 0.015))
DEGREES = (-6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SHORT_SECONDS = 2.0  # a longer video is also searched in windows of this length
PART_Z = 5.0  # of the whole pattern in one part of the file, at a known place
DETAIL_SIGMA = 8.0  # canonical pixels: slower changes of luma are taken out
WINDOW_PIXELS = 11  # canonical, of the local variance
NOISE_VARIANCE = 10.0  # that of codecs, in levels of 255 squared
CLIPPED_DEVIATIONS = 2.0
FRAMES_PER_SECOND = 8.0  # of a video, looked at
MOST_PARTS = 300  # of a video


@dataclass(frozen=True)
class Evidence:
    """Sums over the frames of each part of a file.

    Attributes:
        parts: (P height width) float32, canonical pixels.
        part_seconds: Length of a part; 0 for a still picture.
        total_seconds: Length of the file.
    """

    parts: np.ndarray
    part_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class Place:
    """How a picture lies on the tiles.

    Attributes:
        scale: Canonical pixels of the tile for one of the picture: 0.8 after a crop to 0.8.
        degrees: Turn.
        mirrored: Left and right are exchanged.
        x: Shift to the right, canonical pixels of the tile.
        y: Shift downwards.
    """

    scale: float = 1.0
    degrees: float = 0.0
    mirrored: bool = False
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        found: Whether the false-alarm probability is below the limit.
        false_alarm_probability: A bound of the probability that an unmarked file looks like this one.
        payload: What the watermark says; None where it is not found, or can't be read.
        seconds: (start, end) of the parts of the video where it is.
        place: How the picture lies.
    """

    found: bool
    false_alarm_probability: float
    payload: Payload | None = None
    seconds: tuple[tuple[float, float], ...] = ()
    place: Place = Place()


def find_watermark(evidence: Evidence, limit: float = FALSE_ALARM_PROBABILITY, thorough: bool = True) -> Detection:
    """Search a file for the watermark.

    Args:
        evidence: What was read.
        limit: False-alarm probability at which it counts as found.
        thorough: Also search crops, borders, turns and short windows, which takes about a second more.

    Returns:
        A `Detection`.
    """
    parts = evidence.parts
    best = _search(parts.sum(0), limit, thorough)
    length = max(1, round(SHORT_SECONDS / evidence.part_seconds)) if evidence.part_seconds else 1
    windows = range(0, len(parts), length) if len(parts) > length else range(0)
    if not best.found and thorough:
        for start in windows:
            found = _search(parts[start : start + length].sum(0), limit / len(windows), False)
            probability = min(1.0, found.false_alarm_probability * len(windows))
            if probability < best.false_alarm_probability:
                best = replace(found, false_alarm_probability=probability)
    if not best.found:
        return replace(best, payload=None)
    return replace(best, seconds=_find_seconds(evidence, best))


def _search(image: np.ndarray, limit: float, thorough: bool) -> Detection:
    """Search stage by stage, until the probability is below the limit and the payload is read."""
    stages = [_aligned_place, _shifted_place, _cropped_place, _turned_place]
    best = Detection(False, 1.0)
    for stage in stages if thorough else stages[:2]:
        place, count = stage(image)
        sync_z, tried = _sync_z(_observe(image, place)), STAGES * count
        probability = min(1.0, tried * math.exp(-(max(0.0, sync_z) ** 2) / 2))
        if probability == 1:  # no better than the best of so many places in an unmarked picture
            continue
        place = _refine(image, place)
        payload, payload_z = _read_payload(_observe(image, place))
        if payload is not None:
            evidence = (max(0.0, sync_z) ** 2 + max(0.0, payload_z) ** 2) / 2
            joint = math.log(tried) + PAYLOAD_BITS * math.log(2) + math.log1p(evidence) - evidence
            probability = min(probability, math.exp(min(0.0, joint)))
        probability = min(1.0, 2 * probability)  # the better of two
        if probability < best.false_alarm_probability:
            best = Detection(probability <= limit, probability, payload, place=place)
        if best.found and best.payload is not None:
            break
    return best


def _aligned_place(image: np.ndarray) -> tuple[Place, int]:
    """The best of the places where an uncropped picture lies, and their number."""
    places = [Place(1.0, 0.0, mirrored, x, y) for mirrored in (False, True) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    spectra = {mirrored: _normalize(_fold(image, Place(mirrored=mirrored))) for mirrored in (False, True)}
    scores = [_sync_z(_shift(spectra[place.mirrored], place)) for place in places]
    return places[int(np.argmax(scores))], len(places)


def _shifted_place(image: np.ndarray) -> tuple[Place, int]:
    return _best_place(image, [Place()])


def _cropped_place(image: np.ndarray) -> tuple[Place, int]:
    return _best_place(image, [Place(float(scale)) for scale in SCALES])


def _turned_place(image: np.ndarray) -> tuple[Place, int]:
    return _best_place(image, [Place(float(scale), turn) for scale in COARSE_SCALES for turn in DEGREES])


def _best_place(image: np.ndarray, places: list[Place]) -> tuple[Place, int]:
    """The best place and shift, mirrored or not, and the number of those that were tried."""
    carriers, mirror = make_carriers(), _mirrored_carriers()
    best, best_z = places[0], -math.inf
    for place in places:
        spectrum = _normalize(_fold(image, place))
        for mirrored in (False, True):
            # The tile of the mirrored picture is the mirrored tile, turned the other way.
            seen = np.where(mirror[1], spectrum[mirror[0]].conj(), spectrum[mirror[0]]) if mirrored else spectrum
            values = np.where(carriers.sync, seen * carriers.phases.conj(), 0)
            grid = np.zeros((MAP_SIZE, MAP_SIZE), complex)
            grid[carriers.y, carriers.x] = values
            scores = np.fft.ifft2(grid).real
            norm = math.sqrt(float((np.abs(values) ** 2).sum()) / 2) or 1.0
            at = np.unravel_index(int(scores.argmax()), scores.shape)
            z = float(scores[at]) * MAP_SIZE**2 / norm
            if z > best_z:
                step = TILE / MAP_SIZE
                x, y = float(at[1]) * step, float(at[0]) * step
                best_z, best = z, replace(place, mirrored=mirrored, x=x, y=y)
    return best, 2 * len(places) * MAP_SIZE**2


@cache
def _mirrored_carriers() -> tuple[np.ndarray, np.ndarray]:
    """For each carrier the one of the opposite x, and whether its value must be conjugated."""
    carriers = make_carriers()
    index = {(int(x), int(y)): k for k, (x, y) in enumerate(zip(carriers.x, carriers.y, strict=True))}
    found = [
        (index[-x, y], False) if (-x, y) in index else (index[x, -y], True)
        for x, y in zip(carriers.x.tolist(), carriers.y.tolist(), strict=True)
    ]
    return np.array([k for k, _ in found]), np.array([conjugated for _, conjugated in found])


def _refine(image: np.ndarray, place: Place) -> Place:
    """Move, scale and turn in ever smaller steps as long as the sync fits better."""
    best, best_z = place, _sync_z(_observe(image, place))
    for step in (1.0, 0.5, 0.25):
        scores = {}
        for scale in (-0.006 * step, 0.0, 0.006 * step):
            for turn in (-0.5 * step, 0.0, 0.5 * step):
                around = replace(best, scale=best.scale * (1 + scale), degrees=best.degrees + turn)
                spectrum = _normalize(_fold(image, around))
                for x in (-step, 0.0, step):
                    for y in (-step, 0.0, step):
                        moved = replace(around, x=around.x + x, y=around.y + y)
                        scores[moved] = _sync_z(_shift(spectrum, moved))
        winner = max(scores, key=lambda key: scores[key])
        if scores[winner] > best_z:
            best, best_z = winner, scores[winner]
    return best


def _observe(image: np.ndarray, place: Place) -> np.ndarray:
    """(K,) the spectrum of the picture, laid on the tiles."""
    return _shift(_normalize(_fold(image, place)), place)


def _fold(image: np.ndarray, place: Place) -> np.ndarray:
    """(TILE TILE) sum of all tiles of a picture that is scaled, turned and mirrored, but not shifted."""
    if place.mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    height, width = image.shape
    turn = math.radians(-place.degrees if place.mirrored else place.degrees)
    cos, sin = math.cos(turn) * place.scale, math.sin(turn) * place.scale
    half_width = math.ceil((abs(cos) * width + abs(sin) * height) / 2 / TILE) * TILE
    half_height = math.ceil((abs(sin) * width + abs(cos) * height) / 2 / TILE) * TILE
    x, y = width // 2 - int(place.mirrored and width % 2 == 0), height // 2
    matrix = np.array([[cos, -sin, half_width - cos * x + sin * y], [sin, cos, half_height - sin * x - cos * y]])
    laid = cv2.warpAffine(image, matrix, (2 * half_width, 2 * half_height), flags=cv2.INTER_LINEAR)
    return laid.reshape(2 * half_height // TILE, TILE, -1, TILE).sum((0, 2))


def _normalize(tile: np.ndarray) -> np.ndarray:
    """(K,) the carriers' values, with the mean amplitude of each ring taken out and the rest compressed to its root."""
    carriers = make_carriers()
    values = np.fft.rfft2(tile)[carriers.y, carriers.x]
    amplitude = np.abs(values) + 1e-12
    ring = _rings()
    power = np.bincount(ring, amplitude**2, RINGS) / np.bincount(ring, minlength=RINGS)
    relative = np.minimum(amplitude / np.sqrt(power)[ring], CLIPPED_AMPLITUDE)
    return values / amplitude * np.sqrt(relative)


@cache
def _rings() -> np.ndarray:
    """(K,) number of each carrier's ring."""
    place = (make_carriers().radius - LOWEST) / (HIGHEST - LOWEST) * RINGS
    return np.clip(place.astype(int), 0, RINGS - 1)


def _shift(spectrum: np.ndarray, place: Place) -> np.ndarray:
    """(K,) the spectrum of the tile moved back by the place's shift."""
    carriers = make_carriers()
    return spectrum * np.exp(2j * np.pi * (carriers.x * place.x + carriers.y * place.y) / TILE)


def _sync_z(spectrum: np.ndarray) -> float:
    """How well the sync fits, in standard deviations of an unmarked picture."""
    sync = make_carriers().sync
    return _fit_z(spectrum[sync], make_carriers().phases[sync])


def _fit_z(values: np.ndarray, phases: np.ndarray) -> float:
    norm = math.sqrt(float((np.abs(values) ** 2).sum()) / 2) or 1.0
    return float((values * phases.conj()).real.sum()) / norm


def _read_payload(spectrum: np.ndarray) -> tuple[Payload | None, float]:
    """Decode, and say how well the most likely payload fits; rings count by how well the sync fits in them."""
    carriers, ring = make_carriers(), _rings()
    fits = (spectrum * carriers.phases.conj()).real / np.maximum(np.abs(spectrum), 1e-12)
    means = [max(LEAST_RING_WEIGHT, float(fits[carriers.sync & (ring == k)].mean())) for k in range(RINGS)]
    weights = np.convolve(np.pad(means, 1, "edge"), [0.25, 0.5, 0.25], "valid")
    data = ~carriers.sync
    values = (spectrum * weights[ring])[data]
    signs = carriers.phases[data]
    parts = np.stack([values.real * signs.real, values.imag * signs.imag], 1)
    soft = np.bincount(carriers.bits[data].ravel(), parts.ravel(), CODED_BITS)
    payload, coded = decode_payload(soft)
    return payload, _fit_z(values, modulate(coded)[data])


def _find_seconds(evidence: Evidence, found: Detection) -> tuple[tuple[float, float], ...]:
    """The stretches of a video in whose parts the whole pattern is, at the place that is known."""
    if not evidence.part_seconds:
        return ()
    carriers = make_carriers()
    phases = carriers.phases
    chosen = carriers.sync
    if found.payload is not None:
        phases, chosen = modulate(encode_payload(found.payload)), np.ones_like(carriers.sync)
    stretches: list[tuple[float, float]] = []
    for index, part in enumerate(evidence.parts):
        if _fit_z(_observe(part, found.place)[chosen], phases[chosen]) < PART_Z:
            continue
        start = index * evidence.part_seconds
        end = min(start + evidence.part_seconds, max(evidence.total_seconds, start))
        if stretches and stretches[-1][1] >= start:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return tuple(stretches)


def read_evidence(path: Path) -> Evidence:
    """Read a picture or video. Raises InputError if it can't be read."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return Evidence(whiten_frame(read_image(path))[None], 0.0, 0.0)
    seconds = probe_video(path).seconds
    part_seconds = max(1.0, np.ceil(seconds / MOST_PARTS))
    parts = sum_frames(read_video(path, FRAMES_PER_SECOND), round(part_seconds * FRAMES_PER_SECOND))
    return Evidence(parts, part_seconds, seconds)


def sum_frames(frames: Iterable[np.ndarray], part_frames: int) -> np.ndarray:
    """Sum up whitened frames.

    Args:
        frames: (H W 3) uint8 RGB; where the size changes, the first one counts.
        part_frames: Frames of a part.

    Returns:
        (P height width) float32.
    """
    parts: list[np.ndarray] = []
    for index, frame in enumerate(frames):
        whitened = whiten_frame(frame)
        if index % part_frames == 0:
            parts.append(np.zeros_like(parts[0] if parts else whitened))
        if whitened.shape != parts[-1].shape:
            whitened = cv2.resize(whitened, parts[-1].shape[::-1])
        parts[-1] += whitened
    return np.stack(parts)


def whiten_frame(frame: np.ndarray) -> np.ndarray:
    """Return the luma's detail, weighted by the inverse of its local variance.

    Args:
        frame: (H W 3) uint8 RGB.

    Returns:
        (height width) float32, canonical pixels.
    """
    size = canonical_size(frame.shape[1], frame.shape[0])
    shrinks = size[0] < frame.shape[1]
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), DETAIL_SIGMA)
    variance = cv2.boxFilter(detail * detail, -1, (WINDOW_PIXELS, WINDOW_PIXELS))
    limit = CLIPPED_DEVIATIONS * cv2.sqrt(variance)
    return np.clip(detail, -limit, limit) / (variance + NOISE_VARIANCE)
