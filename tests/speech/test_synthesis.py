"""Speech from text: by hibari-tts where it is installed, and by a server with OpenAI's API."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from emo import InputError
from emo.media.audio import loudness
from emo.speech.contracts import SpeechSynthesizer
from emo.speech.synthesis import HttpSynthesizer, load_synthesizer


@pytest.fixture
def server(sound_path):
    """A speech server: (its address, the requests it got); the voice "wrong" is answered with 400, "text" without a
    sound."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            order = json.loads(self.rfile.read(int(self.headers["content-length"])))
            requests.append((self.path, self.headers.get("authorization"), order))
            self.send_response(400 if order["voice"] == "wrong" else 200)
            self.end_headers()
            self.wfile.write(b"no such voice" if order["voice"] in ("wrong", "text") else sound_path.read_bytes())

        def log_message(self, *arguments):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", requests
    http.shutdown()
    http.server_close()


def test_server_of_openais_kind(server, wave, monkeypatch):
    url, requests = server
    monkeypatch.setenv("EMO_TTS_KEY", "key")
    for address in (url, f"{url}/v1/", f"{url}/v1/audio/speech"):
        speech = load_synthesizer(address).synthesize(" Hello ", "en-US", "nova")
        assert speech.sample_rate == 16000 and np.abs(speech.wave - wave).max() < 1e-4
    order = {"model": "tts-1", "input": "Hello", "voice": "nova", "response_format": "wav"}
    assert requests == [("/v1/audio/speech", "Bearer key", order)] * 3


def test_errors_of_a_server_are_one_line(server):
    synthesizer = HttpSynthesizer(server[0])
    for voice, said in [("wrong", "answered 400: no such voice"), ("text", "sent no sound: its reply")]:
        with pytest.raises(InputError, match=said):
            synthesizer.synthesize("Hello", "en-US", voice)
    with pytest.raises(InputError, match="text is empty"):
        synthesizer.synthesize("  ", "en-US")
    with pytest.raises(InputError, match="can't be reached"):
        HttpSynthesizer("http://127.0.0.1:9").synthesize("Hello")
    for address in ("localhost:8880", "file:///etc/passwd"):
        with pytest.raises(InputError, match="give the address"):
            load_synthesizer(address)


def test_hibari_speaks_offline():
    pytest.importorskip("hibari")
    synthesizer = load_synthesizer()
    assert isinstance(synthesizer, SpeechSynthesizer)
    speech = synthesizer.synthesize("Hello there, how are you?", "en-GB")
    seconds = len(speech.wave) / speech.sample_rate
    assert 0.8 < seconds < 4 and np.ptp(loudness(speech.wave, speech.sample_rate, int(25 * seconds), 25)) > 20
    assert np.array_equal(synthesizer.synthesize("Hello there, how are you?", "en").wave, speech.wave)
    with pytest.raises(InputError, match="speaks English alone"):
        synthesizer.synthesize("Guten Tag", "de-DE")
    with pytest.raises(InputError, match="voice=nobody: hibari-tts has heart"):
        synthesizer.synthesize("Hello", "en-US", "nobody")


def test_without_a_synthesizer_the_fix_is_named(monkeypatch):
    monkeypatch.setattr("emo.speech.synthesis.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"emo-portrait\[tts\]"):
        load_synthesizer()
