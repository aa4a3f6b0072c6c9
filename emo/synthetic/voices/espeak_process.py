"""Reproducible speech by eSpeak NG: each text in a process of its own.

The program carries noise over from one sentence into the next; only the first sentence of a process is the same in
every run. `python -m emo.synthetic.voices.espeak_process` is that process: a request as JSON on the standard input, the
speech as .npz on the standard output.
"""

import io
import json
import os
import subprocess
import sys

import numpy as np

from emo.core.errors import InputError
from emo.synthetic.espeak import Phoneme, Speech, synthesize_speech

TIMEOUT_SECONDS = 120


def synthesize_in_process(text: str, random: np.random.Generator, language: str = "en-us") -> Speech:
    """Speak a text as `emo.synthetic.espeak.synthesize_speech` does, with the same samples in every run.

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
            [sys.executable, "-m", "emo.synthetic.voices.espeak_process"],
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


def main() -> None:
    """Answers one request."""
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
