"""Read the sound of a video part by part, with voices separated from music. S samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import stream_audio
from emo.speech.separation import SeparateVocals, fit_length, singing_ratio
from emo.speech.voice_activity import speech_ratio

MUSIC_SAMPLE_RATE = 44100  # Hz, of the songs that separators were trained on
REWIND_SECONDS = 1.0  # before the part that was read last: a next part may begin a little earlier


@dataclass
class ClipAudio:
    """The sound of a clip.

    Attributes:
        wave: (S,) float32 at SAMPLE_RATE.
        vocals: (S,) without music; (0,) where there is no music.
        speech_ratio: Share of the time with a voice.
        music_ratio: Share of the energy; None: the sound was not separated.
    """

    wave: np.ndarray
    vocals: np.ndarray
    speech_ratio: float
    music_ratio: float | None = None

    @property
    def voice(self) -> np.ndarray:
        """(S,) the vocals where there is music, else the wave."""
        return self.vocals if len(self.vocals) else self.wave


class ForwardAudioReader:
    """The wave of a file, read forwards with little memory; reading an earlier part starts again from the beginning."""

    def __init__(self, path: Path, sample_rate: int):
        """Open a file.

        Args:
            path: A sound or video file.
            sample_rate: Sample rate of the result, Hz.
        """
        self.path, self.sample_rate = path, sample_rate
        self.pieces, self.held, self.first = stream_audio(path, sample_rate), [], 0

    def read(self, start: int, end: int) -> np.ndarray:
        """Read a range of samples, as far as there are any.

        Args:
            start: Number of the first sample.
            end: Number after the last sample.

        Returns:
            (S,) samples.

        Raises:
            InputError: The file has no sound.
        """
        if start < self.first:
            self.__init__(self.path, self.sample_rate)
        position, needed = self.first + sum(map(len, self.held)), start - round(REWIND_SECONDS * self.sample_rate)
        while position < end and (piece := next(self.pieces, None)) is not None:
            self.held.append(piece)
            position += len(piece)
            while self.held and self.first + len(self.held[0]) <= needed:
                self.first += len(self.held.pop(0))
        return np.concatenate([np.zeros(0, np.float32), *self.held])[start - self.first : end - self.first]


class VideoAudio:
    """The sound of one video, whose parts are best read in order."""

    def __init__(self, video: Path, separate: SeparateVocals | None = None, min_music_ratio: float = 0.0):
        """Open the sound of a video.

        Args:
            video: The file.
            separate: Separates voices from music; None: sounds stay as they are.
            min_music_ratio: Share of the energy from which on music is removed.
        """
        self.separate, self.min_music_ratio = separate, min_music_ratio
        self.readers = {rate: ForwardAudioReader(video, rate) for rate in (SAMPLE_RATE, MUSIC_SAMPLE_RATE)}

    def read_wave(self, first: int, count: int, sample_rate: int) -> np.ndarray:
        """Read the sound of consecutive frames; beyond the ends of the file it is silent.

        Args:
            first: Number of the first frame.
            count: Number of frames.
            sample_rate: Sample rate of the wave, Hz.

        Returns:
            (S,) samples.
        """
        start, size = round(first / FPS * sample_rate), round(count / FPS * sample_rate)
        wave = self.readers[sample_rate].read(max(0, start), start + size)
        return fit_length(np.pad(wave, (max(0, -start), 0)), size)

    def read(self, first: int, count: int) -> ClipAudio:
        """Read the sound of consecutive frames and separate the voice where that is asked for.

        Args:
            first: Number of the first frame.
            count: Number of frames.

        Returns:
            Wave, vocals and the shares of speech and music.

        Raises:
            InputError: The file has no sound.
        """
        wave = self.read_wave(first, count, SAMPLE_RATE)
        if self.separate is None:
            return ClipAudio(wave, wave[:0], speech_ratio(wave))
        mix = self.read_wave(first, count, MUSIC_SAMPLE_RATE)
        vocals = self.separate(mix, MUSIC_SAMPLE_RATE)
        sung, rest = float(np.square(vocals).sum()), float(np.square(mix - vocals).sum())
        music_ratio = rest / max(sung + rest, 1e-9)
        if music_ratio < self.min_music_ratio:
            return ClipAudio(wave, wave[:0], speech_ratio(wave), music_ratio)
        vocals = fit_length(soxr.resample(vocals, MUSIC_SAMPLE_RATE, SAMPLE_RATE), len(wave))
        return ClipAudio(wave, vocals, max(speech_ratio(vocals), singing_ratio(vocals, wave)), music_ratio)
