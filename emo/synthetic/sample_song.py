"""A sung phrase made of nothing: an original melody, a glottal buzz, formants. The sample song is its output.

    python -m emo.synthetic.sample_song song.wav

Harmonics of the melody, each weighted by the mouth's transfer function at its frequency, so that the mouth
may move at every sample (source-filter model, Fant 1960; formant frequencies after Peterson and Barney 1952).
Tracks are (S,) float64 at SAMPLE_RATE_HZ.
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
class Phone:
    """How the throat stands for one sound; None as `seconds` takes what is left of the note."""

    formants_hz: tuple[float, float, float]
    voice: float = 1.0
    seconds: float | None = None
    noises: tuple[float, float, float] = (0.0, 0.0, 0.0)  # breath, burst, hiss


PHONES = {
    "a": Phone((780, 1250, 2700)),
    "e": Phone((530, 1950, 2700)),
    "i": Phone((310, 2400, 3050), 1.2),
    "o": Phone((500, 880, 2600)),
    "u": Phone((340, 800, 2450), 1.2),
    "m": Phone((250, 1000, 2250), 0.35, 0.09),
    "n": Phone((260, 1500, 2500), 0.35, 0.08),
    "l": Phone((350, 1100, 2800), 0.5, 0.07),
    "d": Phone((300, 1700, 2650), 0.06, 0.05),
    "D": Phone((350, 1700, 2650), 0.3, 0.02, (0.0, 0.25, 0.05)),  # the release of d
    "h": Phone((530, 1800, 2700), 0.05, 0.08, (0.25, 0.0, 0.0)),
    "s": Phone((350, 1500, 2600), 0.0, 0.12, (0.0, 0.04, 0.30)),
    " ": Phone((450, 1400, 2500), 0.0),
}
NOISE_BANDS_HZ = ((600, 3500), (2500, 6000), (5000, 10500))
HIGH_FORMANTS_HZ = (3500, 4600, 5600)
TONIC = 57  # MIDI number of A3

# "Hello my moon, so low the day need la la la": phones, semitones over the tonic, beats
NOTES = [
    ("he", 0, 0.5), ("lo", 4, 1.0), ("mai", 2, 0.5), ("mun", 0, 1.5), (" ", 0, 0.6),
    ("so", -3, 0.5), ("lo", 0, 0.5), ("dDa", 4, 0.5), ("ni", 2, 1.0), (" ", 2, 0.6),
    ("la", 7, 0.5), ("li", 4, 0.5), ("la", 0, 1.8), (" ", 0, 0.1),
]  # fmt: skip


def smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """The track over a Hann window of this length: what muscles do to a jump."""
    kernel = np.hanning(round(seconds * SAMPLE_RATE_HZ) + 2)
    size = len(kernel) // 2
    padded = np.pad(track, size, mode="edge")
    length = len(padded) + len(kernel)
    spectrum = np.fft.rfft(padded, length) * np.fft.rfft(kernel / kernel.sum(), length)
    return np.fft.irfft(spectrum, length)[2 * size : 2 * size + len(track)]


def spell(syllable: str, note_seconds: float) -> list[tuple[Phone, float]]:
    """Phones of a syllable with their seconds; vowels share what consonants leave, the first takes most."""
    phones = [PHONES[letter] for letter in syllable]
    left = note_seconds - sum(phone.seconds or 0 for phone in phones)
    vowels = sum(phone.seconds is None for phone in phones)
    shares = iter([left] if vowels == 1 else [0.65 * left, 0.35 * left])
    return [(phone, next(shares) if phone.seconds is None else phone.seconds) for phone in phones]


def score() -> tuple[np.ndarray, np.ndarray]:
    """What the notes ask for: (S,) semitones over the tonic, (S 7) columns of formants, voice, noises."""
    rest = (PHONES[" "], 0)
    steps = [(*rest, LEAD_SECONDS)]
    for syllable, semitones, beats in NOTES:
        steps += [(phone, semitones, seconds) for phone, seconds in spell(syllable, beats * BEAT_SECONDS)]
    steps.append((*rest, TAIL_SECONDS))
    counts = [round(seconds * SAMPLE_RATE_HZ) for *_, seconds in steps]
    rows = [(*phone.formants_hz, phone.voice, *phone.noises) for phone, *_ in steps]
    return np.repeat([float(step[1]) for step in steps], counts), np.repeat(np.array(rows), counts, axis=0)


def pitch_hz(semitones: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Slides between notes, a vibrato that grows on long ones, a little unsteadiness."""
    seconds = np.arange(len(semitones)) / SAMPLE_RATE_HZ
    onsets = np.flatnonzero(np.diff(semitones, prepend=np.nan))
    held = seconds - seconds[onsets[np.searchsorted(onsets, np.arange(len(semitones)), "right") - 1]]
    depth = smooth(0.35 * np.clip((held - 0.2) / 0.3, 0, 1), 0.06)
    vibrato = depth * np.sin(2 * np.pi * 5.4 * seconds)
    drift = smooth(random.standard_normal(len(semitones)), 0.15) * 3.0
    return 440 * 2 ** ((TONIC - 69 + smooth(semitones, 0.09) + vibrato + drift) / 12)


def buzz(f0_hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """(S,) voice: harmonics of f0, falling off softly, through resonances at (S N) formants_hz."""
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


def hisses(count: int, random: np.random.Generator) -> np.ndarray:
    """(S 3) noise in each of NOISE_BANDS_HZ, of unit power."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    edges = [np.clip((frequency - a) / 400, 0, 1) * np.clip((b - frequency) / 400, 0, 1) for a, b in NOISE_BANDS_HZ]
    noises = np.stack([np.fft.irfft(spectrum * edge, count) for edge in edges], axis=-1)
    return noises / noises.std(axis=0)


def room(dry: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A small room: a third of a second of decaying noise under the voice."""
    seconds = np.arange(round(0.35 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echo = random.standard_normal(len(seconds)) * np.exp(-seconds / 0.05) * (seconds > 0.008)
    length = len(dry) + len(echo)
    wet = np.fft.irfft(np.fft.rfft(dry, length) * np.fft.rfft(echo, length), length)[: len(dry)]
    return dry + 0.12 * wet / wet.std() * dry.std()


def sing() -> np.ndarray:
    """The sample song: (S,) in [-1, 1], the same at every call."""
    random = np.random.default_rng(SEED)
    semitones, targets = score()
    tracks = np.stack([smooth(column, 0.08 if index < 4 else 0.03) for index, column in enumerate(targets.T)], -1)
    high = np.broadcast_to(HIGH_FORMANTS_HZ, (len(tracks), 3))
    voice = buzz(pitch_hz(semitones, random), np.concatenate([tracks[:, :3], high], axis=-1))
    voice = voice / np.sqrt(smooth(voice**2, 0.2) + voice.var() * 0.05)  # evens out the vowels
    noises = hisses(len(tracks), random)
    dry = tracks[:, 3] * (voice + 0.012 * noises[:, 0]) + (tracks[:, 4:] * noises).sum(axis=-1)
    song = room(dry, random)
    return 0.8 * song / np.abs(song).max()


def main() -> None:
    write_wav(sys.argv[1], sing(), SAMPLE_RATE_HZ)


if __name__ == "__main__":
    main()
