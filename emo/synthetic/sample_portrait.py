"""The sample portrait, of a person that does not exist: a sculpted height field, painted skin and eyes, drawn hair.

    python -m emo.synthetic.sample_portrait portrait.png

Lengths and fields are those of `emo.synthetic.sample_lighting`.
"""

import sys
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from emo.synthetic.sample_hair import (
    STRAND_PATHS,
    draw_strokes,
    make_brows,
    make_hair,
    make_lashes,
    shade_hair,
    to_pixels,
)
from emo.synthetic.sample_lighting import (
    KEY,
    SCALE,
    SIZE_PIXELS,
    Canvas,
    blur,
    bump,
    interpolate_profile,
    mix,
    shade_skin,
    smoothstep,
    tone_map,
    unit_pixels,
)

SEED = 11
LASH_COLOR = (0.012, 0.008, 0.007)
EYEBALL_RADIUS = 0.33  # for its shading
IRIS_SHIFT = 0.153  # by which an iris moves for a gaze of one radian
IRISES = np.array([[-0.5, -0.018], [0.5, -0.018]])  # centers of the irises, looking straight ahead


@dataclass(frozen=True)
class Appearance:
    """The appearance of a drawn head: colors in linear RGB, direction of the lamp, strands of hair."""

    skin: tuple[float, ...] = (0.66, 0.375, 0.255)
    lip: tuple[float, ...] = (0.47, 0.145, 0.13)
    hair: tuple[float, ...] = (0.085, 0.045, 0.027)
    brow: tuple[float, ...] = (0.13, 0.068, 0.042)
    iris: tuple[float, ...] = (0.085, 0.058, 0.024)
    shirt: tuple[float, ...] = (0.055, 0.16, 0.19)
    wall: tuple[float, ...] = (0.16, 0.19, 0.21)
    lamp: tuple[float, ...] = tuple(KEY)
    strands: int = 5200
    hair_length: float = 1.0  # share of the longest hair's length


SAMPLE_APPEARANCE = Appearance()

# Profiles: rows of places and values
OUTLINE = np.array(  # y, half width of the head
    [
        [-1.50, -1.42, -1.20, -0.80, -0.30, 0.30, 0.70, 1.00, 1.20, 1.40, 1.55, 1.66, 1.73, 1.765],
        [0.00, 0.36, 0.72, 0.95, 1.02, 1.01, 0.96, 0.90, 0.82, 0.67, 0.50, 0.35, 0.20, 0.0],
    ]
)
DEPTH = np.array(  # y, height of the midline of the face
    [
        [-1.50, -1.20, -0.78, -0.30, 0.40, 1.10, 1.45, 1.60, 1.68, 1.73, 1.765],
        [0.10, 0.72, 1.07, 1.19, 1.20, 1.18, 1.13, 1.04, 0.88, 0.65, 0.40],
    ]
)
NOSE = np.array(  # y, height of the nose above it
    [
        [-0.25, -0.10, 0.05, 0.30, 0.48, 0.57, 0.64, 0.69, 0.73, 0.80, 0.90],
        [0.00, 0.00, 0.075, 0.19, 0.29, 0.33, 0.29, 0.17, 0.08, 0.02, 0.00],
    ]
)
NECK = np.array([[0.90, 1.70, 1.95, 2.15, 2.40, 4.0], [0.50, 0.53, 0.58, 0.70, 0.90, 0.9]])  # y, half width
SHOULDER = np.array([[0, 0.50, 0.80, 1.30, 1.90, 2.30, 2.6], [2.0, 2.02, 2.14, 2.28, 2.42, 2.62, 2.9]])  # x, y

# x, y, width, height, rise of Gaussians, each on both sides of the face
FACE_BUMPS = [
    (0.42, -0.27, 0.26, 0.10, 0.055),  # brow
    (0.50, 0.01, 0.25, 0.15, -0.12),  # eye socket
    (0.20, 0.00, 0.08, 0.12, -0.06),  # inner corner of the eye
    (0.50, 0.00, 0.19, 0.12, 0.11),  # eyeball under the lids
    (0.62, 0.45, 0.24, 0.19, 0.10),  # cheekbone
    (0.52, 0.70, 0.15, 0.14, 0.055),  # cheek of a smile
    (0.195, 0.620, 0.058, 0.055, 0.13),  # wing of the nose
    (0.11, 0.55, 0.035, 0.05, -0.03),  # between wing and tip
    (0.30, 0.63, 0.035, 0.09, -0.05),  # fold beside the nose
    (0.38, 0.74, 0.05, 0.10, -0.03),
    (0.43, 0.90, 0.07, 0.13, -0.018),  # laugh line
    (0.00, 1.03, 0.30, 0.22, 0.05),  # muzzle
    (0.44, 1.03, 0.05, 0.06, -0.05),  # corner of the mouth
    (0.00, 0.86, 0.03, 0.06, -0.022),  # philtrum
    (0.075, 0.86, 0.03, 0.06, 0.010),
    (0.00, 1.35, 0.20, 0.055, -0.045),  # groove above the chin
    (0.00, 1.57, 0.19, 0.13, 0.06),  # chin
    (0.80, 0.85, 0.22, 0.25, -0.03),  # hollow of the cheek
    (0.95, -0.25, 0.15, 0.3, -0.05),  # temple
]


def get_mouth_lines(c: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the lines of the closed lips.

    Args:
        c: The canvas, with positions x of any shape (...), in lengths.

    Returns:
        y of the lips' upper edge, seam and lower edge at x, and a taper from 1 to 0 at the corners; each (...).
    """
    u = np.abs(c.x) / 0.40
    taper = np.clip(1 - u**2, 0, 1)
    middle = 1.092 - 0.065 * u**2 + 0.008 * np.cos(u * 7) * taper
    upper = middle - (0.105 * taper**0.8 + 0.022 * np.exp(-(((u - 0.27) / 0.16) ** 2))) * (u < 1)
    lower = middle + 0.150 * taper**0.65
    return upper, middle, lower, taper


def get_lid_lines(c: Canvas, eye_closure: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lids' lines at the canvas's x.

    Args:
        c: The grid.
        eye_closure: 0 open, 1 closed, negative wide open.

    Returns:
        y of the upper and of the lower lid, and the position between the inner (0) and the outer (1) corner.
    """
    t = (np.abs(c.x) - 0.285) / 0.425
    inside = np.clip(t, 0, 1)
    axis = 0.022 - 0.035 * t
    upper = axis - 0.115 * (4 * inside**0.85 * (1 - inside**0.85)) ** 0.75
    lower = axis + 0.070 * (4 * inside**1.3 * (1 - inside**1.3)) ** 0.8
    return upper + eye_closure * (lower - upper), lower, t


def sculpt_head(c: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Height field of the head (H W), and its mask (H W)."""
    width = interpolate_profile(OUTLINE, c.y, 2)
    reach = np.sqrt(np.clip(1 - (c.x / np.maximum(width, 1e-3)) ** 2, 0, 1))
    height = interpolate_profile(DEPTH, c.y) * reach - 0.95
    for x, y, w, h, rise in FACE_BUMPS:
        height += rise * bump(c, x, y, w, h)
    ridge = 0.10 + 0.07 * np.clip(c.y - 0.2, 0, 0.5)
    height += interpolate_profile(NOSE, c.y) * np.exp(-(np.abs(c.x / ridge) ** 2) / 2)
    height -= 0.06 * bump(c, 0.10, 0.70, 0.045, 0.022)  # nostrils
    upper, middle, lower, taper = get_mouth_lines(c)
    above = np.clip((c.y - upper) / np.maximum(middle - upper, 1e-3), 0, 1)
    below = np.clip((c.y - middle) / np.maximum(lower - middle, 1e-3), 0, 1)
    height += taper**0.5 * (0.045 * np.sin(np.pi * above**1.2) + 0.060 * np.sin(np.pi * below**0.9))
    height -= 0.035 * np.clip(taper + 0.1, 0, 1) * np.exp(-(((c.y - middle) / 0.014) ** 2))
    lid, under, t = get_lid_lines(c)
    near = smoothstep(0.55 - np.abs(t - 0.5), 0.2)
    height -= 0.022 * near * np.exp(-(((c.y - lid + 0.062) / 0.016) ** 2))  # crease of the lid
    height -= 0.010 * near * np.exp(-(((c.y - under - 0.065) / 0.03) ** 2))
    pores = 0.0004 * c.noise(0.006) + 0.0007 * c.noise(0.02)
    mask = blur(smoothstep(width - np.abs(c.x), 0.015) * (width > 0.02), 0.008)
    return blur(height, 0.006) + pores, mask


def paint_skin(c: Canvas, appearance: Appearance = SAMPLE_APPEARANCE) -> tuple[np.ndarray, np.ndarray]:
    """Paint the skin of the face.

    Args:
        c: The grid.
        appearance: Colors of the person.

    Returns:
        Albedo (H W 3) and gloss (H W).
    """
    albedo = np.broadcast_to(np.float32(appearance.skin), (*c.x.shape, 3))
    albedo = albedo * (1 + 0.025 * c.noise(0.08) + 0.02 * c.noise(0.012))[..., None]
    blush = 0.8 * bump(c, 0.62, 0.55, 0.22, 0.17) + 0.5 * bump(c, 0, 0.58, 0.14, 0.10)
    albedo = albedo * (1 - blush[..., None] * np.array([0.02, 0.17, 0.15]))
    albedo = albedo * (1 - 0.14 * bump(c, 0.47, 0.13, 0.17, 0.05)[..., None] * np.array([0.8, 1, 0.7]))
    albedo = albedo * (1 - 0.25 * bump(c, 0.5, -0.12, 0.2, 0.05)[..., None] * np.array([0.7, 1, 1]))
    freckles = smoothstep(c.noise(0.014) - 2.1, 0.7) * bump(c, 0.4, 0.45, 0.3, 0.16)
    albedo = mix(albedo, np.array(appearance.skin) * (0.75, 0.6, 0.5), 0.5 * freckles)
    nostril = smoothstep(bump(c, 0.105, 0.700, 0.05, 0.023) - 0.45, 0.5)
    albedo = mix(albedo, (0.10, 0.03, 0.022), 0.9 * nostril)
    upper, middle, lower, taper = get_mouth_lines(c)
    lips = smoothstep(np.minimum(c.y - upper, lower - c.y), 0.03) * (taper > 0)
    tone = np.array(appearance.lip) * (1 + 0.06 * blur(c.noise(0.008), 0.004) - 0.12 * (c.y < middle))[..., None]
    albedo = mix(albedo, tone, 0.85 * lips)
    seam = np.exp(-(((c.y - middle) / 0.011) ** 2)) * np.clip(taper * 3 + 0.25, 0, 1) * (np.abs(c.x) < 0.42)
    albedo = mix(albedo, (0.10, 0.022, 0.02), 0.85 * seam)
    gloss = 0.16 + 0.16 * bump(c, 0, 0.45, 0.12, 0.25) + 0.06 * bump(c, 0.55, 0.35, 0.25, 0.12)
    gloss += 0.25 * lips * (c.y > middle)
    return albedo, gloss * (1 + 0.2 * c.noise(0.01))


def paint_eyes(
    c: Canvas,
    face: np.ndarray,
    appearance: Appearance = SAMPLE_APPEARANCE,
    gaze: tuple[float, float] = (0, 0),
    eye_closure: float = 0.0,
) -> np.ndarray:
    """Paint the eyes between the lids.

    Args:
        c: The grid.
        face: (H W 3) linear light.
        appearance: Colors.
        gaze: Radians to the picture's right and down.
        eye_closure: As in `get_lid_lines`.

    Returns:
        (H W 3) linear light.
    """
    upper, lower, t = get_lid_lines(c, eye_closure)
    ball = np.sqrt(np.clip(1 - ((np.abs(c.x) - 0.5) / EYEBALL_RADIUS) ** 2 - (c.y / EYEBALL_RADIUS) ** 2, 0, 1))
    white = np.array([0.66, 0.60, 0.56]) * (0.35 + 0.65 * ball)[..., None]
    white = mix(white, (0.50, 0.20, 0.17), 0.8 * smoothstep(0.10 - t, 0.10))
    (_, (across, down)), shift = IRISES, IRIS_SHIFT * np.sin(gaze)
    dx, dy = c.x - np.sign(c.x) * across - shift[0], c.y - down - shift[1]
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    fibers = 0.5 + 0.25 * np.sin(angle * 23 + 2 * np.sin(angle * 5)) + 0.25 * np.sin(angle * 41 + radius * 60)
    lit = 0.7 + 0.9 * np.clip((0.5 * dx + 0.6 * dy) / 0.1, -0.5, 1)
    iris = (
        np.array(appearance.iris) * (0.075 / 0.085, 0.042 / 0.058, 0.02 / 0.024) + fibers[..., None] * appearance.iris
    )
    iris = iris * lit[..., None]
    iris = mix(iris, (0.02, 0.014, 0.01), smoothstep(radius - 0.092, 0.03))
    eye = mix(white, iris, smoothstep(0.106 - radius, 0.018))
    eye = mix(eye, (0.006, 0.005, 0.005), smoothstep(0.042 - radius, 0.012))
    eye = eye * (1 - 0.72 * np.exp(-np.clip(c.y - upper, 0, 1) / 0.030))[..., None]
    window = smoothstep(0.020 - np.maximum(np.abs(dx + 0.035), np.abs(dy + 0.035)), 0.012)
    eye = mix(eye, (1.0, 1.0, 0.98), 0.9 * window)
    eye = mix(eye, (0.35, 0.38, 0.42), 0.5 * smoothstep(0.016 - np.hypot(dx - 0.045, dy - 0.03), 0.02))
    opening = smoothstep(np.minimum(c.y - upper, lower - c.y), 0.014) * (np.abs(t - 0.5) < 0.5)
    liner = np.exp(-(((c.y - upper + 0.004) / 0.011) ** 2)) * smoothstep(0.53 - np.abs(t - 0.53), 0.1)
    rim = np.exp(-(((c.y - lower - 0.006) / 0.007) ** 2)) * smoothstep(0.45 - np.abs(t - 0.5), 0.1)
    face = mix(face, (0.62, 0.36, 0.30), 0.55 * rim)
    return mix(mix(face, eye, opening), (0.03, 0.016, 0.013), 0.85 * liner)


def paint_body(
    c: Canvas, shade: np.ndarray, appearance: Appearance = SAMPLE_APPEARANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Paint neck, shoulders and shirt.

    Args:
        c: The grid.
        shade: (H W) 1 where light arrives.
        appearance: Colors of the person.

    Returns:
        Linear RGB (H W 3) and the mask (H W) of the body.
    """
    across = np.abs(c.x)
    width = interpolate_profile(NECK, c.y)
    top = interpolate_profile(SHOULDER, across)
    neck = 0.75 * np.sqrt(np.clip(1 - (c.x / np.maximum(width, 0.1)) ** 2, 0, 1))
    neck += 0.018 * np.exp(-(((across - 0.34 + 0.2 * (c.y - 1.5)) / 0.08) ** 2)) - 0.05 * bump(c, 0, 2.3, 0.08, 0.1)
    fall = np.clip((c.y - top) / 0.4, 0, 1)
    chest = 0.1 + 0.45 * np.sqrt(1 - (1 - fall) ** 2) * np.sqrt(np.clip(1 - (c.x / 3.2) ** 2, 0, 1))
    collar = c.y - (2.44 - 0.45 * (across / 0.68) ** 2.2)
    shirt = smoothstep(collar, 0.012)
    wool = 0.006 * np.sin(c.x * 150 + 6 * c.y) * np.sin(c.y * 95) + 0.005 * c.noise(0.10)
    cloth = chest + 0.03 + wool + 0.03 * np.exp(-(((collar - 0.05) / 0.035) ** 2))
    height = blur(np.where(collar > 0, cloth, np.maximum(neck, chest) + 0.0005 * c.noise(0.01)), 0.01)
    albedo = mix(
        np.broadcast_to(np.float32(appearance.skin), (*c.x.shape, 3)) * 0.96, np.array(appearance.shirt), shirt
    )
    lit = shade_skin(height - 1.3, albedo, 0.10 * (1 - shirt), shade, np.array(appearance.lamp))
    return lit, np.maximum(smoothstep(width - across, 0.015) * (width > 0), smoothstep(c.y - top, 0.015))


def make_stroke_colors(color: tuple, brightness: np.ndarray) -> np.ndarray:
    """Return the colors of strokes.

    Args:
        color: Linear RGB.
        brightness: (N P) factors.

    Returns:
        (N P 3) uint8 sRGB.
    """
    return tone_map(np.array(color) * brightness[..., None])


def get_lid_points(c: Canvas, line: np.ndarray) -> np.ndarray:
    """Return the points of a lid's line at the right eye, inner corner first.

    Args:
        c: The grid.
        line: (H W) the y of the line.

    Returns:
        (M 2) points in lengths.
    """
    t = get_lid_lines(c)[2][0]
    columns = np.flatnonzero((t >= 0) & (t <= 1) & (c.x[0] > 0))
    return np.stack([c.x[0, columns], line[0, columns]], axis=-1)


def draw_strands(
    picture: np.ndarray, strands: np.ndarray, lightness: np.ndarray, appearance: Appearance = SAMPLE_APPEARANCE
) -> None:
    """Draw the hair into a picture, in place.

    Args:
        picture: (H W 3) uint8.
        strands: (N P 2) strands of hair.
        lightness: (N,) factors around 1.
        appearance: Color of the hair, direction of the lamp.
    """
    light = shade_hair(strands, np.array(appearance.lamp)) * lightness[:, None]
    widths = np.linspace(2.2, 1.2, strands.shape[1]) * len(picture) / (SIZE_PIXELS * SCALE)
    draw_strokes(picture, strands, make_stroke_colors(appearance.hair, 1.6 * light), widths)


def draw_hairs(c: Canvas, picture: np.ndarray, strands: np.ndarray, lightness: np.ndarray) -> None:
    """Draw lashes, brows and hair of the sample portrait into a picture, in place.

    Args:
        c: The grid.
        picture: (H W 3) uint8.
        strands: (N P 2) strands of hair.
        lightness: (N,) factors around 1.
    """
    upper, lower, _ = get_lid_lines(c)
    thin = np.linspace(2.4, 0.6, 8)
    for strokes, widths, color in [
        (make_lashes(get_lid_points(c, lower), -0.024, 90, c.random), thin * 0.4, (0.10, 0.05, 0.035)),
        (make_lashes(get_lid_points(c, upper), 0.050, 170, c.random), thin * 0.7, LASH_COLOR),
        (make_brows(520, c.random), thin * 0.6, SAMPLE_APPEARANCE.brow),
    ]:
        light = c.random.uniform(0.7, 1.3, strokes.shape[:2])
        draw_strokes(picture, strokes, make_stroke_colors(color, light), widths)
    draw_strands(picture, strands, lightness)


@dataclass(frozen=True)
class HeadLayers:
    """A head before its eyes and hair are drawn; light is linear."""

    background: np.ndarray  # (H W 3) wall, neck and shoulders
    skin: np.ndarray  # (H W 3) the face
    head_mask: np.ndarray  # (H W) 1 where the face is
    height: np.ndarray  # (H W)
    strands: np.ndarray  # (N P 2) hair
    lightness: np.ndarray  # (N,) of the strands, around 1


def paint_layers(c: Canvas, appearance: Appearance = SAMPLE_APPEARANCE, nape: float = -0.8) -> HeadLayers:
    """Sculpt and paint a head without eyes and hair.

    Args:
        c: The grid.
        appearance: Colors, hair and lamp.
        nape: The y below which the hair at the back is visible beside the neck.

    Returns:
        The layers of the picture.
    """
    strands, lightness = make_hair(appearance.strands, c.random)
    strands = strands[:, : round(appearance.hair_length * strands.shape[1])]
    cover, unit = np.zeros(c.x.shape, np.uint8), unit_pixels(c.x)
    for strand in np.ascontiguousarray(np.round(to_pixels(strands, cover)), np.int32):
        cv2.polylines(cover, [strand], False, 255, round(0.0145 * unit))
    shadow = np.roll(cover, (round(0.0385 * unit), round(0.0288 * unit)), (0, 1))
    under_hair = 1 - 0.75 * blur(shadow.astype(np.float32) / 255, 0.06)
    glow = np.exp(-((c.x + 0.5) ** 2 + (c.y + 0.2) ** 2) / 7)[..., None]
    background = np.array(appearance.wall) + glow * np.array([0.20, 0.21, 0.20])
    hair_end = np.interp(appearance.hair_length, np.linspace(0, 1, STRAND_PATHS.shape[1]), STRAND_PATHS[2, :, 1])
    hanging = smoothstep(1.1 - np.abs(c.x), 0.2) * smoothstep(c.y - nape, 0.4) * smoothstep(hair_end - 0.25 - c.y, 0.4)
    background = mix(background, np.array(appearance.hair) * 0.2, hanging)
    height, head = sculpt_head(c)
    chin = blur(np.roll(head, (int(0.34 * unit), int(0.16 * unit)), (0, 1)), 0.10)
    background = mix(background, *paint_body(c, under_hair * (1 - 0.93 * chin), appearance))
    skin = shade_skin(height, *paint_skin(c, appearance), under_hair, np.array(appearance.lamp))
    return HeadLayers(background, skin, head, height, strands, lightness)


def paint_portrait() -> np.ndarray:
    """Paint the sample portrait: (512 512 3) uint8 RGB, the same at every call."""
    c = Canvas.new(SEED)
    layers = paint_layers(c)
    drawn = tone_map(mix(layers.background, paint_eyes(c, layers.skin), layers.head_mask))
    draw_hairs(c, drawn, layers.strands, layers.lightness)
    small = cv2.resize(drawn, (SIZE_PIXELS, SIZE_PIXELS), interpolation=cv2.INTER_AREA).astype(np.float32)
    grain = c.random.standard_normal(small.shape[:2])[..., None]
    return np.round(np.clip(small + 1.2 * grain, 0, 255)).astype(np.uint8)


def main() -> None:
    """Write the sample portrait to the file that the command line names."""
    Image.fromarray(paint_portrait()).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
