"""Recordings as users have them: a voice in a room, a microphone, noise or music, a telephone, mp3.

`draw_recording_conditions` draws the conditions, `simulate_recording` applies them to a clean voice. The length stays,
and the times of all sounds stay to less than a millisecond. S samples.
"""

import io
from dataclasses import asdict, dataclass

import av
import numpy as np
import soxr

from emo.synthetic.voices.music import make_music

SOUND_METERS_PER_SECOND = 343.0  # m/s
CLEAN_SHARE = 0.2  # of the recordings: users bring clean synthetic speech too
TELEPHONE_BAND_HZ, TELEPHONE_RATE_HZ = (300.0, 3400.0), 8000  # ITU-T G.711 with its mu-law
MP3_RATES_KBPS = (32, 48, 64, 96, 128)
LEVELS_DBFS = (-34.0, -14.0)  # of the voice, root mean square
MAX_PEAK = 0.99  # peak


@dataclass(frozen=True)
class RecordingConditions:
    """How a voice is recorded; None: without it.

    Attributes:
        seed: Seed of the simulation's random numbers.
        reverb_seconds: Reverberation time T60.
        room_meters: Width, depth and height of the room.
        has_microphone: Whether a microphone changes the frequency response.
        noise_snr_db: Level of the voice above that of the noise.
        noise_slope: The noise's amplitude falls with frequency ** slope: 0 white, 0.5 pink, 1 brown.
        music_snr_db: Level of the voice above that of the music.
        is_telephone: Whether it passes a telephone.
        mp3_kbps: bit rate of mp3.
        level_dbfs: Level of the voice, root mean square.
    """

    seed: int
    reverb_seconds: float | None = None
    room_meters: tuple[float, float, float] | None = None
    has_microphone: bool = False
    noise_snr_db: float | None = None
    noise_slope: float = 0.0
    music_snr_db: float | None = None
    is_telephone: bool = False
    mp3_kbps: int | None = None
    level_dbfs: float = -23.0

    @property
    def is_clean(self) -> bool:
        """Whether only the level changes."""
        return self == RecordingConditions(self.seed, level_dbfs=self.level_dbfs)

    def describe(self) -> dict[str, object]:
        """Return the values that are not None or False, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


def draw_recording_conditions(random: np.random.Generator, music_share: float = 0.2) -> RecordingConditions:
    """Draw conditions.

    Args:
        random: Draws them.
        music_share: Share of recordings with music, out of those that are not clean.

    Returns:
        The conditions; one recording in five is clean.
    """
    seed, level = int(random.integers(2**32)), float(random.uniform(*LEVELS_DBFS))
    if random.random() < CLEAN_SHARE:
        return RecordingConditions(seed, level_dbfs=level)
    chances, values = random.random(6), random.random(8)
    room = tuple(
        float(low + (high - low) * v) for (low, high), v in zip(((2.5, 9), (2.5, 7), (2.3, 3.5)), values, strict=False)
    )
    return RecordingConditions(
        seed=seed,
        reverb_seconds=float(0.15 + 0.75 * values[3] ** 2) if chances[0] < 0.6 else None,
        room_meters=room if chances[0] < 0.6 else None,
        has_microphone=bool(chances[1] < 0.7),
        noise_snr_db=float(5 + 40 * values[4]) if chances[2] < 0.6 else None,
        noise_slope=float(values[5]),
        music_snr_db=float(-3 + 18 * values[6]) if chances[3] < music_share else None,
        is_telephone=bool(chances[4] < 0.08),
        mp3_kbps=int(MP3_RATES_KBPS[int(values[7] * len(MP3_RATES_KBPS))]) if chances[5] < 0.3 else None,
        level_dbfs=level,
    )


def simulate_recording(
    voice: np.ndarray, sample_rate: int, conditions: RecordingConditions, music: np.ndarray | None = None
) -> np.ndarray:
    """Simulate a recording.

    Args:
        voice: (S,) float in [-1, 1], clean.
        sample_rate: Hz.
        conditions: Conditions of the recording.
        music: (S,) used where the conditions have music; None: made by `emo.synthetic.voices.music`.

    Returns:
        (S,) float32 in [-1, 1].
    """
    random = np.random.default_rng(conditions.seed)
    wave = np.asarray(voice, np.float64)
    if conditions.reverb_seconds is not None and conditions.room_meters is not None:
        wave = convolve(
            wave, make_room_response(conditions.room_meters, conditions.reverb_seconds, sample_rate, random)
        )
    if conditions.has_microphone:
        wave = convolve(wave, make_microphone_response(sample_rate, random))
    level = measure_level(wave)
    if conditions.music_snr_db is not None:
        music = make_music(len(wave), sample_rate, random) if music is None else music
        wave = wave + scale_to(music, level / 10 ** (conditions.music_snr_db / 20))
    if conditions.noise_snr_db is not None:
        noise = make_noise(len(wave), conditions.noise_slope, random)
        wave = wave + scale_to(noise, level / 10 ** (conditions.noise_snr_db / 20))
    wave = wave * 10 ** (conditions.level_dbfs / 20) / max(level, 1e-6)
    wave = wave * min(1.0, MAX_PEAK / max(np.abs(wave).max(), 1e-9))
    if conditions.is_telephone:
        wave = simulate_telephone(wave, sample_rate)
    if conditions.mp3_kbps is not None:
        wave = simulate_mp3(wave, sample_rate, conditions.mp3_kbps)
    return np.clip(wave, -1, 1).astype(np.float32)


def make_noise(num_samples: int, slope: float, random: np.random.Generator) -> np.ndarray:
    """Make noise whose amplitude falls with frequency ** slope.

    Args:
        num_samples: Number of samples S.
        slope: 0 white, 0.5 pink, 1 brown.
        random: Draws the noise.

    Returns:
        (S,) samples.
    """
    spectrum = np.fft.rfft(random.standard_normal(num_samples))
    return np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 1.0) ** -slope, num_samples)


def make_microphone_response(sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """Make the impulse response of a microphone.

    A band-pass with a smooth response of +-6 dB inside its band. Of minimum phase (by the cepstrum: Oppenheim and
    Schafer, "Digital Signal Processing", 1975), so it adds no delay.

    Args:
        sample_rate: Hz.
        random: Draws the response.

    Returns:
        (N,) impulse response.
    """
    count = 2048
    hertz = np.fft.rfftfreq(count, 1 / sample_rate)
    octaves = np.log2(np.maximum(hertz, 20) / 100)
    decibels = np.interp(octaves, np.linspace(0, np.log2(sample_rate / 200), 6), random.uniform(-6, 6, 6))
    low, high = np.exp(random.uniform(np.log(40), np.log(250))), random.uniform(0.28, 0.5) * sample_rate
    decibels = decibels - 10 * np.log10(1 + (low / np.maximum(hertz, 1)) ** 4) - 10 * np.log10(1 + (hertz / high) ** 8)
    cepstrum = np.fft.irfft(np.maximum(decibels, -60) / 20 * np.log(10), count)
    cepstrum[1 : count // 2] *= 2
    cepstrum[count // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), count)[: count // 2]


def measure_level(wave: np.ndarray) -> float:
    """Measure the level of a wave, so that pauses do not count.

    Args:
        wave: (S,).

    Returns:
        Root mean square of the louder half of its samples.
    """
    power = np.square(wave)
    return float(np.sqrt(power[power >= np.median(power)].mean())) if len(wave) else 0.0


def scale_to(wave: np.ndarray, level: float) -> np.ndarray:
    """Scale a wave to a root mean square.

    Args:
        wave: (S,) samples.
        level: Root mean square of the result.

    Returns:
        (S,) samples.
    """
    return wave * level / max(float(np.sqrt(np.square(wave).mean())), 1e-9)


def convolve(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve a wave with an impulse response.

    Args:
        wave: (S,) samples.
        response: (N,) impulse response.

    Returns:
        (S,) samples; what rings beyond the end is cut.
    """
    size = len(wave) + len(response)
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)[: len(wave)]


def make_room_response(
    meters: tuple[float, float, float], reverb_seconds: float, sample_rate: int, random: np.random.Generator
) -> np.ndarray:
    """Make the impulse response of a box-shaped room, its direct sound at sample 0 with gain 1.

    Early reflections are image sources of up to second order (Allen and Berkley, "Image method for efficiently
    simulating small-room acoustics", 1979) with the absorption that Sabine's formula gives for T60; the late part is
    noise that decays at the same rate.

    Args:
        meters: Width, depth and height.
        reverb_seconds: T60.
        sample_rate: Hz.
        random: Places speaker and microphone, and draws the late part.

    Returns:
        (N,) of `reverb_seconds`.
    """
    size = np.array(meters)
    surface = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    absorbed = np.clip(0.161 * size.prod() / (surface * reverb_seconds), 0.05, 0.95)
    source = size * random.uniform(0.25, 0.75, 3)
    direction = random.standard_normal(3)
    microphone = np.clip(source + direction / np.linalg.norm(direction) * random.uniform(0.2, 1.5), 0.1, size - 0.1)
    direct = max(float(np.linalg.norm(source - microphone)), 0.1)
    response = np.zeros(max(1, round(reverb_seconds * sample_rate)))
    response[0] = 1.0
    orders = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3)
    for order in orders[np.abs(orders).sum(1).clip(0, 3) <= 2]:
        count = int(np.abs(order).sum())
        if count == 0:
            continue
        image = np.where(order % 2 == 0, order * size + source, order * size + size - source)
        distance = float(np.linalg.norm(image - microphone))
        place = round((distance - direct) / SOUND_METERS_PER_SECOND * sample_rate)
        if 0 < place < len(response):
            response[place] += (1 - absorbed) ** (count / 2) * direct / distance
    seconds = np.arange(len(response)) / sample_rate
    begin = float(np.cbrt(size.prod())) / SOUND_METERS_PER_SECOND
    tail = random.standard_normal(len(response)) * 10 ** (-3 * seconds / reverb_seconds) * (seconds > begin)
    # Energy of the reverberant over the direct field: 16 pi r^2 (1 - a) / (a S).
    ratio = 16 * np.pi * direct**2 * (1 - absorbed) / (absorbed * surface)
    return response + tail * np.sqrt(min(ratio, 1.0) / max(np.square(tail).sum(), 1e-12))


def simulate_telephone(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Pass a wave through a telephone: its band, its sample rate, eight bits of mu-law (ITU-T G.711).

    Args:
        wave: (S,) samples in [-1, 1].
        sample_rate: Hz.

    Returns:
        (S,) samples.
    """
    spectrum = np.fft.rfft(wave)
    frequency = np.fft.rfftfreq(len(wave), 1 / sample_rate)
    low, high = TELEPHONE_BAND_HZ
    gain = np.clip((frequency - low / 2) / (low / 2), 0, 1) * np.clip((high * 1.1 - frequency) / (high * 0.1), 0, 1)
    narrow = soxr.resample(np.fft.irfft(spectrum * gain, len(wave)), sample_rate, TELEPHONE_RATE_HZ)
    squeezed = np.sign(narrow) * np.log1p(255 * np.abs(narrow).clip(0, 1)) / np.log(256)
    squeezed = np.round(squeezed * 127) / 127
    narrow = np.sign(squeezed) * (256 ** np.abs(squeezed) - 1) / 255
    wide = soxr.resample(narrow, TELEPHONE_RATE_HZ, sample_rate)
    return np.pad(wide[: len(wave)], (0, max(0, len(wave) - len(wide))))


def simulate_mp3(wave: np.ndarray, sample_rate: int, kbps: int) -> np.ndarray:
    """Encode a wave as MP3 and decode it again, without the codec's delay.

    Args:
        wave: (S,) samples in [-1, 1].
        sample_rate: Hz.
        kbps: Bit rate, kbit/s.

    Returns:
        (S,) samples.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", sample_rate, layout="mono")
        stream.bit_rate = kbps * 1000
        samples = np.ascontiguousarray(np.clip(wave, -1, 1)[None], np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate = sample_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        pieces = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    decoded = np.concatenate(pieces) if pieces else np.zeros(0)
    delay = find_delay(wave, decoded, sample_rate)
    decoded = np.pad(decoded, (max(0, -delay), 0))[max(0, delay) :][: len(wave)]
    return np.pad(decoded, (0, len(wave) - len(decoded)))


def find_delay(before: np.ndarray, after: np.ndarray, sample_rate: int, longest_seconds: float = 0.15) -> int:
    """Find by how many samples a wave is delayed: the peak of the correlation.

    Args:
        before: (S,) samples.
        after: The same wave after processing.
        sample_rate: Hz.
        longest_seconds: Longest delay, in both directions.

    Returns:
        Delay in samples; negative if `after` is earlier.
    """
    size = len(before) + len(after)
    correlation = np.fft.irfft(np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size)), size)
    reach = min(round(longest_seconds * sample_rate), size // 2 - 1)
    lags = np.r_[np.arange(0, reach + 1), np.arange(-reach, 0)]
    return int(lags[np.argmax(correlation[lags])])
