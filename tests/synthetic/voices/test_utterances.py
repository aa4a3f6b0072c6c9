"""What heads say: texts of many kinds, efforts, and Kokoro's phonemes with their times."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.synthetic.voices.kokoro import SYMBOLS, Kokoro, add_output, group_symbols, respell, transcribe
from emo.synthetic.voices.sentences import LANGUAGES, make_sentence, make_text
from emo.synthetic.voices.utterances import (
    Utterance,
    VoiceChoice,
    draw_song_utterance,
    draw_speech_utterance,
    shout,
    whisper,
)

RATE = 16000


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_vary_and_leave_no_slot_open(language):
    sentences = {make_sentence(language, np.random.default_rng(seed)) for seed in range(60)}
    assert len(sentences) >= (50 if language in ("en", "en-us") else 8)
    assert not any("{" in s or "}" in s for s in sentences)
    assert any("?" in s or "？" in s or "か。" in s for s in sentences)


def test_english_has_numbers_questions_and_exclamations():
    text = " ".join(make_sentence("en-us", np.random.default_rng(seed)) for seed in range(200))
    assert all(mark in text for mark in "?!$:,") and any(digit in text for digit in "0123456789")


def test_texts_are_as_long_as_asked():
    lengths = [
        len(make_text("en-us", np.random.default_rng(seed), seconds)) for seed in range(20) for seconds in (3.0, 9.0)
    ]
    assert np.mean(lengths[1::2]) > 1.8 * np.mean(lengths[::2])


def test_kokoros_letters_are_in_its_vocabulary():
    assert respell("tʃeɪndʒ", True) == "ʧAnʤ" and respell("kaffɛ", False) == "kaffɛ"
    symbols = transcribe("Hello, is it 5 o'clock?", "en-us")
    assert set(symbols) <= set(SYMBOLS) and symbols.endswith("?") and "," in symbols and "ˈ" in symbols
    with pytest.raises(InputError):
        transcribe("hello", "no-such-language")


def test_marks_join_their_sounds_and_times_add_up():
    phonemes = group_symbols("hˈaː, b", np.array([2, 1, 4, 3, 6, 2, 2.0]), 0.5)
    assert [p.ipa for p in phonemes] == ["h", "ˈaː", "", "", "b"]
    assert phonemes[1].start_seconds == pytest.approx(0.55) and phonemes[1].end_seconds == pytest.approx(0.75)
    assert phonemes[-1].end_seconds == pytest.approx(0.5 + 20 * 0.025)


def test_an_output_is_added_to_a_graph_by_merging_messages():
    # ModelProto.graph is field 7, GraphProto.output field 12, ValueInfoProto.name field 1.
    assert add_output(b"model", b"x") == b"model" + bytes([7 << 3 | 2, 5, 12 << 3 | 2, 3, 1 << 3 | 2, 1]) + b"x"


def test_a_folder_without_kokoro_is_named(tmp_path):
    with pytest.raises(InputError, match="voices"):
        _ = Kokoro(tmp_path).voices
    with pytest.raises(InputError, match="kokoro|onnxruntime"):
        _ = Kokoro(tmp_path).session


def test_without_kokoro_espeak_speaks_with_the_times_of_its_phonemes():
    sound = draw_speech_utterance(VoiceChoice(languages=("de",)), 3.0, np.random.default_rng(0))
    assert sound.kind == "espeak" and sound.language == "de" and "GPL" in sound.license
    assert 1.0 < sound.seconds < 15 and sound.phonemes[-1].end_seconds <= sound.seconds + 0.05
    again = draw_speech_utterance(VoiceChoice(languages=("de",)), 3.0, np.random.default_rng(0))
    assert again.text == sound.text and again.wave.tobytes() == sound.wave.tobytes()


def test_a_whisper_has_the_words_but_no_pitch():
    seconds = np.arange(RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * seconds) / k for k in range(1, 30)) * (seconds % 0.5 < 0.3)
    wave = (0.2 * buzz).astype(np.float32)
    quiet = whisper(wave, RATE, np.random.default_rng(0))
    assert quiet.shape == wave.shape
    lag = round(RATE / 140)
    for sound, is_pitched in ((wave, True), (quiet, False)):
        part = sound[1000:4000].astype(float)
        r = np.corrcoef(part[lag:], part[:-lag])[0, 1]
        assert (r > 0.8) == is_pitched
    speaks = seconds % 0.5 < 0.25
    assert (
        np.square(quiet[speaks]).mean() > 20 * np.square(quiet[(seconds % 0.5 > 0.36) & (seconds % 0.5 < 0.45)]).mean()
    )


def test_a_shout_is_brighter_and_more_even():
    seconds = np.arange(RATE) / RATE
    wave = (
        (0.1 + 0.4 * (seconds > 0.5)) * (np.sin(2 * np.pi * 200 * seconds) + 0.1 * np.sin(2 * np.pi * 2500 * seconds))
    ).astype(np.float32)
    loud = shout(wave, RATE)

    def brightness(sound):
        spectrum = np.abs(np.fft.rfft(sound))
        return spectrum[2500] / spectrum[200]

    assert brightness(loud) > 1.5 * brightness(wave)
    assert loud[8000:].std() / loud[:8000].std() < 0.7 * wave[8000:].std() / wave[:8000].std()


def test_a_song_comes_with_music_and_can_be_cut():
    sound = draw_song_utterance(3.0, np.random.default_rng(2))
    assert sound.music is not None and len(sound.music) == len(sound.wave)
    cut: Utterance = sound.cut(RATE)
    assert cut.seconds == 1.0 and len(cut.music) == RATE and all(p.start_seconds < 1.0 for p in cut.phonemes)
