"""Options of emo-infer that speak a text in place of a sound file."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SPEECH_NAME = "speech.wav"


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add --text, --tts and --voice.

    Args:
        parser: The parser.
    """
    speech = parser.add_argument_group("text")
    speech.add_argument("--text", help="what the portrait says, in place of a sound")
    speech.add_argument("--tts", metavar="URL", help="speech server with OpenAI's API (default: hibari-tts, English)")
    speech.add_argument("--voice", metavar="NAME", help="a voice of the speech synthesizer (default: its own)")


def find_conflict(args: argparse.Namespace) -> str | None:
    """Return what is wrong with the combination of inputs; None where it can be used.

    Args:
        args: Arguments with image, audio, text, tts, voice and jobs.
    """
    if args.jobs is not None:
        given = args.image is not None or args.text is not None or args.output is not None
        return "--jobs names portraits, sounds and outputs in its file: leave them out" if given else None
    if args.image is None:
        return "the following arguments are required: portrait, sound"
    if args.audio is None and args.text is None:
        return "the following arguments are required: sound, or --text"
    if args.audio is not None and args.text is not None:
        return "give either a sound or --text, and not both"
    if args.text is None and (args.tts is not None or args.voice is not None):
        return "--tts and --voice need --text"
    return None


@contextmanager
def open_sound(args: argparse.Namespace) -> Iterator[Path]:
    """Yield the sound file: the given one, or the spoken text for as long as it is needed.

    Args:
        args: Arguments with audio, text, tts and voice.

    Raises:
        InputError: The text can't be spoken.
    """
    if args.text is None:
        yield args.audio
        return
    from emo.media.audio import write_wav
    from emo.speech.synthesis import load_synthesizer

    speech = load_synthesizer(args.tts).synthesize(args.text, "en-US", args.voice)
    with TemporaryDirectory() as folder:
        path = Path(folder) / SPEECH_NAME
        write_wav(path, speech.wave, speech.sample_rate)
        yield path
