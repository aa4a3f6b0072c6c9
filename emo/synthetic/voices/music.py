"""Synthetic music: songs with the time of every phoneme, and an accompaniment of chords, a bass line and drums.

Songs are random melodies in the voice of `emo.synthetic.sample_song`: harmonics of the melody pass through the
resonances of the vocal tract (source-filter model: Fant, "Acoustic Theory of Speech Production", 1960; formants after
Peterson and Barney, "Control Methods Used in a Study of the Vowels", 1952). Vowels last up to LONGEST_NOTE_SECONDS,
consonants are short, pitch and loudness vary.

The accompaniment is a chord progression over a beat, with plucked or sustained tones of a few harmonics, and drums of
filtered noise; no recording and no composition of others is used. S samples, floats in about [-1, 1].
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

PROGRESSIONS = [(0, 7, 9, 5), (0, 5, 7, 5), (9, 5, 0, 7), (0, 9, 5, 7), (2, 7, 0, 9), (0, 3, 8, 10), (0, 10, 8, 7)]
MINOR_DEGREES = (2, 4, 9, 11)  # semitones over the key whose triad is minor
ATTACK_SECONDS = 0.01
LEAD_SECONDS, TAIL_SECONDS = 0.3, 0.4
ONSETS = ["l", "m", "n", "s", "h", "d", "dD", "", "l", "m"]
VOWELS = "aeiou"
CODAS = ["", "", "", "n", "m", "l", "s"]
SCALE = (0, 2, 4, 7, 9, 12)  # pentatonic, semitones over the tonic
LONGEST_NOTE_SECONDS = 3.0
IPA = {" ": "", "D": "d"}  # letters of the singer -> IPA; others are their own


def make_tone(
    frequency_hz: float,
    count: int,
    sample_rate: int,
    brightness: float,
    decay_seconds: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Make a tone of slightly detuned harmonics.

    Args:
        frequency_hz: Frequency of the fundamental, Hz.
        count: Number of samples.
        sample_rate: Hz.
        brightness: Above 0; larger: the harmonics are stronger.
        decay_seconds: In which the fundamental falls to 1 / e; harmonics fall faster.
        random: Draws detuning and phases.

    Returns:
        (count,)
    """
    seconds = np.arange(count) / sample_rate
    tone = np.zeros(count)
    for harmonic in range(1, 9):
        rate = harmonic * frequency_hz * (1 + 0.001 * random.standard_normal())
        if rate < 0.45 * sample_rate:
            tone += (
                harmonic ** -(1.0 / max(brightness, 0.1))
                * np.sin(2 * np.pi * (rate * seconds + random.random()))
                * np.exp(-seconds * harmonic**0.5 / decay_seconds)
            )
    return (
        tone * np.minimum(1, seconds / ATTACK_SECONDS) * np.minimum(1, (count / sample_rate - seconds) / ATTACK_SECONDS)
    )


def make_drum(kind: str, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Make a quarter of a second of a drum.

    Args:
        kind: "kick", "snare" or "hat".
        sample_rate: Hz.
        random: Draws the noise.

    Returns:
        (S,) samples.
    """
    seconds = np.arange(round(0.25 * sample_rate)) / sample_rate
    if kind == "kick":
        return np.sin(2 * np.pi * (50 * seconds + 6 * (1 - np.exp(-seconds / 0.03)))) * np.exp(-seconds / 0.08)
    noise = random.standard_normal(len(seconds))
    if kind == "hat":
        return np.diff(noise, prepend=0) * np.exp(-seconds / 0.02) * 0.4
    return noise * np.exp(-seconds / 0.06) * 0.6 + 0.5 * np.sin(2 * np.pi * 190 * seconds) * np.exp(-seconds / 0.05)


def mix_in(track: np.ndarray, sound: np.ndarray, start: int, gain: float) -> None:
    """Add a sound to a track in place; what is beyond its end is dropped.

    Args:
        track: (S,) samples.
        sound: Samples that are added.
        start: Sample of the track where the sound starts.
        gain: Factor of the sound.
    """
    end = min(len(track), start + len(sound))
    if end > start:
        track[start:end] += gain * sound[: end - start]


def make_music(
    num_samples: int,
    sample_rate: int,
    random: np.random.Generator,
    tonic: float | None = None,
    beat_seconds: float | None = None,
) -> np.ndarray:
    """Make music.

    Args:
        num_samples: S.
        sample_rate: Hz.
        random: Draws chords, instruments and rhythm.
        tonic: MIDI number of the key's first note; None: random.
        beat_seconds: Length of a beat; None: random.

    Returns:
        (S,) float64 with a peak of 1.
    """
    tonic = float(random.integers(45, 57)) if tonic is None else tonic
    beat = random.uniform(0.35, 0.75) if beat_seconds is None else beat_seconds
    chords = PROGRESSIONS[random.integers(len(PROGRESSIONS))]
    brightness, has_drums, is_plucked = random.uniform(0.4, 1.2), random.random() < 0.6, random.random() < 0.6
    track, bar, hop = np.zeros(num_samples), 0, beat * sample_rate
    while round(4 * bar * hop) < num_samples:
        root = tonic + chords[bar % len(chords)]
        third = 3 if chords[bar % len(chords)] in MINOR_DEGREES else 4
        for step in range(4):
            start = round((4 * bar + step) * hop)
            if is_plucked or step == 0:
                length = round((0.95 if is_plucked else 3.95) * hop)
                notes = (root, root + third, root + 7, root + 12)
                for note in notes if not is_plucked else notes[step % 2 :: 2]:
                    frequency = 440 * 2 ** ((note - 69) / 12)
                    decay = 0.4 if is_plucked else 2.5
                    mix_in(track, make_tone(frequency, length, sample_rate, brightness, decay, random), start, 0.2)
            if step % 2 == 0:
                bass = 440 * 2 ** ((root - 12 - 69) / 12)
                mix_in(track, make_tone(bass, round(1.8 * hop), sample_rate, 0.5, 0.8, random), start, 0.35)
            if has_drums:
                mix_in(track, make_drum("kick" if step % 2 == 0 else "snare", sample_rate, random), start, 0.5)
                for eighth in (0, 0.5):
                    mix_in(track, make_drum("hat", sample_rate, random), start + round(eighth * hop), 0.3)
        bar += 1
    return track / max(np.abs(track).max(), 1e-9)


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
