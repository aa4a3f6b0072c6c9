"""Speech by Kokoro-82M, with the time of every phoneme.

Kokoro (hexgrad, Apache-2.0; StyleTTS 2, Li et al., arXiv 2306.07691) predicts how many frames each phoneme lasts before
it makes the sound, so the times are exact. Its ONNX export does not return the durations; a second output is added to
the graph when it is loaded. The phonemes are those of eSpeak NG. Needs `onnxruntime` and `espeakng-loader`, and files
that `scripts/fetch_kokoro.sh` puts together:

    FOLDER/kokoro.onnx      the export with inputs tokens, style, speed
    FOLDER/voices/NAME.bin  (510 1 256) float32 of each voice; the first letter of its name is its language
"""

import ctypes
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.synthetic.espeak import Phoneme, Speech, load_espeak

SAMPLE_RATE_HZ = 24000
SAMPLES_PER_FRAME = 600  # of a duration
DURATIONS = b"/encoder/Clip_output_0"  # the tensor of the durations in the graph
MAX_TOKENS = 508
IPA, UTF8 = 2, 1  # of espeak_TextToPhonemes
LANGUAGES = {"a": "en-us", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "cmn"}
# The sound is ahead of the durations. Kokoro's own pipeline subtracts 3 frames of the first duration; loudness compared
# with phonemes gave 50 to 60 ms in nine sentences of three voices.
EARLY_FRAMES = 2
SILENCE_SECONDS = 0.24  # before and after the speech
PUNCTUATION = ".,;:!?"
# eSpeak's spelling -> Kokoro's, in this order
SPELLING = [("_", ""), ("͡", ""), ("tʃ", "ʧ"), ("dʒ", "ʤ"), ("g", "ɡ"), ("ɬ", "l"), ("ɫ", "l")]
ENGLISH_SPELLING = [
    ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("aʊ", "W"), ("ɔɪ", "Y"), ("əʊ", "Q"), ("ɚ", "əɹ"), ("r", "ɹ"), ("ʲ", ""),
    ("e", "ɛ"),
]  # fmt: skip
OTHER_SPELLING = [("ts", "ʦ"), ("dz", "ʣ"), ("tɕ", "ʨ"), ("dʑ", "ʥ"), ("ɚ", "əɹ")]
# The vocabulary of Kokoro-82M v1.0 (config.json of the model): symbol -> token
SYMBOLS = {
    ";": 1, ":": 2, ",": 3, ".": 4, "!": 5, "?": 6, "—": 9, "…": 10, '"': 11, "(": 12, ")": 13, "“": 14, "”": 15,
    " ": 16, "̃": 17, "ʣ": 18, "ʥ": 19, "ʦ": 20, "ʨ": 21, "ᵝ": 22, "ꭧ": 23, "A": 24, "I": 25, "O": 31, "Q": 33, "S": 35,
    "T": 36, "W": 39, "Y": 41, "ᵊ": 42, "a": 43, "b": 44, "c": 45, "d": 46, "e": 47, "f": 48, "h": 50, "i": 51, "j": 52,
    "k": 53, "l": 54, "m": 55, "n": 56, "o": 57, "p": 58, "q": 59, "r": 60, "s": 61, "t": 62, "u": 63, "v": 64, "w": 65,
    "x": 66, "y": 67, "z": 68, "ɑ": 69, "ɐ": 70, "ɒ": 71, "æ": 72, "β": 75, "ɔ": 76, "ɕ": 77, "ç": 78, "ɖ": 80, "ð": 81,
    "ʤ": 82, "ə": 83, "ɚ": 85, "ɛ": 86, "ɜ": 87, "ɟ": 90, "ɡ": 92, "ɥ": 99, "ɨ": 101, "ɪ": 102, "ʝ": 103, "ɯ": 110,
    "ɰ": 111, "ŋ": 112, "ɳ": 113, "ɲ": 114, "ɴ": 115, "ø": 116, "ɸ": 118, "θ": 119, "œ": 120, "ɹ": 123, "ɾ": 125,
    "ɻ": 126, "ʁ": 128, "ɽ": 129, "ʂ": 130, "ʃ": 131, "ʈ": 132, "ʧ": 133, "ʊ": 135, "ʋ": 136, "ʌ": 138, "ɣ": 139,
    "ɤ": 140, "χ": 142, "ʎ": 143, "ʒ": 147, "ʔ": 148, "ˈ": 156, "ˌ": 157, "ː": 158, "ʰ": 162, "ʲ": 164, "↓": 169,
    "→": 171, "↗": 172, "↘": 173, "ᵻ": 177,
}  # fmt: skip
STRESS_MARKS = "ˈˌ"  # belong to the phoneme after them
MODIFIERS = "ːʰʲ̃ᵝ→↓↗↘"  # belong to the phoneme before them


def encode_field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field of a protocol buffer.

    Args:
        number: Number of the field.
        payload: Content of the field.

    Returns:
        Key, length and payload.
    """
    out, length = bytes([number << 3 | 2]), len(payload)
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return out + bytes([length]) + payload


def add_output(model: bytes, name: bytes) -> bytes:
    """Add an output to an ONNX model, without the package onnx.

    Concatenated protocol buffers merge, so a second piece of `ModelProto.graph` (field 7) is appended that has one more
    `GraphProto.output` (field 12) of this `ValueInfoProto.name` (field 1).

    Args:
        model: A serialized ONNX model.
        name: Name of a tensor of its graph.

    Returns:
        The serialized model with the tensor as its last output.
    """
    return model + encode_field(7, encode_field(12, encode_field(1, name)))


def respell(ipa: str, is_english: bool) -> str:
    """Rewrite eSpeak NG's IPA in Kokoro's letters; sounds without a letter are dropped.

    Args:
        ipa: Phonemes.
        is_english: Whether Kokoro's letters for English diphthongs are used.

    Returns:
        The phonemes in letters of SYMBOLS.
    """
    for old, new in SPELLING + (ENGLISH_SPELLING if is_english else OTHER_SPELLING):
        ipa = ipa.replace(old, new)
    return "".join(letter for letter in ipa if letter in SYMBOLS)


def transcribe(text: str, language: str) -> str:
    """Transcribe a text.

    Args:
        text: With punctuation, which stays.
        language: A voice name of eSpeak NG.

    Returns:
        Phonemes in Kokoro's letters.

    Raises:
        InputError: eSpeak NG is not installed or does not know the language.
    """
    espeak, _ = load_espeak()
    if espeak.espeak_SetVoiceByName(language.encode()):
        raise InputError(f"{language}: eSpeak NG does not support this language; give a voice name such as en-us")
    espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
    parts = []
    for part in re.split(f"([{re.escape(PUNCTUATION)}])", text):
        if part in PUNCTUATION:
            parts.append(part)
            continue
        remaining, words = ctypes.c_char_p(part.encode()), []
        while remaining.value:
            ipa = espeak.espeak_TextToPhonemes(ctypes.byref(remaining), UTF8, IPA)
            words.append((ipa or b"").decode("utf-8", "ignore"))
        parts.append(" " + re.sub(r"\([a-z-]+\)", "", " ".join(words)).strip() + " ")
    spelled = respell("".join(parts), language.startswith("en"))
    return re.sub(r" +", " ", re.sub(rf" ([{re.escape(PUNCTUATION)}])", r"\1", spelled)).strip()


def group_symbols(symbols: str, frames: np.ndarray, start_seconds: float) -> list[Phoneme]:
    """Group symbols into phonemes with their times.

    Args:
        symbols: N letters, stress marks, modifiers, spaces and punctuation.
        frames: (N,) duration of each.
        start_seconds: Start of the first.

    Returns:
        Phonemes with their stress marks and modifiers; spaces and punctuation are pauses.
    """
    phonemes: list[Phoneme] = []
    ends = start_seconds + np.cumsum(frames) * SAMPLES_PER_FRAME / SAMPLE_RATE_HZ
    starts = np.concatenate([[start_seconds], ends[:-1]])
    waiting, waiting_start = "", 0.0
    for symbol, start, end in zip(symbols, starts.tolist(), ends.tolist(), strict=True):
        if symbol in STRESS_MARKS:
            waiting_start = waiting_start if waiting else start
            waiting += symbol
        elif symbol in MODIFIERS and phonemes and phonemes[-1].ipa:
            phonemes[-1] = Phoneme(phonemes[-1].ipa + symbol, phonemes[-1].start_seconds, end)
        else:
            ipa = symbol if symbol.isalpha() else ""
            phonemes.append(Phoneme(waiting + ipa if ipa else "", waiting_start if waiting else start, end))
            waiting = ""
    return [phoneme for phoneme in phonemes if phoneme.end_seconds > phoneme.start_seconds]


@dataclass(frozen=True)
class Kokoro:
    """Kokoro's model and voices on disk; the model is loaded when it is first used.

    Attributes:
        folder: Folder of kokoro.onnx and voices/.
        threads: That the model runs on.
    """

    folder: Path
    threads: int = 1

    @cached_property
    def session(self):
        """The ONNX session. Raises InputError: onnxruntime is not installed, or the file is missing or no Kokoro."""
        path = self.folder / "kokoro.onnx"
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("Kokoro runs on onnxruntime: pip install onnxruntime espeakng-loader") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self.threads, 3
        try:
            model = add_output(path.read_bytes(), DURATIONS)
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path} can't be loaded ({reason}): give the folder of kokoro.onnx and voices/"
            ) from error

    @cached_property
    def voices(self) -> list[str]:
        """Names of the voices, sorted.

        Raises:
            InputError: For a folder without any.
        """
        names = sorted(path.stem for path in (self.folder / "voices").glob("*.bin"))
        if not names:
            raise InputError(f"{self.folder}/voices has no voices: put Kokoro's NAME.bin files there")
        return names

    def read_style(self, voice: str, num_tokens: int) -> np.ndarray:
        """Read the style of a voice for a text.

        Args:
            voice: Name of the voice.
            num_tokens: Length of the text in tokens.

        Returns:
            (1 256) float32.

        Raises:
            InputError: There is no such voice.
        """
        if voice not in self.voices:
            raise InputError(f"{voice} is not a voice of {self.folder}: give one of {', '.join(self.voices)}")
        table = np.fromfile(self.folder / "voices" / f"{voice}.bin", np.float32).reshape(-1, 256)
        return table[min(num_tokens, len(table) - 1)][None]

    def load(self) -> None:
        """Load the model. Raises InputError as `session` does."""
        _ = self.session

    def synthesize(self, text: str, voice: str, language: str | None = None, speed: float = 1.0) -> Speech:
        """Speak a text.

        Args:
            text: A sentence or a few.
            voice: One of `voices`.
            language: Language of the text, as eSpeak NG names it; None: the voice's own.
            speed: Above 1 is faster.

        Returns:
            Speech at 24 kHz with the times of its phonemes.

        Raises:
            InputError: No such voice or language, a text without words, or no model.
        """
        symbols = transcribe(text, language or LANGUAGES.get(voice[:1], "en-us"))[:MAX_TOKENS]
        if not any(symbol.isalpha() for symbol in symbols):
            raise InputError(f"{text!r} can't be spoken: give a sentence")
        tokens = [0, *(SYMBOLS[symbol] for symbol in symbols), 0]
        inputs = {
            "tokens": np.array([tokens], np.int64),
            "style": self.read_style(voice, len(symbols)),
            "speed": np.array([speed], np.float32),
        }
        wave, frames = self.session.run(None, inputs)
        wave, frames = wave.ravel(), frames.ravel()
        silence = round(SILENCE_SECONDS * SAMPLE_RATE_HZ)
        lead_seconds = silence / SAMPLE_RATE_HZ + (float(frames[0]) - EARLY_FRAMES) * SAMPLES_PER_FRAME / SAMPLE_RATE_HZ
        phonemes = group_symbols(symbols, frames[1:-1], lead_seconds)
        samples = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
        return Speech(np.pad(samples, silence), SAMPLE_RATE_HZ, phonemes)
