"""Mouth curves of phonemes: lips that must touch do, what is louder opens wider, sung vowels are held."""

import numpy as np
import pytest

from emo.synthetic.espeak import Phoneme
from emo.synthetic.heads.coarticulation import CLASS_OF_LETTER, VISEMES, make_mouth_curves, split_phoneme
from emo.synthetic.voices.kokoro import SYMBOLS

FPS = 25.0


def split_syllable(text: str, seconds: float = 0.12, start: float = 0.3) -> list[Phoneme]:
    """A phoneme a letter, all of one length."""
    return [Phoneme(letter, start + k * seconds, start + (k + 1) * seconds) for k, letter in enumerate(text)]


def measure_gap(curves: dict[str, np.ndarray]) -> np.ndarray:
    """How far the lips are apart, in the weights that move them apart; mouthClose brings them together."""
    lips = curves["mouthLowerDown_L"] + curves["mouthUpperUp_L"] + curves["mouthFunnel"]
    return curves["jawOpen"] - curves["mouthClose"] + 0.1 * lips


@pytest.mark.parametrize("closer", "pbm")
@pytest.mark.parametrize("around", "aiuoɛ")
def test_lips_touch_within_a_frame_of_every_bilabial(closer, around):
    phonemes = split_syllable(f"{around}{closer}{around}{closer}{around}", 0.09)
    gap = measure_gap(make_mouth_curves(phonemes, 40, FPS).to_expression())
    for phoneme in phonemes:
        if phoneme.ipa == closer:
            middle = (phoneme.start_seconds + phoneme.end_seconds) / 2 * FPS - 0.5
            near = gap[int(np.floor(middle - 1)) : int(np.ceil(middle + 1)) + 1]
            assert near.min() < 0.012


def test_other_sounds_do_not_close_the_lips():
    gap = measure_gap(make_mouth_curves(split_syllable("ataka", 0.2), 40, FPS).to_expression())
    assert gap[10:30].min() > 0.08


def test_open_vowels_open_wider_than_close_ones():
    widest = {
        v: make_mouth_curves(split_syllable(f"t{v}t", 0.2), 40, FPS).to_expression()["jawOpen"].max() for v in "aei"
    }
    assert widest["a"] > widest["e"] > widest["i"]


def test_rounding_starts_before_the_vowel():
    spread, rounded = (make_mouth_curves(split_syllable(f"st{v}", 0.1), 30, FPS).to_expression() for v in "iu")
    during_t = int(0.45 * FPS)
    assert rounded["mouthPucker"][during_t] > spread["mouthPucker"][during_t] + 0.05


def test_effort_and_loudness_widen_the_jaw():
    phonemes = split_syllable("tatata", 0.2)
    jaws = [
        make_mouth_curves(phonemes, 50, FPS, effort=e).to_expression()["jawOpen"].max()
        for e in ("whisper", "normal", "shout")
    ]
    assert jaws[0] < 0.85 * jaws[1] < 0.85 * 0.8 * jaws[2]
    seconds = np.arange(2 * 16000) / 16000
    wave = np.sin(2 * np.pi * 200 * seconds) * np.where(seconds < 0.9, 0.05, 0.5)
    jaw = make_mouth_curves(phonemes, 50, FPS, wave=wave, sample_rate=16000).to_expression()["jawOpen"]
    quiet, loud = (jaw[int((p.start_seconds + 0.1) * FPS)] for p in (phonemes[1], phonemes[5]))
    assert loud > 1.15 * quiet


def test_stressed_vowels_open_wider():
    plain = [
        Phoneme("t", 0.3, 0.4),
        Phoneme("a", 0.4, 0.55),
        Phoneme("t", 0.55, 0.65),
        Phoneme("ˈa", 0.65, 0.8),
        Phoneme("t", 0.8, 0.9),
    ]
    jaw = make_mouth_curves(plain, 30, FPS).to_expression()["jawOpen"]
    assert jaw[int(0.72 * FPS)] > 1.1 * jaw[int(0.47 * FPS)]


def test_a_sung_vowel_is_held_to_its_end():
    phonemes = [Phoneme("l", 0.3, 0.37), Phoneme("a", 0.37, 2.37), Phoneme("m", 2.37, 2.5)]
    jaw = make_mouth_curves(phonemes, 75, FPS).to_expression()["jawOpen"]
    during = jaw[int(0.6 * FPS) : int(2.2 * FPS)]
    assert during.min() > 0.93 * during.max() > 0.3


def test_diphthongs_affricates_and_kokoros_letters_are_split():
    assert [s.letter for s in split_phoneme(Phoneme("ˈaɪ", 0, 1))] == [
        s.letter for s in split_phoneme(Phoneme("ˈI", 0, 1))
    ]
    assert [s.viseme for s in split_phoneme(Phoneme("ʧ", 0, 1))] == ["alveolar", "postalveolar"]
    first, second = split_phoneme(Phoneme("eɪ", 1.0, 2.0))
    assert first.start_seconds == 1.0 and second.end_seconds == 2.0 and first.end_seconds == second.start_seconds


def test_every_letter_of_kokoro_has_a_shape():
    letters = [symbol for symbol in SYMBOLS if symbol.isalpha() and symbol not in "ˈˌːʰʲᵝ"]
    assert [letter for letter in letters if "pause" in {s.viseme for s in split_phoneme(Phoneme(letter, 0, 1))}] == []
    assert set(CLASS_OF_LETTER.values()) <= set(VISEMES)


def test_without_phonemes_the_mouth_rests():
    curves = make_mouth_curves([], 10, FPS).to_expression()
    assert all(np.allclose(curve, 0) for curve in curves.values())
