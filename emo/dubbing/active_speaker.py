"""Which face speaks: the lips that move as the sound says.

`ActiveSpeakerScorer` is the contract; the default compares visible lips with those that the built-in lip-sync scorer
predicts from the sound (`emo.speech.lip_sync`). Frames are at 25 per second. T frames, S samples at 16 kHz.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from emo.core.timing import FPS, SAMPLE_RATE
from emo.dubbing.tracks import FaceTrack
from emo.face.crop import normalize_landmarks
from emo.face.landmarks import LIP_POINTS
from emo.speech.contracts import SpeakerTurn
from emo.speech.lip_sync import REACH_FRAMES, load_lip_sync_scorer, predict_lips, remove_drift

MAX_OFFSET_FRAMES = 3  # sound and picture of a film may lie that far apart
CONTEXT_SECONDS = 1.0  # of sound on both sides of a track
MIN_TURN_FRAMES = 8  # a shorter turn says nothing about a face
MIN_SCORE = 0.08  # a face that speaks has more; see docs/dubbing.md
REST = 0.004  # deviation of lips at rest, in sides of the face's square


@runtime_checkable
class ActiveSpeakerScorer(Protocol):
    """Tells in which frames a face speaks."""

    def score(self, track: FaceTrack, seconds: np.ndarray, wave: np.ndarray) -> np.ndarray:
        """Score the frames of a face.

        Args:
            track: The face.
            seconds: (T,) times of its frames.
            wave: (S,) float32 mono at 16 kHz, the film's sound from its start.

        Returns:
            (N,) at 25 per second from the first frame on: above MIN_SCORE where the face says what is heard.
        """
        ...


class LipSyncSpeakerScorer:
    """Scores a face by the product of visible and predicted lip movements, over half a second."""

    WINDOW_FRAMES = 6.0  # sigma

    def score(self, track: FaceTrack, seconds: np.ndarray, wave: np.ndarray) -> np.ndarray:
        """Score the frames of a face; see `ActiveSpeakerScorer.score`."""
        grid = np.arange(seconds[0], seconds[-1] + 0.5 / FPS, 1 / FPS)
        rate = len(seconds) / max(float(np.ptp(seconds)), 1e-3)
        lips = normalize_landmarks(track.landmarks[:, LIP_POINTS], track.regions(rate))
        flat = lips.reshape(len(lips), -1)
        visible = remove_drift(np.stack([np.interp(grid, seconds, column) for column in flat.T], axis=1))
        predicted = remove_drift(predict_around(wave, float(grid[0]), len(grid)))
        predicted = predicted / np.maximum(predicted.std(0).mean(), 1e-9)
        scores = []
        for offset in range(-MAX_OFFSET_FRAMES, MAX_OFFSET_FRAMES + 1):
            part = predicted[REACH_FRAMES + offset :][: len(grid)]
            scores.append(windowed_correlation(part, visible, self.WINDOW_FRAMES))
        best = int(np.argmax([score.mean() for score in scores]))
        return scores[best]


def predict_around(wave: np.ndarray, start_seconds: float, count: int) -> np.ndarray:
    """Predict the lips of frames from the sound around them.

    Args:
        wave: (S,) of the whole film.
        start_seconds: Time of the first frame.
        count: Number of frames at 25 per second.

    Returns:
        (count + 2 REACH_FRAMES 40), as `emo.speech.lip_sync.predict_lips`.
    """
    lead = min(round(CONTEXT_SECONDS * FPS), int(start_seconds * FPS))
    first = round((start_seconds - lead / FPS) * SAMPLE_RATE)
    last = round((start_seconds + count / FPS + CONTEXT_SECONDS) * SAMPLE_RATE)
    piece = wave[max(0, first) : last]
    if len(piece) < SAMPLE_RATE // 10:
        piece = np.zeros(SAMPLE_RATE // 10, np.float32)
    return predict_lips(np.ascontiguousarray(piece), lead + count, load_lip_sync_scorer())[lead:]


def windowed_correlation(predicted: np.ndarray, lips: np.ndarray, sigma_frames: float) -> np.ndarray:
    """Correlate predicted and visible lips around each frame.

    Args:
        predicted: (T D), without drift.
        lips: (T D), without drift.
        sigma_frames: Of the Gaussian window.

    Returns:
        (T,) -1..1; near 0 where the lips rest.
    """
    size = (1, 2 * int(3 * sigma_frames) + 1)

    def smooth(values: np.ndarray) -> np.ndarray:
        column = values.astype(np.float64)[:, None]
        return cv2.GaussianBlur(column, size, 1, None, sigma_frames, cv2.BORDER_REPLICATE)[:, 0]

    product = smooth((predicted * lips).sum(1))
    power, moves = smooth((predicted**2).sum(1)), smooth((lips**2).sum(1))
    return product / (np.sqrt(power * (moves + lips.shape[1] * REST**2)) + 1e-9)


def assign_faces(
    turns: Sequence[SpeakerTurn], scores: Mapping[int, np.ndarray], starts: Mapping[int, float]
) -> dict[int, dict[str, float]]:
    """Collect what each face's lips say about each speaker.

    In each turn, of the faces that are seen together the one that fits best speaks, if it fits at all.

    Args:
        turns: Who speaks when.
        scores: Track number -> (N,) of `ActiveSpeakerScorer.score`.
        starts: Track number -> time of its first frame.

    Returns:
        Track number -> speaker -> seconds of turns in which this face speaks.
    """
    votes: dict[int, dict[str, float]] = {number: {} for number in scores}
    for turn in turns:
        found = []
        for number, values in scores.items():
            first = max(0, round((turn.start_seconds - starts[number]) * FPS))
            last = min(len(values), round((turn.end_seconds - starts[number]) * FPS))
            if last - first >= MIN_TURN_FRAMES:
                found.append((float(values[first:last].mean()), (last - first) / FPS, number))
        taken: list[tuple[float, float]] = []
        for score, seconds, number in sorted(found, reverse=True):
            span = starts[number], starts[number] + len(scores[number]) / FPS
            if score >= MIN_SCORE and not any(span[0] < end and start < span[1] for start, end in taken):
                votes[number][turn.speaker] = votes[number].get(turn.speaker, 0.0) + seconds
                taken.append(span)
    return votes


def choose_speakers(votes: Mapping[int, Mapping[str, float]]) -> dict[int, str | None]:
    """Choose the speaker of each face by its votes; None: a face without votes.

    Args:
        votes: Number of the face -> speaker -> votes.

    Returns:
        Number of the face -> speaker.
    """
    return {number: max(one, key=lambda name: one[name]) if one else None for number, one in votes.items()}
