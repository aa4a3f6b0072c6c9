"""What is heard while a face is seen: the sound of a video, part by part, its voice apart from its music.

S samples.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import stream_audio
from emo.speech.separation import Separate, fitted, sung_share
from emo.speech.voice_activity import voice_share

SOUND_RATE = 44100  # Hz, that of the songs separators learnt from
KEPT_SECONDS = 1.0  # before the part that was heard last: it may be asked for again a little earlier


@dataclass
class Heard:
    """The sound of a clip; music_share None: it was not separated."""

    wave: np.ndarray  # (S,) at SAMPLE_RATE
    vocals: np.ndarray  # (S,); (0,) where there is no music
    voice_share: float  # of the time
    music_share: float | None = None  # of the energy

    @property
    def voice(self) -> np.ndarray:
        return self.vocals if len(self.vocals) else self.wave


class Forward:
    """The wave of a file, read forwards; for what has passed it starts anew. It holds no more than is asked for."""

    def __init__(self, path: Path, sample_rate: int):
        self.path, self.sample_rate = path, sample_rate
        self.pieces, self.held, self.first = stream_audio(path, sample_rate), [], 0

    def read(self, start: int, end: int) -> np.ndarray:
        """Its samples start .. end - 1, as far as there are any. Raises InputError for a file without sound."""
        if start < self.first:
            self.__init__(self.path, self.sample_rate)
        position, kept = self.first + sum(map(len, self.held)), start - round(KEPT_SECONDS * self.sample_rate)
        while position < end and (piece := next(self.pieces, None)) is not None:
            self.held.append(piece)
            position += len(piece)
            while self.held and self.first + len(self.held[0]) <= kept:
                self.first += len(self.held.pop(0))
        return np.concatenate([np.zeros(0, np.float32), *self.held])[start - self.first : end - self.first]


class Listener:
    """The sound of one video; parts of it are best asked for in their order."""

    def __init__(self, video: Path, separate: Separate | None = None, least_music: float = 0.0):
        """separate: takes voices from music, where that has `least_music` of the energy; None: sounds stay as they
        are."""
        self.separate, self.least_music = separate, least_music
        self.waves = {rate: Forward(video, rate) for rate in (SAMPLE_RATE, SOUND_RATE)}

    def sound(self, first: int, count: int, sample_rate: int) -> np.ndarray:
        """The wave (S,) of `count` frames from the frame `first` on; before the file's start and behind its end is
        silence."""
        start, size = round(first / FPS * sample_rate), round(count / FPS * sample_rate)
        wave = self.waves[sample_rate].read(max(0, start), start + size)
        return fitted(np.pad(wave, (max(0, -start), 0)), size)

    def hear(self, first: int, count: int) -> Heard:
        """What is heard in `count` frames from the frame `first` on."""
        wave = self.sound(first, count, SAMPLE_RATE)
        if self.separate is None:
            return Heard(wave, wave[:0], voice_share(wave))
        fine = self.sound(first, count, SOUND_RATE)
        vocals = self.separate(fine, SOUND_RATE)
        sung, rest = float(np.square(vocals).sum()), float(np.square(fine - vocals).sum())
        music_share = rest / max(sung + rest, 1e-9)
        if music_share < self.least_music:
            return Heard(wave, wave[:0], voice_share(wave), music_share)
        vocals = fitted(soxr.resample(vocals, SOUND_RATE, SAMPLE_RATE), len(wave))
        return Heard(wave, vocals, max(voice_share(vocals), sung_share(vocals, wave)), music_share)
