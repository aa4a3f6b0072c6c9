"""What a synthetic head says or sings: random texts, voices and vocal efforts, with the time of every phoneme.

Voices are Kokoro's, where its folder is given, and eSpeak NG's; songs are sung by `emo.synthetic.voices.music`.
S samples at SAMPLE_RATE.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import soxr

from emo.core.timing import SAMPLE_RATE
from emo.synthetic.espeak import Phoneme, Speech, synthesize_in_process
from emo.synthetic.voices.kokoro import LANGUAGES as KOKORO_LANGUAGES
from emo.synthetic.voices.kokoro import Kokoro
from emo.synthetic.voices.music import draw_song, make_music
from emo.synthetic.voices.sentences import LANGUAGES, make_text

EFFORT_SHARES = {"normal": 0.7, "quiet": 0.08, "whisper": 0.07, "loud": 0.08, "shout": 0.07}
EFFORT_LEVELS_DB = {"normal": 0.0, "quiet": -6.0, "whisper": -10.0, "loud": 4.0, "shout": 8.0}
ESPEAK_SHARE = 0.15  # of the speech where Kokoro is there too
FOREIGN_SHARE = 0.15  # of Kokoro's texts: in another language than the voice's own
LICENSES = {
    "kokoro": "voice: Kokoro-82M (Apache-2.0)",
    "espeak": "voice: spoken by eSpeak NG (the program is GPL, its speech is free)",
    "song": "voice: sung by this package (Apache-2.0)",
}


@dataclass(frozen=True)
class VoiceChoice:
    """Voices and languages to choose from.

    Attributes:
        kokoro: None: eSpeak NG alone.
        languages: As eSpeak NG names them.
        voices: Voices of Kokoro; None: all.
    """

    kokoro: Kokoro | None = None
    languages: tuple[str, ...] = LANGUAGES
    voices: frozenset[str] | None = None

    def list_voices(self) -> list[str]:
        """Return the voices of Kokoro to choose from, sorted."""
        names = [] if self.kokoro is None else self.kokoro.voices
        return [name for name in names if self.voices is None or name in self.voices]


@dataclass(frozen=True)
class Utterance:
    """A clean voice that speaks or sings.

    Attributes:
        kind: Kokoro, espeak, song or clip.
        wave: (S,) float32.
        phonemes: With their times; empty for a real clip.
        text: What is said; "" if unknown.
        language: As eSpeak NG names it; "" if unknown.
        voice: Name of the voice, or the person of a real clip.
        effort: Vocal effort, of EFFORT_SHARES.
        license: License of the voice.
        music: (S,) float32 accompaniment; None: there is none.
    """

    kind: str
    wave: np.ndarray
    phonemes: list[Phoneme] = field(default_factory=list)
    text: str = ""
    language: str = ""
    voice: str = ""
    effort: str = "normal"
    license: str = ""
    music: np.ndarray | None = None

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return len(self.wave) / SAMPLE_RATE

    def cut(self, num_samples: int) -> "Utterance":
        """Return the first samples, and the phonemes that begin in them."""
        phonemes = [p for p in self.phonemes if p.start_seconds < num_samples / SAMPLE_RATE]
        music = None if self.music is None else self.music[:num_samples]
        return replace(self, wave=self.wave[:num_samples], phonemes=phonemes, music=music)


def draw_speech_utterance(choice: VoiceChoice, seconds: float, random: np.random.Generator) -> Utterance:
    """Draw a voice that speaks a random text.

    Args:
        choice: Voices and languages to choose from.
        seconds: About how long.
        random: Draws voice, language, text, rate and vocal effort.

    Returns:
        The voice with its phonemes and text.

    Raises:
        InputError: No speech synthesizer is installed.
    """
    effort = str(random.choice(list(EFFORT_SHARES), p=np.array(list(EFFORT_SHARES.values()))))
    voices, synthesizer_draw = choice.list_voices(), random.random()
    language = str(random.choice(list(choice.languages)))
    if not voices or choice.kokoro is None or synthesizer_draw < ESPEAK_SHARE:
        text = make_text(language, random, seconds)
        speech, kind, voice = synthesize_in_process(text, random, language), "espeak", "espeak"
    else:
        language_draw = random.random()
        voice = str(random.choice(voices))
        native = KOKORO_LANGUAGES.get(voice[:1], "en-us")
        spoken = set(KOKORO_LANGUAGES.values()) & set(choice.languages)
        if native in spoken and language_draw >= FOREIGN_SHARE:
            language = native
        elif spoken:
            language = str(random.choice(sorted(spoken)))
        text = make_text(language, random, seconds)
        speech = choice.kokoro.synthesize(text, voice, language, float(random.uniform(0.85, 1.2)))
        kind = "kokoro"
    wave = resample_speech(speech)
    if effort == "whisper":
        wave = whisper(wave, SAMPLE_RATE, random)
    elif effort == "shout":
        wave = shout(wave, SAMPLE_RATE)
    return Utterance(kind, wave, speech.phonemes, text, language, voice, effort, LICENSES[kind])


def draw_song_utterance(seconds: float, random: np.random.Generator) -> Utterance:
    """Draw a song with an accompaniment in its key and tempo.

    Args:
        seconds: About how long.
        random: Draws the song.

    Returns:
        The voice with its phonemes and music.
    """
    song = draw_song(seconds, random)
    wave = resample_speech(song.voice)
    music = make_music(len(wave), SAMPLE_RATE, random, song.tonic - 12, song.beat_seconds).astype(np.float32)
    return Utterance("song", wave, song.voice.phonemes, "", "", "singer", "normal", LICENSES["song"], music)


def resample_speech(speech: Speech) -> np.ndarray:
    """(S,) float32 at SAMPLE_RATE, in [-1, 1]."""
    return soxr.resample(speech.wave.astype(np.float32) / 32768, speech.sample_rate, SAMPLE_RATE)


def whisper(wave: np.ndarray, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Turn speech into a whisper: noise takes the place of the vocal folds.

    The spectral envelope of each moment, smoothed over the harmonics by its cepstrum, shapes white noise (source-filter
    model: Fant, "Acoustic Theory of Speech Production", 1960).

    Args:
        wave: (S,) float32.
        sample_rate: Hz.
        random: Draws the noise.

    Returns:
        (S,) float32 of half the peak.
    """
    size = 1 << int(np.ceil(np.log2(0.032 * sample_rate)))
    hop, window = size // 4, np.hanning(size)
    padded = np.pad(wave.astype(np.float64), size)
    noise = random.standard_normal(len(padded))
    out, weight = np.zeros(len(padded)), np.zeros(len(padded))
    lifter = np.zeros(size)
    order = round(0.0022 * sample_rate)  # below the quefrency of the highest voices
    lifter[:order], lifter[-order + 1 :] = 1.0, 1.0
    for start in range(0, len(padded) - size, hop):
        part = slice(start, start + size)
        spectrum = np.log(np.abs(np.fft.fft(padded[part] * window)) + 1e-5)
        envelope = np.exp(np.fft.fft(np.fft.ifft(spectrum).real * lifter).real)
        shaped = np.fft.ifft(np.fft.fft(noise[part] * window) * envelope).real
        out[part] += shaped * window
        weight[part] += window**2
    out = out / np.maximum(weight, 1e-3)
    out = np.diff(out, prepend=0) + 0.3 * out  # whispers are brighter
    out = out[size : size + len(wave)]
    return (out * 0.5 * np.abs(wave).max() / max(np.abs(out).max(), 1e-9)).astype(np.float32)


def shout(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Raise a voice: more energy at high frequencies, and less difference between loud and quiet.

    After Traunmueller and Eriksson, "Acoustic effects of variation in vocal effort by men, women, and children", 2000.

    Args:
        wave: (S,) float32.
        sample_rate: Hz.

    Returns:
        (S,) float32 with a peak of 0.95.
    """
    spectrum = np.fft.rfft(wave.astype(np.float64))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / sample_rate), 100) / 500)
    bright = np.fft.irfft(spectrum * 10 ** (4.0 * np.clip(octaves, -1, 3) / 20), len(wave))
    bright = bright / max(np.abs(bright).max(), 1e-9)
    squeezed = np.tanh(2.5 * bright)
    return (squeezed * 0.95 / max(np.abs(squeezed).max(), 1e-9)).astype(np.float32)
