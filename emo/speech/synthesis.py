"""Speech from text: hibari-tts on this machine, or any server with OpenAI's POST /v1/audio/speech.

Both fulfil the contract `SpeechSynthesizer`. hibari-tts (Apache-2.0, extra `tts`) has an English voice inside its wheel
and needs no network; its other voices are downloads.
"""

import json
import os
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import numpy as np

from emo.core.errors import InputError
from emo.media.decode import decode_audio, mix_to_mono
from emo.speech.contracts import SpeechSynthesizer, SynthesizedSpeech

HIBARI_RATE_HZ = 24000
HIBARI_VOICES = ("heart", "fenrir", "kore", "emma", "fable")  # the first is in the wheel; emma and fable are British
SPEECH_PATH = "/v1/audio/speech"
KEY_VARIABLES = "EMO_TTS_KEY", "OPENAI_API_KEY"
REPLY_SECONDS, MAX_REPLY_BYTES = 120, 200_000_000


class HibariSynthesizer:
    """Speaks English by hibari-tts (distilled from Kokoro-82M), 24 kHz."""

    def __init__(self):
        self._voices: dict = {}

    def synthesize(self, text: str, language: str = "en-US", voice: str | None = None) -> SynthesizedSpeech:
        """Speak a text; see `SpeechSynthesizer.synthesize`."""
        if language.split("-")[0].lower() != "en":
            raise InputError(f"language={language}: hibari-tts speaks English alone; others need a speech server")
        voice = voice or HIBARI_VOICES[0]
        if voice not in HIBARI_VOICES:
            raise InputError(f"voice={voice}: hibari-tts has {', '.join(HIBARI_VOICES)}")
        wave = np.asarray(self._load(voice)(check_text(text), seed=0), np.float32)
        if not len(wave):
            raise InputError("text: there is nothing in it that can be spoken")
        return SynthesizedSpeech(wave.clip(-1, 1), HIBARI_RATE_HZ)

    def _load(self, voice: str):
        if voice not in self._voices:
            from hibari import Hibari

            try:
                self._voices[voice] = Hibari(voice=voice)
            except (OSError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"voice={voice} can't be downloaded ({reason}); heart needs no download") from error
        return self._voices[voice]


class HttpSynthesizer:
    """Speaks by a server with OpenAI's speech API.

    Args:
        url: Its address, with or without /v1/audio/speech.
        model: Name of its model.

    Raises:
        InputError: The address is none.
    """

    def __init__(self, url: str, model: str = "tts-1"):
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InputError(f"tts={url}: give the address of a server, such as http://localhost:8880")
        base = url.rstrip("/")
        self.url = base if base.endswith(SPEECH_PATH) else base.removesuffix("/v1") + SPEECH_PATH
        self.model = model

    def synthesize(self, text: str, language: str = "en-US", voice: str | None = None) -> SynthesizedSpeech:
        """Speak a text; the API knows no languages, so the voice decides. See `SpeechSynthesizer.synthesize`."""
        order = {"model": self.model, "input": check_text(text), "voice": voice or "alloy", "response_format": "wav"}
        headers = {"Content-Type": "application/json"}
        key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, json.dumps(order).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=REPLY_SECONDS) as reply:
                data = reply.read(MAX_REPLY_BYTES + 1)
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(300).decode("utf-8", "replace").split())
            raise InputError(f"tts={self.url} answered {error.code}: {said}") from error
        except (OSError, ValueError) as error:
            raise InputError(f"tts={self.url} can't be reached ({error}); is the server running?") from error
        if len(data) > MAX_REPLY_BYTES:
            raise InputError(f"tts={self.url} sent more than {MAX_REPLY_BYTES / 1e6:g} MB")
        return decode_speech(data, self.url)


def decode_speech(data: bytes, name: str) -> SynthesizedSpeech:
    """Decode the bytes of a sound file as mono.

    Args:
        data: Content of the file.
        name: Where it comes from, for messages.

    Returns:
        The speech: (S,) float32 in [-1, 1], and its rate.

    Raises:
        InputError: They are not a sound.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech"
        path.write_bytes(data)
        try:
            blocks = list(decode_audio(path))
        except InputError as error:
            raise InputError(f"tts={name} sent no sound: {str(error).replace(str(path), 'its reply')}") from error
    wave = np.concatenate(list(mix_to_mono(block.samples for block in blocks)))
    return SynthesizedSpeech(wave.astype(np.float32).clip(-1, 1), blocks[0].sample_rate)


def check_text(text: str) -> str:
    """Return the text without blanks around it. Raises InputError where nothing is left."""
    if not text.strip():
        raise InputError("text is empty: give some words to speak")
    return text.strip()


def has_synthesizer(url: str | None = None) -> bool:
    """Return whether texts can be spoken: a server is named, or hibari-tts is installed."""
    return url is not None or find_spec("hibari") is not None


def load_synthesizer(url: str | None = None) -> SpeechSynthesizer:
    """Return a synthesizer.

    Args:
        url: Address of a server with OpenAI's speech API; None: hibari-tts.

    Returns:
        The synthesizer, ready to speak.

    Raises:
        InputError: hibari-tts is not installed, or the address is none.
    """
    if url is not None:
        return HttpSynthesizer(url)
    if not has_synthesizer():
        fix = "pip install 'emo-portrait[tts]', or name a speech server by tts="
        raise InputError(f"text needs a speech synthesizer: {fix}")
    return HibariSynthesizer()
