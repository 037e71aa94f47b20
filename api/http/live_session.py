"""A live session as a job: what a client sends goes in, what is understood comes out, and all of it is paid for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from api.errors import InvalidRequest, NoCredits, ShuttingDown, TooLarge, TooMany, TritoneError
from api.http.stream_client import Client, Message
from api.metrics import AUDIO_SECONDS
from api.speech import Segment, Transcript
from api.streaming.events import Ended, Event, Partial, TooNoisy
from api.streaming.events import Final as Settled
from api.streaming.options import StreamOptions
from api.streaming.session import BYTES_PER_S, StreamSession
from api.telemetry.stages import LIVE
from api.transcripts.jobs import Job

VIOLATIONS: Final = (InvalidRequest, TooLarge, NoCredits, TooMany, ShuttingDown)
"""What ends a session as `stop` does; the last of them is ours."""


class Listener(ABC):
    """Hands a client's audio to its session. What breaks a rule ends the session as `stop` does, so no word is lost."""

    def __init__(self, client: Client, job: Job, session: StreamSession) -> None:
        self.client = client
        self.job = job
        self.session = session
        self.seconds = 0.0  # of audio that came, and is paid for
        self.violation: TritoneError | None = None

    @abstractmethod
    async def hear(self, message: Message) -> bool:
        """What the message says; False when that was all. Raises one of VIOLATIONS, ClientGone."""

    async def listen(self, *first: Message) -> None:
        """From these messages on, until the client leaves."""
        waiting = deque(first)
        try:
            while await self.hear(waiting.popleft() if waiting else await self.client.receive()):
                pass
        except VIOLATIONS as violation:
            self.violation = violation.with_traceback(None)  # which holds this frame, and with it the audio
        self.session.stop()
        await self.client.left()

    async def feed(self, audio: bytes) -> None:
        """Audio as the session takes it. Raises NoCredits, TooMany, InvalidRequest, StorageUnavailable."""
        await self.job.cover(self.seconds + len(audio) / BYTES_PER_S)
        self.seconds += len(audio) / BYTES_PER_S
        AUDIO_SECONDS.labels(LIVE).inc(len(audio) / BYTES_PER_S)
        await self.session.feed(audio)


async def accounted(
    session: StreamSession, job: Job, listener: Listener, options: StreamOptions
) -> AsyncGenerator[Event, None]:
    """What the session says. What it has said so far is what the job has come to: before it is told, because from then
    on it is paid also by who leaves; when it has ended, the job is done.

    Raises InferenceUnavailable, InferenceFailed, StorageUnavailable.
    """
    segments, language, too_noisy = list[Segment](), options.language, False
    async with aclosing(session.events()) as happenings:
        async for event in happenings:
            too_noisy = too_noisy or isinstance(event, TooNoisy)
            if isinstance(event, Settled):
                segments, language = [*segments, event.segment], language or event.language
            if isinstance(event, Settled) or (isinstance(event, Partial) and event.text):
                job.heard = _transcript(segments, language, listener.seconds, options)
            if isinstance(event, Ended) and listener.seconds > 0:
                nothing_else = too_noisy and not segments
                await job.complete(_transcript(segments, event.language, event.duration, options, nothing_else))
            yield event


def _transcript(
    segments: Sequence[Segment],
    language: str | None,
    duration_s: float,
    options: StreamOptions,
    too_noisy: bool = False,
) -> Transcript:
    speakers = dict.fromkeys(segment.speaker for segment in segments if segment.speaker is not None)
    return Transcript(
        language, 1.0, duration_s, tuple(segments), options.model.served_by, tuple(speakers),
        too_noisy=too_noisy, model_version=options.model.version,
    )  # fmt: skip
