"""What the routes of one server share."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from emo.core.errors import InputError
from emo.speech.contracts import SpeechSynthesizer, SynthesizedSpeech
from emo.speech.synthesis import has_synthesizer, load_synthesizer

if TYPE_CHECKING:
    from emo.app.jobs import JobStore
    from emo.app.monitoring import Monitor
    from emo.app.runner import JobRunner, ModelHolder
    from emo.app.settings import ServerSettings

PARALLEL_DECODERS = 2


class ServerState:
    """Settings, jobs, model, counters and live sessions of one server.

    Args:
        settings: Settings of the server.
        model: Loads the pipeline.
        store: The jobs.
        runner: Runs the jobs.
        monitor: The counters.
        sessions: Ids of the live sessions.

    Attributes:
        uploading: Requests whose upload is under way; each holds a place in the queue.
        decoders: Bounds the child processes that decode.
    """

    def __init__(
        self,
        settings: "ServerSettings",
        model: "ModelHolder",
        store: "JobStore",
        runner: "JobRunner",
        monitor: "Monitor",
        sessions: set[str],
    ):
        self.settings, self.model, self.store, self.runner = settings, model, store, runner
        self.monitor, self.sessions = monitor, sessions
        self.uploading = 0
        self.decoders = asyncio.Semaphore(PARALLEL_DECODERS)
        self._synthesizer: SpeechSynthesizer | None = None
        self._speaking = threading.Lock()

    @property
    def can_speak(self) -> bool:
        """Whether texts can be turned into speech."""
        return has_synthesizer(self.settings.tts_url)

    def speak(self, text: str, language: str, voice: str | None) -> SynthesizedSpeech:
        """Speak a text.

        Args:
            text: What to say.
            language: Code of BCP 47.
            voice: Name of a voice; None: the synthesizer's default.

        Returns:
            The speech.

        Raises:
            InputError: The text is too long, or can't be spoken.
        """
        limits = self.settings
        if len(text) > limits.max_text:
            raise InputError(f"text has {len(text)} characters; this server takes {limits.max_text}")
        with self._speaking:
            self._synthesizer = self._synthesizer or load_synthesizer(limits.tts_url)
            speech = self._synthesizer.synthesize(text, language, voice)
        if len(speech.wave) > limits.max_seconds * speech.sample_rate:
            raise InputError(f"the text takes longer than {limits.max_seconds:g} s to say, this server's limit")
        return speech

    def check_controls(self, controls: dict[str, Any]) -> None:
        """Check values of conditions before they are queued. Raises InputError for one that the model has not."""
        from emo.pipelines.live import parse_constants

        parse_constants(self.model.get().model.conditions, controls)

    def list_controls(self) -> dict[str, list[str]]:
        """Return the conditions by frame that the model has: name -> names of the components."""
        if not self.model.is_ready:
            return {}
        return {spec.name: list(spec.components) for spec in self.model.get().model.conditions if spec.components}
