"""Songs of any length with the time of every phoneme: random melodies in the voice of `emo.synthetic.sample_song`.

Harmonics of the melody pass through the resonances of the vocal tract (source-filter model: Fant, "Acoustic Theory of
Speech Production", 1960; formants after Peterson and Barney, "Control Methods Used in a Study of the Vowels", 1952).
Vowels last up to LONGEST_NOTE_SECONDS, consonants are short, pitch and loudness vary.
"""

from dataclasses import dataclass

import numpy as np

from emo.synthetic.espeak import Phoneme, Speech
from emo.synthetic.sample_song import (
    HIGH_FORMANTS_HZ,
    SAMPLE_RATE_HZ,
    VOCAL_SOUNDS,
    make_noise_bands,
    make_pitch_hz,
    smooth,
    split_syllable,
    synthesize_voice,
)

LEAD_SECONDS, TAIL_SECONDS = 0.3, 0.4
ONSETS = ["l", "m", "n", "s", "h", "d", "dD", "", "l", "m"]
VOWELS = "aeiou"
CODAS = ["", "", "", "n", "m", "l", "s"]
SCALE = (0, 2, 4, 7, 9, 12)  # pentatonic, semitones over the tonic
LONGEST_NOTE_SECONDS = 3.0
IPA = {" ": "", "D": "d"}  # letters of the singer -> IPA; others are their own


@dataclass(frozen=True)
class Song:
    """A song without accompaniment.

    Attributes:
        voice: At 24 kHz, with its phonemes.
        tonic: MIDI number of the key's first note.
        beat_seconds: Length of a beat.
    """

    voice: Speech
    tonic: float
    beat_seconds: float


def draw_notes(seconds: float, beat_seconds: float, random: np.random.Generator) -> list[tuple[str, int, float]]:
    """Draw a melody of small steps, with rests.

    Args:
        seconds: Length of the melody.
        beat_seconds: Length of a beat.
        random: Draws it.

    Returns:
        Syllable (" " for a rest), semitones above the tonic and seconds of each note.
    """
    notes, time, degree = [], 0.0, int(random.integers(len(SCALE)))
    while time < seconds:
        beats = random.choice([0.5, 1, 1, 1.5, 2, 4], p=[0.25, 0.25, 0.15, 0.15, 0.12, 0.08])
        length = min(beats * beat_seconds, LONGEST_NOTE_SECONDS)
        degree = int(np.clip(degree + random.integers(-2, 3), 0, len(SCALE) - 1))
        coda = str(random.choice(CODAS)) if length > 0.45 else ""
        syllable = str(random.choice(ONSETS)) + str(random.choice(list(VOWELS))) + coda
        notes.append((syllable, SCALE[degree] - 3, length))
        time += length
        if random.random() < 0.15:
            notes.append((" ", SCALE[degree] - 3, beat_seconds * 0.75))
            time += beat_seconds * 0.75
    return notes


def draw_song(seconds: float, random: np.random.Generator) -> Song:
    """Draw a song.

    Args:
        seconds: About how long.
        random: Draws melody, tempo, key and the length of the vocal tract (formants times 0.88 to 1.18).

    Returns:
        The song; its loudness varies slowly.
    """
    beat, formant_scale = random.uniform(0.45, 0.75), random.uniform(0.88, 1.18)
    transposed = round(12 * np.log2(formant_scale) * 3 + random.uniform(-2, 2))
    steps = [(VOCAL_SOUNDS[" "], " ", 0.0, LEAD_SECONDS)]
    for syllable, semitones, length in draw_notes(seconds - LEAD_SECONDS - TAIL_SECONDS, beat, random):
        timed = split_syllable(syllable, length) if syllable.strip() else [(VOCAL_SOUNDS[" "], length)]
        for letter, (vocal_sound, duration) in zip(syllable, timed, strict=True):
            steps.append((vocal_sound, letter, float(semitones), duration))
    steps.append((VOCAL_SOUNDS[" "], " ", steps[-1][2], TAIL_SECONDS))
    counts = [round(duration * SAMPLE_RATE_HZ) for *_, duration in steps]
    rows = np.array([[*vocal.formants_hz, vocal.voice, *vocal.noises] for vocal, *_ in steps])
    targets = np.repeat(rows, counts, axis=0)
    tracks = np.stack([smooth(c, 0.08 if k < 4 else 0.03) for k, c in enumerate(targets.T)], -1)
    semitones = np.repeat([step[2] for step in steps], counts) + transposed
    formants = np.concatenate([tracks[:, :3], np.broadcast_to(HIGH_FORMANTS_HZ, (len(tracks), 3))], -1) * formant_scale
    voice = synthesize_voice(make_pitch_hz(semitones, random), formants)
    voice = voice / np.sqrt(smooth(voice**2, 0.2) + voice.var() * 0.05)
    swell = 1 + 0.35 * np.sin(
        2 * np.pi * np.arange(len(voice)) / SAMPLE_RATE_HZ / random.uniform(3, 6) + random.uniform(0, 6)
    )
    noises = make_noise_bands(len(tracks), random)
    dry = tracks[:, 3] * (voice + random.uniform(0.005, 0.03) * noises[:, 0]) * swell + (tracks[:, 4:] * noises).sum(-1)
    wave = np.round(0.8 * 32767 * dry / np.abs(dry).max()).astype(np.int16)
    ends = np.cumsum(counts) / SAMPLE_RATE_HZ
    starts = np.concatenate([[0.0], ends[:-1]])
    phonemes = [
        Phoneme(IPA.get(letter, letter), float(start), float(end))
        for (_, letter, _, _), start, end in zip(steps, starts, ends, strict=True)
        if end > start
    ]
    return Song(Speech(wave, SAMPLE_RATE_HZ, phonemes), 57.0 + transposed, beat)
