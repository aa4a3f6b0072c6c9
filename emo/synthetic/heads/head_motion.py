"""Random motion of a head that speaks: pose, distance, blinks, gaze and brows, from published distributions.

The sources are named where the numbers stand. The same generator state gives the same motion. T frames; frame k is at
the center of its time. Signs: yaw to the picture's left, pitch up, roll clockwise.
"""

from dataclasses import dataclass

import numpy as np

from emo.synthetic.heads.emotions import EmotionTrack, draw_emotions
from emo.synthetic.heads.prosody import Prosody

# --- head. Speeds cover EMO's range of head rotation, 0 to 1.5 rad/s (arXiv 2402.17485, section 3.2).
MAX_SPEED = 1.5
MEDIAN_SPEED, SPEED_SPREAD = 0.5, 0.75  # median and log-sigma of a clip's speed (log-normal)
STILL_SHARE = 0.06  # of the clips in which the head does not turn
SPEED_QUANTILE = 0.95  # of a clip's frames whose speed is the clip's
LIMITS_RADIANS = np.array([0.34, 0.24, 0.24])  # of yaw, pitch, roll: as far as a photograph can be turned
# Head movement during speech is slow drift (below 1.8 Hz) plus ordinary (1.8 to 3.7 Hz) and rapid movements, which
# accompany stress and loudness (Hadar, Steiner, Grant and Rose 1983, 1984).
SLOW_HZ, ORDINARY_HZ = (0.12, 0.6), (1.8, 3.7)
POSTURE_RADIANS = np.array([0.14, 0.08, 0.07])  # standard deviation of the clips' mean pose, our choice
DRIFT_SHARES = np.array([1.0, 0.55, 0.45])  # of yaw, pitch, roll in drift
NOD_SHARES = np.array([0.35, 1.0, 0.3])  # and in nods: pitch above all (Graf, Cosatto, Strom and Huang 2002)
ACCENTED_SHARE = 0.6  # of the accents with a nod
SWAY_SIDES = 0.012  # standard deviation of the head's position
# --- distance
MIN_SCALE, MAX_SCALE = 0.7, 1.3  # of the head, over that in the portrait: far from the camera and near it
# --- blinks: 8 to 21 a minute (Doughty 2001, primary gaze, 95 % of adults), 0.1 to 0.4 s (Schiffman 2001), more at the
# ends of phrases (Nakano and Kitazawa 2010), closing in a third of the time (Kwon et al. 2013)
BLINKS_PER_MINUTE = (8.0, 21.0)
BLINK_SECONDS, MEDIAN_BLINK_SECONDS, BLINK_SPREAD = (0.1, 0.4), 0.2, 0.3
INTERVAL_SHAPE = 3.0  # of the gamma distribution of the times between blinks
MIN_INTERVAL_SECONDS = 0.6
CLOSING_SHARE, OPENING_SHARE = 0.33, 0.5  # of a blink's duration
PAUSE_REACH_SECONDS, PAUSE_SHARE = 0.7, 0.6  # this share of the blinks this near to a pause moves to it
# --- gaze: Lee, Badler and Badler, "Eyes Alive", 2002, talking mode. Their times are in frames of 30 per second.
CAMERA_SECONDS, CAMERA_SPREAD_SECONDS = 93.9 / 30, 94.9 / 30
AWAY_SECONDS, AWAY_SPREAD_SECONDS = 27.8 / 30, 24.0 / 30
SACCADE_MEAN_DEGREES, MAX_SACCADE_DEGREES = 6.9, 27.5  # exponential magnitudes
DIRECTION_SHARES = np.array([15.54, 6.46, 17.69, 7.44, 16.80, 7.89, 20.38, 7.79])  # every 45 degrees from the right
SACCADE_SECONDS, SACCADE_SECONDS_PER_DEGREE = 0.025, 0.0024
FIXATION_DEGREES = 1.2  # standard deviation of small saccades around the camera
FIXATION_SECONDS = (0.3, 1.2)
GAZE_LIMITS_RADIANS = np.array([0.5, 0.35])
# --- brows: raised with accents, 60 ms before them (Flecha-Garcia 2010), with about half of them (Cave et al. 1996: of
# the brow movements 71 % go with a rise of the pitch)
BROW_SHARE, BROW_LEAD_SECONDS, BROW_SECONDS = 0.35, 0.06, (0.3, 0.8)


@dataclass(frozen=True)
class HeadMotion:
    """A head in T frames, relative to the portrait.

    Attributes:
        head_radians: (T 3) yaw, pitch, roll.
        translation: (T 2) to the right and down, in sides of the picture.
        scale: (T,) of the picture: 1 as near as in the portrait, above it nearer.
        gaze_radians: (T 2) yaw and pitch of the eyes in the head.
        blink: (T 2) 0 open .. 1 closed, the person's left and right eye.
        brow_raise: (T,) 0 .. 1, with accents.
        emotions: Emotions of the face.
        blink_spans: (N 2) start and duration of each blink, seconds.
    """

    head_radians: np.ndarray  # (T 3) yaw, pitch, roll
    translation: np.ndarray  # (T 2) to the right, down, in sides of the picture
    scale: np.ndarray  # (T,) 1: as near as in the portrait, more is nearer
    gaze_radians: np.ndarray  # (T 2) of the eyes in the head, yaw and pitch
    blink: np.ndarray  # (T 2) 0 open .. 1 closed, the person's left and right
    brow_raise: np.ndarray  # (T,) 0 .. 1, with accents
    emotions: EmotionTrack
    blink_spans: np.ndarray  # (N 2) start and duration

    def __len__(self) -> int:
        return len(self.scale)

    def to_expression(self, closure: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the weights (T,) of brows and emotions by name; closure: as of `EmotionTrack.to_expression`."""
        curves = self.emotions.to_expression(closure)
        for side in "LR":
            for name, weight in (("browInnerUp", 0.6), ("browOuterUp", 0.55)):
                curves[f"{name}_{side}"] = curves.get(f"{name}_{side}", 0.0) + weight * self.brow_raise
        return curves


def draw_head_motion(
    prosody: Prosody,
    num_frames: int,
    fps: float,
    random: np.random.Generator,
    *,
    speed: float | None = None,
    move_distance: bool = True,
) -> HeadMotion:
    """Draw the motion of a head that speaks.

    Args:
        prosody: Prosody of the voice.
        num_frames: T.
        fps: Frames per second.
        random: Draws the motion.
        speed: rad/s that SPEED_QUANTILE of the frames stay below; None: random.
        move_distance: Whether the distance changes; otherwise it is the portrait's.

    Returns:
        The motion of T frames.
    """
    seconds = (np.arange(num_frames) + 0.5) / fps
    speed = draw_speed(random) if speed is None else speed
    head = draw_head_rotation(prosody, seconds, fps, random, speed)
    scale = draw_scale(seconds, random) if move_distance else np.ones(num_frames)
    sway = draw_drift(seconds, (0.1, 0.4), 2, random) * SWAY_SIDES * min(1.0, speed / MEDIAN_SPEED)
    blinks = draw_blinks(prosody, seconds[-1], random)
    return HeadMotion(
        head_radians=head,
        translation=np.clip(sway, -0.08, 0.08),
        scale=scale,
        gaze_radians=draw_gaze(seconds, head, random),
        blink=sample_blinks(blinks, seconds, random),
        brow_raise=draw_brow_raise(prosody, seconds, random),
        emotions=draw_emotions(num_frames, fps, random),
        blink_spans=blinks,
    )


def draw_speed(random: np.random.Generator) -> float:
    """Return a clip's head speed, rad/s: 0 in STILL_SHARE of the clips, else log-normal up to the fastest."""
    if random.random() < STILL_SHARE:
        return 0.0
    return float(min(MEDIAN_SPEED * np.exp(SPEED_SPREAD * random.standard_normal()), MAX_SPEED))


def draw_drift(
    seconds: np.ndarray, band_hz: tuple[float, float], columns: int, random: np.random.Generator
) -> np.ndarray:
    """Draw slow curves of unit variance: eight sines of random frequency and phase each.

    Args:
        seconds: (T,) times.
        band_hz: Lowest and highest frequency.
        columns: Number of curves.
        random: Draws frequencies and phases.

    Returns:
        (T columns) curves.
    """
    rates = random.uniform(*band_hz, (8, columns))
    phases = random.uniform(0, 2 * np.pi, (8, columns))
    return np.sin(2 * np.pi * rates * seconds[:, None, None] + phases).sum(1) / 2.0


def draw_pulse(seconds: np.ndarray, middle: float, duration: float) -> np.ndarray:
    """Return a smooth rise from 0 to 1 and back.

    Args:
        seconds: (T,) times.
        middle: Time of the peak, seconds.
        duration: From the start to the end, seconds.

    Returns:
        (T,) values.
    """
    place = np.clip((seconds - middle) / duration + 0.5, 0, 1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * place)


def draw_head_rotation(
    prosody: Prosody, seconds: np.ndarray, fps: float, random: np.random.Generator, speed: float
) -> np.ndarray:
    """Draw a head's rotation: drift, with nods and shakes on accents.

    Faster clips have more of the ordinary band rather than larger angles.

    Args:
        prosody: Prosody of the voice.
        seconds: (T,) times.
        fps: Frames per second.
        random: Draws it.
        speed: rad/s that SPEED_QUANTILE of the frames stay below.

    Returns:
        (T 3) radians.
    """
    liveliness = speed / MAX_SPEED
    band = (SLOW_HZ[0], SLOW_HZ[1] + 1.0 * liveliness)
    motion = draw_drift(seconds, band, 3, random) * DRIFT_SHARES * 0.05
    for accent, strength in zip(prosody.accents_seconds, prosody.accent_strengths, strict=True):
        chance, size, rate = random.random(), random.lognormal(0, 0.4), random.uniform(*ORDINARY_HZ)
        signs = random.choice([-1.0, 1.0], 3)
        signs[1] = -1.0 if random.random() < 0.75 else 1.0  # most nods begin downwards
        shakes = random.random() < 0.2
        shares = NOD_SHARES[[1, 0, 2]] if shakes else NOD_SHARES
        if chance < ACCENTED_SHARE:
            pulse = draw_pulse(seconds, accent, 1.0 / rate)
            motion += 0.055 * size * (0.4 + strength) * pulse[:, None] * shares * signs
    fast = draw_drift(seconds, ORDINARY_HZ, 3, random) * draw_drift(seconds, (0.1, 0.4), 1, random).clip(0, None)
    motion += 0.08 * liveliness * fast
    posture = POSTURE_RADIANS * random.standard_normal(3) * random.choice([0.0, 1.0], p=[0.3, 0.7])
    return limit_to_speed(motion - motion.mean(0), posture, fps, speed)


def limit_angles(motion: np.ndarray) -> np.ndarray:
    """Limit angles (T 3) smoothly to LIMITS_RADIANS."""
    return LIMITS_RADIANS * np.tanh(motion / LIMITS_RADIANS)


def measure_speed(motion: np.ndarray, fps: float) -> np.ndarray:
    """Measure the speed of a rotation, between the frames before and after.

    Args:
        motion: (T 3) angles in radians.
        fps: Frames per second.

    Returns:
        (T,) rad/s.
    """
    return np.linalg.norm(np.gradient(motion, axis=0), axis=1) * fps if len(motion) > 1 else np.zeros(len(motion))


def limit_to_speed(motion: np.ndarray, posture: np.ndarray, fps: float, speed: float) -> np.ndarray:
    """Scale motion to a speed.

    Args:
        motion: (T 3) radians around the posture.
        posture: (3,) radians.
        fps: Frames per second.
        speed: rad/s that SPEED_QUANTILE of the frames stay below, where LIMITS_RADIANS allow it.

    Returns:
        (T 3) radians, posture included.
    """
    if speed <= 0 or len(motion) < 2:
        return limit_angles(np.zeros_like(motion) + posture)
    low, high = 0.0, 8.0
    for _ in range(18):
        gain = (low + high) / 2
        reached = np.quantile(measure_speed(limit_angles(gain * motion + posture), fps), SPEED_QUANTILE)
        low, high = (gain, high) if reached < speed else (low, gain)
    return limit_angles(low * motion + posture)


def draw_scale(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw the scale of the picture: over the full range between clips, with slow leaning within a clip.

    Args:
        seconds: (T,) times.
        random: Draws the scale.

    Returns:
        (T,) scale; 1: as in the portrait, more is nearer.
    """
    base = np.exp(random.uniform(np.log(MIN_SCALE), np.log(MAX_SCALE)))
    lean = draw_drift(seconds, (0.05, 0.25), 1, random)[:, 0] * random.uniform(0.0, 0.03)
    return np.clip(base * np.exp(lean), MIN_SCALE, MAX_SCALE)


def draw_blinks(prosody: Prosody, end_seconds: float, random: np.random.Generator) -> np.ndarray:
    """Draw the blinks of a clip.

    Args:
        prosody: Prosody of the voice, to whose pauses some blinks move.
        end_seconds: End of the clip.
        random: Draws them.

    Returns:
        (N 2) start and duration, seconds; the first may have begun before the clip.
    """
    rate = random.uniform(*BLINKS_PER_MINUTE) / 60
    starts, time = [], -15.0
    mean = 1 / rate - MIN_INTERVAL_SECONDS
    while time < end_seconds:
        time += MIN_INTERVAL_SECONDS + random.gamma(INTERVAL_SHAPE, mean / INTERVAL_SHAPE)
        start = time
        near = prosody.pauses_seconds[:, 0] if len(prosody.pauses_seconds) else np.zeros(0)
        distances = np.abs(near - time)
        if len(near) and distances.min() < PAUSE_REACH_SECONDS and random.random() < PAUSE_SHARE:
            start = near[distances.argmin()] + random.uniform(0.0, 0.15)
        if not starts or start - starts[-1] >= MIN_INTERVAL_SECONDS:
            starts.append(float(start))
    durations = MEDIAN_BLINK_SECONDS * np.exp(BLINK_SPREAD * random.standard_normal(len(starts)))
    blinks = np.stack([starts, np.clip(durations, *BLINK_SECONDS)], 1)
    return blinks[(blinks.sum(1) > 0) & (blinks[:, 0] < end_seconds)]


def sample_blinks(blinks: np.ndarray, seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Sample blinks at the times of frames.

    The eyes close in CLOSING_SHARE of a blink's duration and open in OPENING_SHARE; a blink moves by up to half a
    frame, so that a frame shows it closed.

    Args:
        blinks: (N 2) start and duration, seconds.
        seconds: (T,) evenly spaced times.
        random: Draws how far each eye closes.

    Returns:
        (T 2) closure of the person's left and right eye, 0 .. 1.
    """
    lids = np.zeros((len(seconds), 2))
    step_seconds = float(seconds[1] - seconds[0]) if len(seconds) > 1 else 1.0
    for start, duration in blinks:
        closed = start + (CLOSING_SHARE + 1 - OPENING_SHARE) / 2 * duration - seconds[0]
        place = (seconds - start + closed - round(closed / step_seconds) * step_seconds) / duration
        depth = np.minimum(np.clip(place / CLOSING_SHARE, 0, 1), np.clip((1 - place) / OPENING_SHARE, 0, 1))
        depth = depth * depth * (3 - 2 * depth)
        lids = np.maximum(lids, depth[:, None] * random.uniform(0.94, 1.0, 2))
    return lids


def draw_gaze(seconds: np.ndarray, head_radians: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw the gaze of a person who looks at the camera most of the time.

    Args:
        seconds: (T,) times.
        head_radians: (T 3) of the head, which the eyes compensate.
        random: Draws it.

    Returns:
        (T 2) radians, yaw and pitch of the eyes in the head.
    """
    targets, starts, time = [np.zeros(2)], [-10.0], random.uniform(-CAMERA_SECONDS, 0)
    is_away = random.random() < AWAY_SECONDS / (AWAY_SECONDS + CAMERA_SECONDS)
    while time < seconds[-1]:
        mean, spread = (AWAY_SECONDS, AWAY_SPREAD_SECONDS) if is_away else (CAMERA_SECONDS, CAMERA_SPREAD_SECONDS)
        end = time + 0.2 + random.gamma((mean / spread) ** 2, spread**2 / mean)
        place = draw_saccade(random) if is_away else np.zeros(2)
        while time < end:
            jitter = np.radians(FIXATION_DEGREES) * random.standard_normal(2) * [1.0, 0.6]
            targets.append(place + jitter)
            starts.append(time)
            time += random.uniform(*FIXATION_SECONDS)
        time, is_away = end, not is_away
    gaze = np.zeros((len(seconds), 2))
    for start, before, after in zip(starts[1:], targets, targets[1:], strict=False):
        size = np.degrees(np.linalg.norm(after - before))
        ramp = np.clip((seconds - start) / (SACCADE_SECONDS + SACCADE_SECONDS_PER_DEGREE * size), 0, 1)[:, None]
        gaze = np.where(seconds[:, None] >= start, before + (after - before) * ramp * ramp * (3 - 2 * ramp), gaze)
    return np.clip(gaze - head_radians[:, :2], -GAZE_LIMITS_RADIANS, GAZE_LIMITS_RADIANS)


def draw_saccade(random: np.random.Generator) -> np.ndarray:
    """Draw a saccade (2,) away from the camera, radians."""
    size = min(3.0 + random.exponential(SACCADE_MEAN_DEGREES), MAX_SACCADE_DEGREES)
    angle = np.radians(45 * random.choice(8, p=DIRECTION_SHARES / DIRECTION_SHARES.sum()) + random.uniform(-22.5, 22.5))
    return np.radians(size) * np.array([-np.cos(angle), np.sin(angle)])


def draw_brow_raise(prosody: Prosody, seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw raised brows: with accents, strong ones more often.

    Args:
        prosody: Prosody of the voice.
        seconds: (T,) times.
        random: Draws which accents, how strongly and how long.

    Returns:
        (T,) 0 to 1.
    """
    raised, liveliness = np.zeros(len(seconds)), random.uniform(0.3, 1.0)
    for accent, strength in zip(prosody.accents_seconds, prosody.accent_strengths, strict=True):
        chance, size, duration = random.random(), random.uniform(0.3, 1.0), random.uniform(*BROW_SECONDS)
        if chance < BROW_SHARE * (0.5 + strength):
            pulse = draw_pulse(seconds, accent - BROW_LEAD_SECONDS + 0.1 * duration, duration)
            raised = np.maximum(raised, liveliness * size * (0.5 + 0.5 * strength) * pulse)
    return raised
