"""Synthetic music as an accompaniment of voices: chords, a bass line and drums.

A chord progression over a beat, with plucked or sustained tones of a few harmonics, and drums of filtered noise; no
recording and no composition of others is used. S samples, floats in about [-1, 1].
"""

import numpy as np

PROGRESSIONS = [(0, 7, 9, 5), (0, 5, 7, 5), (9, 5, 0, 7), (0, 9, 5, 7), (2, 7, 0, 9), (0, 3, 8, 10), (0, 10, 8, 7)]
MINOR_DEGREES = (2, 4, 9, 11)  # semitones over the key whose triad is minor
ATTACK_SECONDS = 0.01


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
