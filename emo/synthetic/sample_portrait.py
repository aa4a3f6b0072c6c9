"""The sample portrait, of nobody, made by code: a sculpted head, painted skin and eyes, drawn hair.

    python -m emo.synthetic.sample_portrait portrait.png

Lengths and fields are those of `emo.synthetic.sample_lighting`.
"""

import sys
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from emo.synthetic.sample_hair import WAYS, brows, draw, hair, lashes, places, shine
from emo.synthetic.sample_lighting import (
    KEY,
    SCALE,
    SIZE_PIXELS,
    Canvas,
    blur,
    bump,
    curve,
    develop,
    light_up,
    mix,
    step,
    unit_pixels,
)

SEED = 11
LASH = (0.012, 0.008, 0.007)
EYEBALL, IRIS_WAY = 0.33, 0.153  # its radius, which shades it; how far an iris goes for a radian: 0.36 eyes
IRISES = np.array([[-0.5, -0.018], [0.5, -0.018]])  # their centres at rest


@dataclass(frozen=True)
class Looks:
    """What makes one drawn head unlike another: colours in linear RGB, the lamp's place, the strands of hair."""

    skin: tuple[float, ...] = (0.66, 0.375, 0.255)
    lip: tuple[float, ...] = (0.47, 0.145, 0.13)
    hair: tuple[float, ...] = (0.085, 0.045, 0.027)
    brow: tuple[float, ...] = (0.13, 0.068, 0.042)
    iris: tuple[float, ...] = (0.085, 0.058, 0.024)
    shirt: tuple[float, ...] = (0.055, 0.16, 0.19)
    wall: tuple[float, ...] = (0.16, 0.19, 0.21)
    lamp: tuple[float, ...] = tuple(KEY)
    strands: int = 5200
    hair_length: float = 1.0  # share of the way from the parting to where the longest hair ends


SAMPLE = Looks()

# Profiles: rows of places and values
OUTLINE = np.array(  # y, half width of the head
    [
        [-1.50, -1.42, -1.20, -0.80, -0.30, 0.30, 0.70, 1.00, 1.20, 1.40, 1.55, 1.66, 1.73, 1.765],
        [0.00, 0.36, 0.72, 0.95, 1.02, 1.01, 0.96, 0.90, 0.82, 0.67, 0.50, 0.35, 0.20, 0.0],
    ]
)
DEPTH = np.array(  # y, how far the middle line of the face stands out
    [
        [-1.50, -1.20, -0.78, -0.30, 0.40, 1.10, 1.45, 1.60, 1.68, 1.73, 1.765],
        [0.10, 0.72, 1.07, 1.19, 1.20, 1.18, 1.13, 1.04, 0.88, 0.65, 0.40],
    ]
)
NOSE = np.array(  # y, rise of the nose
    [
        [-0.25, -0.10, 0.05, 0.30, 0.48, 0.57, 0.64, 0.69, 0.73, 0.80, 0.90],
        [0.00, 0.00, 0.075, 0.19, 0.29, 0.33, 0.29, 0.17, 0.08, 0.02, 0.00],
    ]
)
NECK = np.array([[0.90, 1.70, 1.95, 2.15, 2.40, 4.0], [0.50, 0.53, 0.58, 0.70, 0.90, 0.9]])  # y, half width
SHOULDER = np.array([[0, 0.50, 0.80, 1.30, 1.90, 2.30, 2.6], [2.0, 2.02, 2.14, 2.28, 2.42, 2.62, 2.9]])  # x, y

# x, y, width, height, rise: each Gaussian stands on both sides of the face
BUMPS = [
    (0.42, -0.27, 0.26, 0.10, 0.055),  # brow
    (0.50, 0.01, 0.25, 0.15, -0.12),  # eye socket
    (0.20, 0.00, 0.08, 0.12, -0.06),  # inner corner of the eye
    (0.50, 0.00, 0.19, 0.12, 0.11),  # eyeball under the lids
    (0.62, 0.45, 0.24, 0.19, 0.10),  # cheekbone
    (0.52, 0.70, 0.15, 0.14, 0.055),  # cheek of a smile
    (0.195, 0.620, 0.058, 0.055, 0.13),  # wing of the nose
    (0.11, 0.55, 0.035, 0.05, -0.03),  # between wing and tip
    (0.30, 0.63, 0.035, 0.09, -0.05),  # fold beside it
    (0.38, 0.74, 0.05, 0.10, -0.03),
    (0.43, 0.90, 0.07, 0.13, -0.018),  # laugh line
    (0.00, 1.03, 0.30, 0.22, 0.05),  # muzzle
    (0.44, 1.03, 0.05, 0.06, -0.05),  # corner of the mouth
    (0.00, 0.86, 0.03, 0.06, -0.022),  # philtrum
    (0.075, 0.86, 0.03, 0.06, 0.010),
    (0.00, 1.35, 0.20, 0.055, -0.045),  # groove over the chin
    (0.00, 1.57, 0.19, 0.13, 0.06),  # chin
    (0.80, 0.85, 0.22, 0.25, -0.03),  # hollow of the cheek
    (0.95, -0.25, 0.15, 0.3, -0.05),  # temple
]


def mouth_lines(c: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """y of the upper edge of the lips, of their seam, of their lower edge; and 1 to 0 towards the corners."""
    u = np.abs(c.x) / 0.40
    taper = np.clip(1 - u**2, 0, 1)
    middle = 1.092 - 0.065 * u**2 + 0.008 * np.cos(u * 7) * taper
    upper = middle - (0.105 * taper**0.8 + 0.022 * np.exp(-(((u - 0.27) / 0.16) ** 2))) * (u < 1)
    lower = middle + 0.150 * taper**0.65
    return upper, middle, lower, taper


def eye_lines(c: Canvas, closed: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y of the upper and of the lower lid, and the place between the inner (0) and the outer (1) corner.

    closed: 1 brings the lids together, below 0 opens them wide."""
    t = (np.abs(c.x) - 0.285) / 0.425
    inside = np.clip(t, 0, 1)
    axis = 0.022 - 0.035 * t
    upper = axis - 0.115 * (4 * inside**0.85 * (1 - inside**0.85)) ** 0.75
    lower = axis + 0.070 * (4 * inside**1.3 * (1 - inside**1.3)) ** 0.8
    return upper + closed * (lower - upper), lower, t


def sculpt(c: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Height of the head, and its mask."""
    width = curve(OUTLINE, c.y, 2)
    reach = np.sqrt(np.clip(1 - (c.x / np.maximum(width, 1e-3)) ** 2, 0, 1))
    height = curve(DEPTH, c.y) * reach - 0.95
    for x, y, w, h, rise in BUMPS:
        height += rise * bump(c, x, y, w, h)
    ridge = 0.10 + 0.07 * np.clip(c.y - 0.2, 0, 0.5)
    height += curve(NOSE, c.y) * np.exp(-(np.abs(c.x / ridge) ** 2) / 2)
    height -= 0.06 * bump(c, 0.10, 0.70, 0.045, 0.022)  # nostrils
    upper, middle, lower, taper = mouth_lines(c)
    above = np.clip((c.y - upper) / np.maximum(middle - upper, 1e-3), 0, 1)
    below = np.clip((c.y - middle) / np.maximum(lower - middle, 1e-3), 0, 1)
    height += taper**0.5 * (0.045 * np.sin(np.pi * above**1.2) + 0.060 * np.sin(np.pi * below**0.9))
    height -= 0.035 * np.clip(taper + 0.1, 0, 1) * np.exp(-(((c.y - middle) / 0.014) ** 2))
    lid, under, t = eye_lines(c)
    near = step(0.55 - np.abs(t - 0.5), 0.2)
    height -= 0.022 * near * np.exp(-(((c.y - lid + 0.062) / 0.016) ** 2))  # crease of the lid
    height -= 0.010 * near * np.exp(-(((c.y - under - 0.065) / 0.03) ** 2))
    pores = 0.0004 * c.noise(0.006) + 0.0007 * c.noise(0.02)
    mask = blur(step(width - np.abs(c.x), 0.015) * (width > 0.02), 0.008)
    return blur(height, 0.006) + pores, mask


def paint_skin(c: Canvas, looks: Looks = SAMPLE) -> tuple[np.ndarray, np.ndarray]:
    """(H W 3) albedo of the face, (H W) gloss."""
    albedo = np.broadcast_to(np.float32(looks.skin), (*c.x.shape, 3))
    albedo = albedo * (1 + 0.025 * c.noise(0.08) + 0.02 * c.noise(0.012))[..., None]
    blush = 0.8 * bump(c, 0.62, 0.55, 0.22, 0.17) + 0.5 * bump(c, 0, 0.58, 0.14, 0.10)
    albedo = albedo * (1 - blush[..., None] * np.array([0.02, 0.17, 0.15]))
    albedo = albedo * (1 - 0.14 * bump(c, 0.47, 0.13, 0.17, 0.05)[..., None] * np.array([0.8, 1, 0.7]))
    albedo = albedo * (1 - 0.25 * bump(c, 0.5, -0.12, 0.2, 0.05)[..., None] * np.array([0.7, 1, 1]))
    freckles = step(c.noise(0.014) - 2.1, 0.7) * bump(c, 0.4, 0.45, 0.3, 0.16)
    albedo = mix(albedo, np.array(looks.skin) * (0.75, 0.6, 0.5), 0.5 * freckles)
    nostril = step(bump(c, 0.105, 0.700, 0.05, 0.023) - 0.45, 0.5)
    albedo = mix(albedo, (0.10, 0.03, 0.022), 0.9 * nostril)
    upper, middle, lower, taper = mouth_lines(c)
    lips = step(np.minimum(c.y - upper, lower - c.y), 0.03) * (taper > 0)
    tone = np.array(looks.lip) * (1 + 0.06 * blur(c.noise(0.008), 0.004) - 0.12 * (c.y < middle))[..., None]
    albedo = mix(albedo, tone, 0.85 * lips)
    seam = np.exp(-(((c.y - middle) / 0.011) ** 2)) * np.clip(taper * 3 + 0.25, 0, 1) * (np.abs(c.x) < 0.42)
    albedo = mix(albedo, (0.10, 0.022, 0.02), 0.85 * seam)
    gloss = 0.16 + 0.16 * bump(c, 0, 0.45, 0.12, 0.25) + 0.06 * bump(c, 0.55, 0.35, 0.25, 0.12)
    gloss += 0.25 * lips * (c.y > middle)
    return albedo, gloss * (1 + 0.2 * c.noise(0.01))


def paint_eyes(
    c: Canvas, face: np.ndarray, looks: Looks = SAMPLE, gaze: tuple[float, float] = (0, 0), closed: float = 0.0
) -> np.ndarray:
    """The face with eyes between its lids. gaze: radians to the picture's right and down; closed: as `eye_lines`."""
    upper, lower, t = eye_lines(c, closed)
    ball = np.sqrt(np.clip(1 - ((np.abs(c.x) - 0.5) / EYEBALL) ** 2 - (c.y / EYEBALL) ** 2, 0, 1))
    white = np.array([0.66, 0.60, 0.56]) * (0.35 + 0.65 * ball)[..., None]
    white = mix(white, (0.50, 0.20, 0.17), 0.8 * step(0.10 - t, 0.10))
    (_, (across, down)), shift = IRISES, IRIS_WAY * np.sin(gaze)
    dx, dy = c.x - np.sign(c.x) * across - shift[0], c.y - down - shift[1]
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    fibres = 0.5 + 0.25 * np.sin(angle * 23 + 2 * np.sin(angle * 5)) + 0.25 * np.sin(angle * 41 + radius * 60)
    lit = 0.7 + 0.9 * np.clip((0.5 * dx + 0.6 * dy) / 0.1, -0.5, 1)
    iris = np.array(looks.iris) * (0.075 / 0.085, 0.042 / 0.058, 0.02 / 0.024) + fibres[..., None] * looks.iris
    iris = iris * lit[..., None]
    iris = mix(iris, (0.02, 0.014, 0.01), step(radius - 0.092, 0.03))
    eye = mix(white, iris, step(0.106 - radius, 0.018))
    eye = mix(eye, (0.006, 0.005, 0.005), step(0.042 - radius, 0.012))
    eye = eye * (1 - 0.72 * np.exp(-np.clip(c.y - upper, 0, 1) / 0.030))[..., None]
    window = step(0.020 - np.maximum(np.abs(dx + 0.035), np.abs(dy + 0.035)), 0.012)
    eye = mix(eye, (1.0, 1.0, 0.98), 0.9 * window)
    eye = mix(eye, (0.35, 0.38, 0.42), 0.5 * step(0.016 - np.hypot(dx - 0.045, dy - 0.03), 0.02))
    opening = step(np.minimum(c.y - upper, lower - c.y), 0.014) * (np.abs(t - 0.5) < 0.5)
    liner = np.exp(-(((c.y - upper + 0.004) / 0.011) ** 2)) * step(0.53 - np.abs(t - 0.53), 0.1)
    rim = np.exp(-(((c.y - lower - 0.006) / 0.007) ** 2)) * step(0.45 - np.abs(t - 0.5), 0.1)
    face = mix(face, (0.62, 0.36, 0.30), 0.55 * rim)
    return mix(mix(face, eye, opening), (0.03, 0.016, 0.013), 0.85 * liner)


def body(c: Canvas, shade: np.ndarray, looks: Looks = SAMPLE) -> tuple[np.ndarray, np.ndarray]:
    """(H W 3) neck, shoulders and shirt; their mask."""
    across = np.abs(c.x)
    width = curve(NECK, c.y)
    top = curve(SHOULDER, across)
    neck = 0.75 * np.sqrt(np.clip(1 - (c.x / np.maximum(width, 0.1)) ** 2, 0, 1))
    neck += 0.018 * np.exp(-(((across - 0.34 + 0.2 * (c.y - 1.5)) / 0.08) ** 2)) - 0.05 * bump(c, 0, 2.3, 0.08, 0.1)
    fall = np.clip((c.y - top) / 0.4, 0, 1)
    chest = 0.1 + 0.45 * np.sqrt(1 - (1 - fall) ** 2) * np.sqrt(np.clip(1 - (c.x / 3.2) ** 2, 0, 1))
    collar = c.y - (2.44 - 0.45 * (across / 0.68) ** 2.2)
    shirt = step(collar, 0.012)
    wool = 0.006 * np.sin(c.x * 150 + 6 * c.y) * np.sin(c.y * 95) + 0.005 * c.noise(0.10)
    cloth = chest + 0.03 + wool + 0.03 * np.exp(-(((collar - 0.05) / 0.035) ** 2))
    height = blur(np.where(collar > 0, cloth, np.maximum(neck, chest) + 0.0005 * c.noise(0.01)), 0.01)
    albedo = mix(np.broadcast_to(np.float32(looks.skin), (*c.x.shape, 3)) * 0.96, np.array(looks.shirt), shirt)
    lit = light_up(height - 1.3, albedo, 0.10 * (1 - shirt), shade, np.array(looks.lamp))
    return lit, np.maximum(step(width - across, 0.015) * (width > 0), step(c.y - top, 0.015))


def stroke_colours(colour: tuple, brightness: np.ndarray) -> np.ndarray:
    """(N P 3) uint8 of (N P) brightness."""
    return develop(np.array(colour) * brightness[..., None])


def lid_points(c: Canvas, line: np.ndarray) -> np.ndarray:
    """(M 2) points of a right lid's line, inner corner first."""
    t = eye_lines(c)[2][0]
    columns = np.flatnonzero((t >= 0) & (t <= 1) & (c.x[0] > 0))
    return np.stack([c.x[0, columns], line[0, columns]], axis=-1)


def draw_strands(picture: np.ndarray, strands: np.ndarray, tone: np.ndarray, looks: Looks = SAMPLE) -> None:
    """The hair of the head into the picture, in place."""
    light = shine(strands, np.array(looks.lamp)) * tone[:, None]
    widths = np.linspace(2.2, 1.2, strands.shape[1]) * len(picture) / (SIZE_PIXELS * SCALE)
    draw(picture, strands, stroke_colours(looks.hair, 1.6 * light), widths)


def draw_hairs(c: Canvas, picture: np.ndarray, strands: np.ndarray, tone: np.ndarray) -> None:
    """Lashes, brows and hair of the sample into the picture, in place."""
    upper, lower, _ = eye_lines(c)
    thin = np.linspace(2.4, 0.6, 8)
    for strokes, widths, colour in [
        (lashes(lid_points(c, lower), -0.024, 90, c.random), thin * 0.4, (0.10, 0.05, 0.035)),
        (lashes(lid_points(c, upper), 0.050, 170, c.random), thin * 0.7, LASH),
        (brows(520, c.random), thin * 0.6, SAMPLE.brow),
    ]:
        light = c.random.uniform(0.7, 1.3, strokes.shape[:2])
        draw(picture, strokes, stroke_colours(colour, light), widths)
    draw_strands(picture, strands, tone)


@dataclass(frozen=True)
class Layers:
    """A head before its eyes and hairs are drawn; fields as in `emo.synthetic.sample_lighting`."""

    behind: np.ndarray  # (H W 3) wall, neck and shoulders
    skin: np.ndarray  # (H W 3) the face
    head: np.ndarray  # (H W) where the face is
    height: np.ndarray  # (H W)
    strands: np.ndarray  # (N P 2) hair
    tone: np.ndarray  # (N) its lightness around 1


def paint_layers(c: Canvas, looks: Looks = SAMPLE, nape: float = -0.8) -> Layers:
    """nape: y from which the hair at the back is seen beside the neck."""
    strands, tone = hair(looks.strands, c.random)
    strands = strands[:, : round(looks.hair_length * strands.shape[1])]
    cover, unit = np.zeros(c.x.shape, np.uint8), unit_pixels(c.x)
    for strand in np.ascontiguousarray(np.round(places(strands, cover)), np.int32):
        cv2.polylines(cover, [strand], False, 255, round(0.0145 * unit))
    fallen = np.roll(cover, (round(0.0385 * unit), round(0.0288 * unit)), (0, 1))
    under_hair = 1 - 0.75 * blur(fallen.astype(np.float32) / 255, 0.06)
    glow = np.exp(-((c.x + 0.5) ** 2 + (c.y + 0.2) ** 2) / 7)[..., None]
    behind = np.array(looks.wall) + glow * np.array([0.20, 0.21, 0.20])
    hair_end = np.interp(looks.hair_length, np.linspace(0, 1, WAYS.shape[1]), WAYS[2, :, 1])
    hanging = step(1.1 - np.abs(c.x), 0.2) * step(c.y - nape, 0.4) * step(hair_end - 0.25 - c.y, 0.4)
    behind = mix(behind, np.array(looks.hair) * 0.2, hanging)
    height, head = sculpt(c)
    chin = blur(np.roll(head, (int(0.34 * unit), int(0.16 * unit)), (0, 1)), 0.10)
    behind = mix(behind, *body(c, under_hair * (1 - 0.93 * chin), looks))
    skin = light_up(height, *paint_skin(c, looks), under_hair, np.array(looks.lamp))
    return Layers(behind, skin, head, height, strands, tone)


def paint() -> np.ndarray:
    """The sample portrait: (512 512 3) uint8, the same at every call."""
    c = Canvas.new(SEED)
    layers = paint_layers(c)
    drawn = develop(mix(layers.behind, paint_eyes(c, layers.skin), layers.head))
    draw_hairs(c, drawn, layers.strands, layers.tone)
    small = cv2.resize(drawn, (SIZE_PIXELS, SIZE_PIXELS), interpolation=cv2.INTER_AREA).astype(np.float32)
    grain = c.random.standard_normal(small.shape[:2])[..., None]
    return np.round(np.clip(small + 1.2 * grain, 0, 255)).astype(np.uint8)


def main() -> None:
    Image.fromarray(paint()).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
