"""A session of WS /ws/stt, from its start on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import aclosing, nullcontext
from typing import Any

from msgspec import UNSET

from api.accounts.credits import in_credits
from api.audio.telephony import AudioFormat, AudioReader
from api.compat.sixtydb.answers import seconds
from api.compat.sixtydb.form import languages_of
from api.compat.sixtydb.messages import (
    BillingSummary,
    Config,
    LanguageChanged,
    ModeChanged,
    SessionStopped,
    TestResponse,
    WarningMessage,
    read_audio,
    read_change,
)
from api.compat.sixtydb.narration import Narrator
from api.compat.sixtydb.refinement import Refine, Refinements, Sentence
from api.errors import InvalidRequest
from api.http.live_session import Listener, accounted
from api.http.stream_client import Client, Message
from api.recognition.catalog import SpeechModel
from api.speech import SAMPLE_RATE_HZ
from api.streaming.events import Final as Settled
from api.streaming.options import StreamOptions
from api.streaming.session import StreamSession
from api.transcripts.jobs import Job


class Conversation(Listener):
    """What the client says. 60db keeps a session alive between phrases only with `continuous_mode`: without it the
    first one that is settled ends the session as `stop` does, and what comes after that is not listened to."""

    def __init__(self, client: Client, job: Job, session: StreamSession, model: SpeechModel, config: Config) -> None:
        super().__init__(client, job, session)
        self._model = model
        self._format = config.format
        self._reader = AudioReader(self._format, SAMPLE_RATE_HZ)
        self._is_continuous = config.continuous_mode
        self._is_over = False

    async def hear(self, message: Message) -> bool:
        if isinstance(message, bytes):
            await self._listen_to(message, self._format)
            return True
        match message.get("type"):
            case "audio":
                audio = read_audio(message)
                await self._listen_to(audio.data, audio.format(self._format))
            case "config":
                await self._change(message)
            case "test":
                await self.client.send(test_response())
            case "start":
                raise InvalidRequest("The session has begun; its languages can be changed with a config.")
            case "stop":
                if not self._is_over:
                    await self.feed(self._reader.flush())
                return False
            case _:
                await self.client.send(unknown_message(message))
        return True

    def phrase_ended(self) -> None:
        if not self._is_continuous:
            self._is_over = True
            self.session.stop()

    async def _listen_to(self, data: bytes, format_: AudioFormat) -> None:
        if format_ != self._reader.format:
            await self.feed(self._reader.flush())
            self._reader = AudioReader(format_, SAMPLE_RATE_HZ)
        for audio in self._reader.read(data):
            if self._is_over:
                return
            await self.feed(audio)

    async def _change(self, message: Mapping[str, Any]) -> None:
        change = read_change(message)
        if change.languages is not UNSET:
            language, languages = languages_of(self._model, change.languages)
            self.session.change_languages(language, languages)
            await self.client.send(LanguageChanged(language or "auto", list(change.languages) or None))
        if change.continuous_mode is not UNSET:
            self._is_continuous = change.continuous_mode
            mode = "continuous" if change.continuous_mode else "single_utterance"
            await self.client.send(ModeChanged(mode, change.continuous_mode))


async def speak(conversation: Conversation, options: StreamOptions, config: Config, refine: Refine | None) -> None:
    """What the session says, to the client, with the bill at the end, and what the client did wrong, if that ended it.

    Raises ClientGone, InferenceUnavailable, InferenceFailed, StorageUnavailable.
    """
    client, job = conversation.client, conversation.job
    narrator = Narrator(options.language, interim=config.interim_s is not None, twice=refine is not None)

    async def tell(sentence: Sentence) -> None:
        await client.send(narrator.refined(sentence))

    refinements = None if refine is None else Refinements(refine, tell)
    async with (
        nullcontext() if refinements is None else refinements.working(),
        aclosing(accounted(conversation.session, job, conversation, options)) as happenings,
    ):
        async for event in happenings:
            sentence_id = narrator.sentence_id
            for message in narrator.messages(event):
                await client.send(message)
            if isinstance(event, Settled):
                if refinements is not None:
                    await refinements.add(Sentence(sentence_id, event.segment))
                conversation.phrase_ended()
    bill = BillingSummary(seconds(conversation.seconds), in_credits(job.cost))
    await client.send(SessionStopped(session_id_of(job), bill))
    if conversation.violation is not None:
        await client.send_error(conversation.violation)


def session_id_of(job: Job) -> str:
    return f"sess_{job.id.hex}"


def test_response() -> TestResponse:
    return TestResponse(round(time.time() * 1000))


def unknown_message(message: Mapping[str, Any]) -> WarningMessage:
    """60db's clients send more than its contract has; what is not understood ends no session."""
    kind = message.get("type")
    known = "there are start, audio, config, test and stop"
    return WarningMessage("unknown_message", f"This was not understood: a message of the type {kind!r:.50}; {known}.")
