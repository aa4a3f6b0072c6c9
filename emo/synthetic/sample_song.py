"""The sample song: an original melody, sung by a synthetic voice.

    python -m emo.synthetic.sample_song song.wav

Each harmonic of the melody is weighted by the vocal tract's transfer function at its frequency, so the mouth can move
at every sample (source-filter model, Fant 1960; formant frequencies after Peterson and Barney 1952). Curves are (S,)
float64 at SAMPLE_RATE_HZ.
"""

import sys
from dataclasses import dataclass

import numpy as np

from emo.media.audio import write_wav

SAMPLE_RATE_HZ = 24000
BEAT_SECONDS = 0.6
LEAD_SECONDS, TAIL_SECONDS = 0.25, 0.55
SEED = 7


@dataclass(frozen=True)
class VocalSound:
    """The vocal tract for one sound; `seconds` None: what the consonants leave of the note."""

    formants_hz: tuple[float, float, float]
    voice: float = 1.0
    seconds: float | None = None
    noises: tuple[float, float, float] = (0.0, 0.0, 0.0)  # levels of breath, burst and hiss: NOISE_BANDS_HZ


VOCAL_SOUNDS = {
    "a": VocalSound((780, 1250, 2700)),
    "e": VocalSound((530, 1950, 2700)),
    "i": VocalSound((310, 2400, 3050), 1.2),
    "o": VocalSound((500, 880, 2600)),
    "u": VocalSound((340, 800, 2450), 1.2),
    "m": VocalSound((250, 1000, 2250), 0.35, 0.09),
    "n": VocalSound((260, 1500, 2500), 0.35, 0.08),
    "l": VocalSound((350, 1100, 2800), 0.5, 0.07),
    "d": VocalSound((300, 1700, 2650), 0.06, 0.05),
    "D": VocalSound((350, 1700, 2650), 0.3, 0.02, (0.0, 0.25, 0.05)),  # the release of d
    "h": VocalSound((530, 1800, 2700), 0.05, 0.08, (0.25, 0.0, 0.0)),
    "s": VocalSound((350, 1500, 2600), 0.0, 0.12, (0.0, 0.04, 0.30)),
    " ": VocalSound((450, 1400, 2500), 0.0),
}
NOISE_BANDS_HZ = ((600, 3500), (2500, 6000), (5000, 10500))
HIGH_FORMANTS_HZ = (3500, 4600, 5600)
TONIC = 57  # MIDI number of A3

# "Hello my moon, so low the day need la la la": sounds, semitones above the tonic, beats
NOTES = [
    ("he", 0, 0.5), ("lo", 4, 1.0), ("mai", 2, 0.5), ("mun", 0, 1.5), (" ", 0, 0.6),
    ("so", -3, 0.5), ("lo", 0, 0.5), ("dDa", 4, 0.5), ("ni", 2, 1.0), (" ", 2, 0.6),
    ("la", 7, 0.5), ("li", 4, 0.5), ("la", 0, 1.8), (" ", 0, 0.1),
]  # fmt: skip


def smooth(curve: np.ndarray, seconds: float) -> np.ndarray:
    """Smooth a curve by a Hann window.

    Args:
        curve: (S,) values at SAMPLE_RATE_HZ.
        seconds: Length of the window.

    Returns:
        (S,) values.
    """
    kernel = np.hanning(round(seconds * SAMPLE_RATE_HZ) + 2)
    size = len(kernel) // 2
    padded = np.pad(curve, size, mode="edge")
    length = len(padded) + len(kernel)
    spectrum = np.fft.rfft(padded, length) * np.fft.rfft(kernel / kernel.sum(), length)
    return np.fft.irfft(spectrum, length)[2 * size : 2 * size + len(curve)]


def split_syllable(syllable: str, note_seconds: float) -> list[tuple[VocalSound, float]]:
    """Divide a note among the sounds of its syllable; vowels share what consonants leave, the first gets the most.

    Args:
        syllable: Letters of VOCAL_SOUNDS.
        note_seconds: Duration of the note.

    Returns:
        The sounds with their seconds.
    """
    sounds = [VOCAL_SOUNDS[letter] for letter in syllable]
    left = note_seconds - sum(sound.seconds or 0 for sound in sounds)
    vowels = sum(sound.seconds is None for sound in sounds)
    shares = iter([left] if vowels == 1 else [0.65 * left, 0.35 * left])
    return [(sound, next(shares) if sound.seconds is None else sound.seconds) for sound in sounds]


def compile_score() -> tuple[np.ndarray, np.ndarray]:
    """Return the notes as curves: semitones above the tonic (S,), and columns (S 7) of formants, voice and noises."""
    rest = (VOCAL_SOUNDS[" "], 0)
    steps = [(*rest, LEAD_SECONDS)]
    for syllable, semitones, beats in NOTES:
        steps += [(sound, semitones, seconds) for sound, seconds in split_syllable(syllable, beats * BEAT_SECONDS)]
    steps.append((*rest, TAIL_SECONDS))
    counts = [round(seconds * SAMPLE_RATE_HZ) for *_, seconds in steps]
    rows = [(*sound.formants_hz, sound.voice, *sound.noises) for sound, *_ in steps]
    return np.repeat([float(step[1]) for step in steps], counts), np.repeat(np.array(rows), counts, axis=0)


def make_pitch_hz(semitones: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Make the pitch: glides between notes, a growing vibrato on long ones, small random drift.

    Args:
        semitones: (S,) notes, semitones above the tonic.
        random: Draws the drift.

    Returns:
        (S,) Hz.
    """
    seconds = np.arange(len(semitones)) / SAMPLE_RATE_HZ
    onsets = np.flatnonzero(np.diff(semitones, prepend=np.nan))
    note_seconds = seconds - seconds[onsets[np.searchsorted(onsets, np.arange(len(semitones)), "right") - 1]]
    depth = smooth(0.35 * np.clip((note_seconds - 0.2) / 0.3, 0, 1), 0.06)
    vibrato = depth * np.sin(2 * np.pi * 5.4 * seconds)
    drift = smooth(random.standard_normal(len(semitones)), 0.15) * 3.0
    return 440 * 2 ** ((TONIC - 69 + smooth(semitones, 0.09) + vibrato + drift) / 12)


def synthesize_voice(f0_hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Synthesize a voice: harmonics that are filtered by resonances.

    Args:
        f0_hz: (S,) pitch.
        formants_hz: (S N) resonances.

    Returns:
        (S,) samples.
    """
    phase = 2 * np.pi * np.cumsum(f0_hz) / SAMPLE_RATE_HZ
    voice = np.zeros_like(f0_hz)
    for k in range(1, int(0.46 * SAMPLE_RATE_HZ / f0_hz.min())):
        frequency = k * f0_hz
        response = (frequency < 0.46 * SAMPLE_RATE_HZ) / k**0.7 * np.exp(1j * k * phase)
        for formant in formants_hz.T:
            bandwidth = 50 + 0.045 * formant
            response = response * formant**2 / (formant**2 - frequency**2 - 1j * frequency * bandwidth)
        voice += response.imag
    return voice


def make_noise_bands(count: int, random: np.random.Generator) -> np.ndarray:
    """Make noise in each of NOISE_BANDS_HZ.

    Args:
        count: Number of samples S.
        random: Draws the noise.

    Returns:
        (S 3) samples of unit power.
    """
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    edges = [np.clip((frequency - a) / 400, 0, 1) * np.clip((b - frequency) / 400, 0, 1) for a, b in NOISE_BANDS_HZ]
    noises = np.stack([np.fft.irfft(spectrum * edge, count) for edge in edges], axis=-1)
    return noises / noises.std(axis=0)


def add_reverb(dry: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add the reverb of a small room: a third of a second of decaying noise.

    Args:
        dry: (S,) samples.
        random: Draws the noise.

    Returns:
        (S,) samples.
    """
    seconds = np.arange(round(0.35 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echo = random.standard_normal(len(seconds)) * np.exp(-seconds / 0.05) * (seconds > 0.008)
    length = len(dry) + len(echo)
    wet = np.fft.irfft(np.fft.rfft(dry, length) * np.fft.rfft(echo, length), length)[: len(dry)]
    return dry + 0.12 * wet / wet.std() * dry.std()


def synthesize_song() -> np.ndarray:
    """Synthesize the sample song: (S,) in [-1, 1], the same at every call."""
    random = np.random.default_rng(SEED)
    semitones, targets = compile_score()
    curves = np.stack([smooth(column, 0.08 if index < 4 else 0.03) for index, column in enumerate(targets.T)], -1)
    high = np.broadcast_to(HIGH_FORMANTS_HZ, (len(curves), 3))
    voice = synthesize_voice(make_pitch_hz(semitones, random), np.concatenate([curves[:, :3], high], axis=-1))
    voice = voice / np.sqrt(smooth(voice**2, 0.2) + voice.var() * 0.05)  # makes the vowels equally loud
    noises = make_noise_bands(len(curves), random)
    dry = curves[:, 3] * (voice + 0.012 * noises[:, 0]) + (curves[:, 4:] * noises).sum(axis=-1)
    song = add_reverb(dry, random)
    return 0.8 * song / np.abs(song).max()


def main() -> None:
    """Write the sample song to the file that the command line names."""
    write_wav(sys.argv[1], synthesize_song(), SAMPLE_RATE_HZ)


if __name__ == "__main__":
    main()
