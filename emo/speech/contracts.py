"""Contracts that let other packages and weights plug in: lip-sync scorers, speech synthesizers, diarizers.

A class fulfils a contract by having its methods; it need not inherit from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


class SyncScore(Protocol):
    """How well a face and a sound fit together."""

    @property
    def offset_frames(self) -> int:
        """The sound's delay at the best fit; positive: the sound is late."""
        ...

    @property
    def confidence(self) -> float:
        """How much better the best offset fits than the others; higher is better, in the scorer's own unit."""
        ...


@runtime_checkable
class SyncScorer(Protocol):
    """Scores the lip sync of one face track, frame by frame."""

    def add(self, face: np.ndarray) -> None:
        """Add the next frame.

        Args:
            face: (H W 3) uint8 RGB crop of the face, of the size that the scorer needs, at 25 frames per second.
        """
        ...

    def finish(self, wave: np.ndarray) -> SyncScore:
        """Score all frames.

        Args:
            wave: (S,) float32 mono at 16 kHz, of the time of the frames.

        Returns:
            The score.

        Raises:
            InputError: There are too few frames or samples.
        """
        ...


@dataclass(frozen=True)
class SpokenWord:
    """A word of synthetic speech."""

    text: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class SynthesizedSpeech:
    """Synthetic speech.

    Attributes:
        wave: (S,) float32 mono in [-1, 1].
        sample_rate: Hz.
        words: Words with their times, where the synthesizer knows them.
    """

    wave: np.ndarray
    sample_rate: int
    words: Sequence[SpokenWord] = ()


@runtime_checkable
class SpeechSynthesizer(Protocol):
    """Speaks text."""

    def synthesize(self, text: str, language: str, voice: str | None = None) -> SynthesizedSpeech:
        """Speak a text.

        Args:
            text: Text in the language.
            language: Code of BCP 47, such as en-US.
            voice: One of the synthesizer's voices; None: its default.

        Returns:
            The speech.

        Raises:
            InputError: The synthesizer does not have the language or the voice.
        """
        ...


@dataclass(frozen=True)
class SpeakerTurn:
    """A stretch of sound in which one speaker is active; turns of different speakers may overlap."""

    speaker: str
    start_seconds: float
    end_seconds: float


@runtime_checkable
class Diarizer(Protocol):
    """Tells who speaks when."""

    def diarize(self, wave: np.ndarray, num_speakers: int | None = None) -> Sequence[SpeakerTurn]:
        """Find the turns of all speakers.

        Args:
            wave: (S,) float32 mono at 16 kHz.
            num_speakers: None: not known.

        Returns:
            The turns by their beginning.
        """
        ...
