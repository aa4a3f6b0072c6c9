"""Text spoken by eSpeak NG, with the time of every phoneme.

The program is the PyPI wheel `espeakng-loader` (GPL), called through its C interface (speak_lib.h): a tool that makes
data, never a part of the package.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

from emo.core.errors import InputError

VOICES = ["f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]
SYNCHRONOUS, PHONEME_EVENTS_IN_IPA, UTF8, AT_CHARACTER = 2, 3, 1, 1
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER: words per minute, 0..100, 0..100
END, PHONEME = 0, 7  # espeak_EVENT_TYPE
QUIET_SECONDS = 0.24  # before and after what is said


@dataclass(frozen=True)
class Phone:
    """A phoneme as it is spoken; an empty one is a pause."""

    ipa: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Speech:
    wave: np.ndarray  # (S,) int16
    sample_rate: int  # Hz
    phones: list[Phone]

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


class Name(ctypes.Union):
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
        ("id", Name),
    ]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@cache
def library() -> tuple[ctypes.CDLL, int]:
    """The program, ready to speak, and its sample rate. Raises InputError where it is not installed or won't start."""
    mend = "eSpeak NG speaks the text: pip install espeakng-loader"
    try:
        import espeakng_loader

        espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path()
    except (ImportError, OSError) as error:
        raise InputError(f"{mend} ({error})") from error
    espeak.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_uint] * 2, ctypes.c_int]
    espeak.espeak_Synth.argtypes += [ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, str(folder).encode(), PHONEME_EVENTS_IN_IPA)
    if rate <= 0:
        raise InputError(f"{mend} --force-reinstall (it finds no voices in {folder})")
    return espeak, rate


def speak(text: str, random: np.random.Generator, language: str = "en-us") -> Speech:
    """The text in a voice drawn by `random`. Raises InputError: no eSpeak NG, no such language, nothing to say."""
    espeak, rate = library()
    pieces, marks = [], []

    def hear(samples, count: int, events) -> int:
        if count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type != END:
            if events[at].type == PHONEME:
                marks.append((events[at].id.string.decode("utf-8", "ignore"), events[at].sample / rate))
            at += 1
        return 0

    callback, words = CALLBACK(hear), text.encode()
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(f"{language}+{random.choice(VOICES)}".encode()):
        raise InputError(f"{language}: eSpeak NG knows no such language; en-us is one it knows")
    for parameter, low, high in [(RATE, 130, 185), (PITCH, 35, 65), (RANGE, 35, 65)]:
        espeak.espeak_SetParameter(parameter, int(random.integers(low, high)), 0)
    espeak.espeak_Synth(words, len(words) + 1, 0, AT_CHARACTER, 0, UTF8, None, None)
    if not any(name for name, _ in marks):
        raise InputError(f"{text!r} can't be spoken: give a sentence a line")
    wave, quiet = np.concatenate(pieces), round(QUIET_SECONDS * rate)
    starts = [(quiet / rate) + start for _, start in marks]
    ends = [*starts[1:], (quiet + len(wave)) / rate]
    phones = [Phone(name, s, e) for (name, _), s, e in zip(marks, starts, ends, strict=True) if e > s]
    return Speech(np.pad(wave, quiet), rate, phones)
