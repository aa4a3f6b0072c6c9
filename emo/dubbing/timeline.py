"""Lay the film's parts out for a sound of another length, and say when a face's mouth is changed.

T frames of a face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emo.dubbing.film import Film, Part

SYNC_MODES = ("silence", "cut", "loop", "bounce")
PAD_SECONDS = 0.15  # a mouth is changed so long before and after a turn
FADE_SECONDS = 0.1


@dataclass(frozen=True)
class Take:
    """One showing of the whole film: the first, or one of a loop.

    Attributes:
        number: Counts from 0.
        is_reversed: Whether it is played backwards.
    """

    number: int
    is_reversed: bool

    def shift(self, film: Film) -> int:
        """Return what is added to time stamps, in the film's time base."""
        return self.number * (film.end_pts - int(film.frame_pts[0]))

    def mirror(self, film: Film) -> int | None:
        """Return the sum of a frame's new and old time stamp and its duration; None: not played backwards."""
        if not self.is_reversed:
            return None
        return self.shift(film) + film.end_pts + int(film.frame_pts[0])

    def seconds(self, film: Film, frames: np.ndarray) -> np.ndarray:
        """Return when frames are shown in the new film.

        Args:
            film: The film.
            frames: (T,) numbers of frames.

        Returns:
            (T,) seconds after the new film's start.
        """
        times = film.frame_seconds[frames]
        length = film.seconds - float(film.frame_seconds[0])
        if not self.is_reversed:
            return times + self.number * length
        ends = np.append(film.frame_seconds, film.seconds)[np.asarray(frames) + 1]
        return self.number * length + film.seconds + float(film.frame_seconds[0]) - ends


def lay_out(film: Film, sound_seconds: float, sync_mode: str) -> tuple[list[Take], float]:
    """Say how often the film is shown for a sound.

    Args:
        film: The film.
        sound_seconds: Length of the new sound.
        sync_mode: "silence": the film as it is, silent after the sound; "cut": both end with the shorter; "loop": the
            film starts again until the sound ends; "bounce": it goes back and forth.

    Returns:
        The takes, and the length of the new film in seconds.
    """
    if sync_mode == "cut":
        return [Take(0, False)], min(film.seconds, sound_seconds)
    if sync_mode == "silence" or sound_seconds <= film.seconds:
        return [Take(0, False)], film.seconds
    length = film.seconds - float(film.frame_seconds[0])
    count = max(1, int(np.ceil((sound_seconds - float(film.frame_seconds[0])) / length - 1e-6)))
    return [Take(number, sync_mode == "bounce" and number % 2 == 1) for number in range(count)], sound_seconds


def cut_spans(times: np.ndarray, spans: Sequence[tuple[float, float]], pad_seconds: float = PAD_SECONDS) -> np.ndarray:
    """Mark the times that lie in some spans, or a little beside them.

    Args:
        times: (T,) seconds.
        spans: (start, end) of each, seconds.
        pad_seconds: How far beside a span.

    Returns:
        (T,) bool.
    """
    inside = np.zeros(len(times), bool)
    for start, end in spans:
        inside |= (times >= start - pad_seconds) & (times < end + pad_seconds)
    return inside


def fade_in_and_out(times: np.ndarray, inside: np.ndarray, seconds: float = FADE_SECONDS) -> np.ndarray:
    """Turn a mask into a strength that rises and falls inside of it.

    Args:
        times: (T,) seconds, ascending.
        inside: (T,) bool.
        seconds: How long a rise takes.

    Returns:
        (T,) 0 outside, 1 from `seconds` after a start on to `seconds` before an end. The ends of the array are no ends.
    """
    outside = times[~inside]
    if len(outside) == 0:
        return np.ones(len(times))
    place = np.searchsorted(outside, times)
    before = times - np.where(place > 0, outside[np.maximum(place - 1, 0)], -np.inf)
    after = np.where(place < len(outside), outside[np.minimum(place, len(outside) - 1)], np.inf) - times
    return np.where(inside, np.clip(np.minimum(before, after) / seconds, 0, 1), 0.0)


def is_touched(part: Part, strengths: Sequence[tuple[int, np.ndarray]]) -> bool:
    """Check whether a face is changed in a part.

    Args:
        part: The part.
        strengths: First frame and strength (T,) of each face.

    Returns:
        Whether one of the strengths is above 0 in a frame of the part.
    """
    for first, strength in strengths:
        start, end = max(0, part.first_frame - first), part.end_frame - first
        if end > 0 and np.any(strength[start:end] > 0):
            return True
    return False
