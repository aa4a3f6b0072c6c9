"""Mouth curves of speech with coarticulation: phoneme times -> expression weights, by dominance functions.

Every phoneme has a target for each articulator, and a dominance over it that falls off with time before and after the
phoneme. The curve of an articulator is the mean of all targets, weighted by dominance (Cohen and Massaro, "Modeling
Coarticulation in Synthetic Visual Speech", 1993, equations 1 to 4). Jaw and lips are scaled separately by loudness and
by how clearly a person articulates, and lips that must touch do touch (Edwards, Landreth, Fiume and Singh, "JALI: An
Animator-Centric Viseme Model for Expressive Lip Synchronization", 2016, sections 4 and 5).

Phonemes are IPA with start and end in seconds, as eSpeak NG's; Kokoro's own letters for diphthongs and affricates are
understood too. T frames, A articulators, N segments; frame k is at the center of its time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emo.synthetic.espeak import Phoneme

ARTICULATORS = ("jaw", "lower_lip", "upper_lip", "spread", "round", "funnel", "tuck", "press")
STEP_SECONDS = 0.005  # of the curves that frames are sampled from
SMOOTHING_SECONDS = 0.012  # sigma: means weighted by exponentials have corners, lips do not
LEAD_SECONDS = 0.02  # by which articulators are ahead of the sound
PLATEAU_SECONDS = 0.05  # of a phoneme, on either side of its plateau: sung vowels keep their shape
CLOSING_SECONDS = 0.06  # from open to closed lips, and back
BURST_SECONDS = 0.02  # at the end of p and b, with the lips open again
CLOSURE_LEAD_SECONDS = 0.03  # by which p and b close the lips before they start: eSpeak NG times the burst alone
MIN_PAUSE_SECONDS = 0.12  # a shorter silence belongs to the sound before it
MAX_JAW = 0.8  # largest weight of jawOpen
LOUDNESS_GAIN = 0.03  # of the jaw, for each dB by which a vowel is louder than the median
STRESSED_GAIN, UNSTRESSED_GAIN = 1.15, 0.85  # of the jaw: JALI, section 4.2
EFFORT = {  # vocal effort -> gains of jaw and lips
    "whisper": (0.75, 0.95),
    "quiet": (0.85, 0.95),
    "normal": (1.0, 1.0),
    "loud": (1.2, 1.1),
    "shout": (1.45, 1.2),
}


@dataclass(frozen=True)
class Viseme:
    """Targets and dominance of a class of phonemes.

    Attributes:
        targets: Articulator -> weight; 0 for others.
        dominance: Articulator -> alpha of Cohen and Massaro; `default_dominance` for others.
        default_dominance: Dominance of the articulators that `dominance` lacks.
        rate: Theta of Cohen and Massaro, 1 / s: how fast dominance falls off.
        is_vowel: Whether loudness and stress widen the jaw.
    """

    targets: Mapping[str, float]
    dominance: Mapping[str, float]
    default_dominance: float = 0.3
    rate: float = 16.0
    is_vowel: bool = False


def make_vowel(**targets: float) -> Viseme:
    """Make a vowel's viseme: its dominance reaches farther than a consonant's; round vowels dominate rounding too."""
    dominance = {"jaw": 1.0, "lower_lip": 0.8, "upper_lip": 0.8, "spread": 0.8, "round": 0.8, "funnel": 0.8}
    for name in ("round", "funnel"):
        dominance[name] = 1.6 if targets.get(name, 0) > 0.2 else 0.8
    return Viseme(targets, dominance, 0.6, 11.0, True)


VISEMES = {
    "pause": Viseme({}, {}, 0.5, 12.0),
    "bilabial": Viseme(
        {"press": 0.3, "jaw": 0.05}, {"press": 3.0, "lower_lip": 3.0, "upper_lip": 3.0, "jaw": 1.2}, 0.25, 20.0
    ),
    "labiodental": Viseme(
        {"jaw": 0.05, "tuck": 0.5, "upper_lip": 0.35},
        {"tuck": 3.0, "upper_lip": 2.0, "jaw": 1.5, "lower_lip": 1.5},
        0.25,
        20.0,
    ),
    "dental": Viseme({"jaw": 0.13, "lower_lip": 0.25}, {"jaw": 0.8, "lower_lip": 0.8}, 0.25, 20.0),
    "alveolar": Viseme({"jaw": 0.10, "lower_lip": 0.3, "upper_lip": 0.1}, {"jaw": 0.8, "lower_lip": 0.7}, 0.2, 20.0),
    "sibilant": Viseme(
        {"jaw": 0.03, "spread": 0.3, "lower_lip": 0.35, "upper_lip": 0.2},
        {"jaw": 2.0, "lower_lip": 1.0, "upper_lip": 0.8, "spread": 0.5},
        0.3,
        18.0,
    ),
    "postalveolar": Viseme(
        {"jaw": 0.05, "funnel": 0.5, "round": 0.15, "lower_lip": 0.15},
        {"jaw": 1.8, "funnel": 1.8, "round": 1.0},
        0.4,
        16.0,
    ),
    "velar": Viseme({"jaw": 0.14, "lower_lip": 0.15}, {"jaw": 0.5}, 0.1, 20.0),
    "glottal": Viseme({"jaw": 0.15}, {"jaw": 0.15}, 0.05, 20.0),
    "approximant_r": Viseme(
        {"jaw": 0.09, "funnel": 0.25, "round": 0.25}, {"funnel": 1.0, "round": 1.0, "jaw": 0.6}, 0.3, 16.0
    ),
    "palatal": Viseme({"jaw": 0.1, "spread": 0.35, "lower_lip": 0.2}, {"jaw": 0.7, "spread": 0.7}, 0.3, 18.0),
    "labiovelar": Viseme(
        {"jaw": 0.05, "round": 0.7, "funnel": 0.1}, {"round": 2.2, "jaw": 1.0, "funnel": 1.0}, 0.5, 15.0
    ),
    "open": make_vowel(jaw=0.46, lower_lip=0.2, upper_lip=0.05),
    "open_front": make_vowel(jaw=0.4, lower_lip=0.28, upper_lip=0.1, spread=0.25),
    "mid_front": make_vowel(jaw=0.27, lower_lip=0.3, upper_lip=0.1, spread=0.35),
    "close_front": make_vowel(jaw=0.13, lower_lip=0.28, upper_lip=0.12, spread=0.6),
    "near_close_front": make_vowel(jaw=0.17, lower_lip=0.25, upper_lip=0.08, spread=0.35),
    "open_back_round": make_vowel(jaw=0.36, funnel=0.35, lower_lip=0.1),
    "mid_back_round": make_vowel(jaw=0.26, funnel=0.35, round=0.25),
    "close_back_round": make_vowel(jaw=0.1, round=0.6, funnel=0.2),
    "near_close_back": make_vowel(jaw=0.15, round=0.35, funnel=0.25),
    "front_round": make_vowel(jaw=0.15, round=0.5, funnel=0.25, lower_lip=0.1),
    "mid_front_round": make_vowel(jaw=0.26, round=0.25, funnel=0.4, lower_lip=0.1),
    "mid_central": make_vowel(jaw=0.2, lower_lip=0.18, spread=0.05),
    "open_central": make_vowel(jaw=0.32, lower_lip=0.2, spread=0.05),
}
CLASSES = {
    "bilabial": "pbmɓʙ",
    "labiodental": "fvʋɱβɸ",
    "dental": "θð",
    "alveolar": "tdnlɾɫɬʈɖɳɭɽ",
    "sibilant": "szɕʑʂʐ",
    "postalveolar": "ʃʒ",
    "velar": "kɡgŋxɣqɢχɴ",
    "glottal": "hɦʔʕħʁʀ",
    "approximant_r": "ɹɻr",
    "palatal": "jʝçɲʎcɟ",
    "labiovelar": "wʍɥ",
    "open": "aɑ",
    "open_front": "æ",
    "mid_front": "eɛ",
    "close_front": "i",
    "near_close_front": "ɪɨᵻ",
    "open_back_round": "ɔɒ",
    "mid_back_round": "oɤ",
    "close_back_round": "uɯ",
    "near_close_back": "ʊ",
    "front_round": "yʏ",
    "mid_front_round": "øœɶ",
    "mid_central": "əɘɵɜɚɝᵊ",
    "open_central": "ʌɐ",
}
CLASS_OF_LETTER = {letter: name for name, letters in CLASSES.items() for letter in letters}
COMPOUND_SYMBOLS = {  # letters for more than one sound, Kokoro's among them
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ", "ʧ": "tʃ", "ʤ": "dʒ",
    "ʦ": "ts", "ʣ": "dz", "ʨ": "tɕ", "ʥ": "dʑ", "ꭧ": "tʂ", "T": "ɾ", "S": "s",
}  # fmt: skip
FIRST_SHARE = 0.6  # of a diphthong's or an affricate's time, for its first sound


@dataclass(frozen=True)
class Segment:
    """A single sound with its viseme, a key of VISEMES."""

    viseme: str
    start_seconds: float
    end_seconds: float
    letter: str = ""
    is_stressed: bool = False


def split_phoneme(phoneme: Phoneme) -> list[Segment]:
    """Split a phoneme into single sounds: two of a diphthong or an affricate, one of others, a pause if it is empty.

    Marks of tone, length and aspiration are ignored. A letter without a class counts as a glottal sound, which hardly
    influences the mouth.
    """
    is_stressed = "ˈ" in phoneme.ipa or "ˌ" in phoneme.ipa
    ipa = "".join(COMPOUND_SYMBOLS.get(letter, letter) for letter in phoneme.ipa)
    letters = [letter for letter in ipa if letter in CLASS_OF_LETTER]
    if not letters:
        is_silent = not any(letter.isalpha() for letter in ipa)
        return [Segment("pause" if is_silent else "glottal", phoneme.start_seconds, phoneme.end_seconds)]
    shares = (
        [1.0] if len(letters) == 1 else [FIRST_SHARE, *[(1 - FIRST_SHARE) / (len(letters) - 1)] * (len(letters) - 1)]
    )
    edges = phoneme.start_seconds + np.concatenate([[0], np.cumsum(shares)]) * (
        phoneme.end_seconds - phoneme.start_seconds
    )
    return [
        Segment(CLASS_OF_LETTER[letter], float(a), float(b), letter, is_stressed)
        for letter, a, b in zip(letters, edges, edges[1:], strict=False)
    ]


def make_segments(phonemes: Sequence[Phoneme], end_seconds: float) -> list[Segment]:
    """List all sounds in order, with pauses before and after them.

    Args:
        phonemes: In order.
        end_seconds: End of the clip, seconds.

    Returns:
        Segments; a silence shorter than MIN_PAUSE_SECONDS belongs to the sound before it.
    """
    segments: list[Segment] = []
    for phoneme in phonemes:
        for segment in split_phoneme(phoneme):
            is_short = segment.end_seconds - segment.start_seconds < MIN_PAUSE_SECONDS
            if segment.viseme == "pause" and is_short and segments and segments[-1].viseme != "pause":
                last = segments.pop()
                segment = Segment(last.viseme, last.start_seconds, segment.end_seconds, last.letter, last.is_stressed)
            segments.append(segment)
    first = segments[0].start_seconds if segments else end_seconds
    last_end = segments[-1].end_seconds if segments else end_seconds
    before = [Segment("pause", min(0.0, first) - 0.5, first)]
    return before + segments + [Segment("pause", last_end, max(last_end, end_seconds) + 0.5)]


def measure_vowel_gains(segments: Sequence[Segment], wave: np.ndarray | None, sample_rate: int) -> np.ndarray:
    """Measure how wide each sound opens the jaw: stressed and louder vowels more, other vowels less.

    Args:
        segments: N sounds.
        wave: (S,) the voice; None: stress alone counts.
        sample_rate: Sample rate of the wave, Hz.

    Returns:
        (N,) factors.
    """
    vowels = np.array([VISEMES[s.viseme].is_vowel for s in segments])
    gains = np.ones(len(segments))
    if any(s.is_stressed for s in segments):
        gains[vowels] = [
            STRESSED_GAIN if s.is_stressed else UNSTRESSED_GAIN for s in np.array(segments, object)[vowels]
        ]
    if wave is None or not vowels.any():
        return gains
    levels = np.full(len(segments), np.nan)
    for n in np.flatnonzero(vowels):
        segment = segments[int(n)]
        start, end = (round(seconds * sample_rate) for seconds in (segment.start_seconds, segment.end_seconds))
        part = wave[max(0, start) : max(0, end)]
        if len(part):
            levels[n] = 10 * np.log10(np.mean(np.square(part, dtype=np.float64)) + 1e-9)
    if np.isfinite(levels).any():
        over = np.nan_to_num(levels - np.nanmedian(levels))
        gains *= np.clip(1 + LOUDNESS_GAIN * over, 0.65, 1.35)
    return gains


def blend_targets(segments: Sequence[Segment], seconds: np.ndarray, jaw_gains: np.ndarray) -> np.ndarray:
    """Blend the targets of all sounds by dominance alpha * exp(-theta * |tau|).

    tau is the time from the plateau of a sound, so that a long one keeps its shape; in the paper it is the time from
    its center, and only the center of a sung vowel would have its shape.

    Args:
        segments: N sounds.
        seconds: (T,) times.
        jaw_gains: (N,) of `measure_vowel_gains`.

    Returns:
        (T A) weights.
    """
    targets = np.array([[VISEMES[s.viseme].targets.get(name, 0.0) for name in ARTICULATORS] for s in segments])
    targets[:, 0] *= jaw_gains
    alphas = np.array(
        [
            [VISEMES[s.viseme].dominance.get(name, VISEMES[s.viseme].default_dominance) for name in ARTICULATORS]
            for s in segments
        ]
    )
    rates = np.array([VISEMES[s.viseme].rate for s in segments])
    starts, ends = (np.array([getattr(s, name) for s in segments]) for name in ("start_seconds", "end_seconds"))
    middles = (starts + ends) / 2
    plateaus = np.maximum((ends - starts) / 2 - PLATEAU_SECONDS, 0)
    distances = np.maximum(np.abs(seconds[:, None] + LEAD_SECONDS - middles) - plateaus, 0)  # (T N)
    falloff = np.exp(-rates * distances)
    weights = falloff @ alphas
    return (falloff @ (alphas * targets)) / np.maximum(weights, 1e-9)


def list_closures(segments: Sequence[Segment], min_seconds: float) -> list[tuple[float, float]]:
    """List when the lips touch: during m, and during p and b until their burst.

    Args:
        segments: All sounds.
        min_seconds: Shortest duration of a closure; the time of a frame, so that a frame shows every closure.

    Returns:
        Start and end of each closure, seconds.
    """
    closures = []
    for s in segments:
        if s.viseme != "bilabial":
            continue
        start, end = s.start_seconds, s.end_seconds
        if s.letter != "m":
            start, end = start - CLOSURE_LEAD_SECONDS, max(start, end - BURST_SECONDS)
        missing = max(0.0, min_seconds - (end - start)) / 2
        closures.append((start - missing, end + missing))
    return closures


def measure_closure(closures: Sequence[tuple[float, float]], seconds: np.ndarray) -> np.ndarray:
    """Return how far the lips are closed, with smooth transitions.

    Args:
        closures: Start and end of each closure, seconds.
        seconds: (T,) times.

    Returns:
        (T,) 0 free to 1 closed.
    """
    closed = np.zeros(len(seconds))
    for start, end in closures:
        away = np.maximum(np.maximum(start - seconds, seconds - end), 0) / CLOSING_SECONDS
        near = np.clip(1 - away, 0, 1)
        closed = np.maximum(closed, near * near * (3 - 2 * near))
    return closed


@dataclass(frozen=True)
class MouthCurves:
    """The mouth in T frames.

    Attributes:
        articulators: (T A) weights in the order of ARTICULATORS, before closures.
        closure: (T,) 0 free .. 1: the lips touch.
    """

    articulators: np.ndarray
    closure: np.ndarray

    def to_expression(self) -> dict[str, np.ndarray]:
        """Return the weights (T,) of ICT-FaceKit's (and ARKit's) expressions by name.

        With closed lips the jaw may be a little open: mouthClose, weighted as the jaw is, closes the lips over it.
        """
        jaw, lower, upper, spread, round_, funnel, tuck, press = (column for column in self.articulators.T)
        free = 1 - self.closure
        jaw = np.clip(jaw, 0, MAX_JAW)
        closed_jaw = np.minimum(jaw, 0.1)
        jaw = jaw * free + closed_jaw * self.closure
        curves = {"jawOpen": jaw, "mouthClose": 0.95 * closed_jaw * self.closure, "mouthPucker": round_}
        curves |= {"mouthFunnel": funnel * free, "mouthRollLower": tuck * free}
        for side in "LR":
            curves[f"mouthLowerDown_{side}"] = lower * free
            curves[f"mouthUpperUp_{side}"] = upper * free
            curves[f"mouthStretch_{side}"] = 0.7 * spread
            curves[f"mouthSmile_{side}"] = 0.3 * spread
            curves[f"mouthPress_{side}"] = np.maximum(press, 0.3 * self.closure)
        return curves


def make_mouth_curves(
    phonemes: Sequence[Phoneme],
    num_frames: int,
    fps: float,
    *,
    wave: np.ndarray | None = None,
    sample_rate: int = 16000,
    effort: str = "normal",
    jaw_scale: float = 1.0,
    lip_scale: float = 1.0,
) -> MouthCurves:
    """Make the mouth curves of speech or song.

    Args:
        phonemes: In order; empty ones are pauses.
        num_frames: T.
        fps: Frames per second.
        wave: (S,) the voice, whose loud vowels open the jaw wider; None: stress alone counts.
        sample_rate: Sample rate of the wave, Hz.
        effort: A key of EFFORT: a whisper opens the jaw less, a shout more.
        jaw_scale: Scale of the person: how far the jaw opens (JALI's axis JA).
        lip_scale: Scale of the person: how far the lips move (JALI's axis LI).

    Returns:
        The mouth in T frames.
    """
    seconds = np.arange(-0.1, num_frames / fps + 0.1, STEP_SECONDS)
    segments = make_segments(phonemes, num_frames / fps)
    jaw_gain, lip_gain = EFFORT[effort]
    curves = blend_targets(segments, seconds, measure_vowel_gains(segments, wave, sample_rate))
    curves *= np.where(np.array(ARTICULATORS) == "jaw", jaw_gain * jaw_scale, lip_gain * lip_scale)
    curves = smooth_columns(curves, SMOOTHING_SECONDS / STEP_SECONDS)
    middles = (np.arange(num_frames) + 0.5) / fps
    closure = measure_closure(list_closures(segments, 1 / fps), middles)
    return MouthCurves(np.stack([np.interp(middles, seconds, c) for c in curves.T], 1), closure)


def smooth_columns(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth the columns of a table by a Gaussian; the ends are repeated.

    Args:
        values: (T A) values.
        sigma: Standard deviation in rows; 0: no smoothing.

    Returns:
        (T A) values.
    """
    if sigma <= 0:
        return values
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, [(reach, reach), (0, 0)], mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], 1)
