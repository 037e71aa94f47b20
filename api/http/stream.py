"""WS /v1/stream"""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, WebSocket, get, websocket
from litestar.status_codes import HTTP_426_UPGRADE_REQUIRED
from msgspec import Meta

from api.accounts.callers import Caller
from api.errors import InvalidRequest, TritoneError
from api.formats.json import segment_body
from api.http.connection import while_connected
from api.http.dialects import PlainDialect
from api.http.drain import Drain
from api.http.fields import parse
from api.http.live_session import Listener, accounted
from api.http.openapi import WITH_OR_WITHOUT_KEY, ErrorBody, refusals
from api.http.stream_client import Client, ClientLimits, Message, TextMessages
from api.intelligence.service import Intelligence
from api.recognition.catalog import ModelCatalog
from api.recognition.keywords import parse_keywords
from api.recognition.wording import Wording
from api.streaming import events
from api.streaming.live import LiveTranscriber
from api.streaming.options import StreamOptions
from api.streaming.session import StreamSession
from api.transcripts.jobs import Job, Jobs
from api.transcripts.meaning import Meaning

TEXT_MESSAGES: Final = TextMessages(
    16 * 1024,
    'A text message is a JSON object: the config, {"language": "en", "model": "large-v3-turbo"}, before any audio, or '
    '{"action": "stop"}. Audio goes into binary messages.',
)
SHORTEST_UTTERANCE_MS: Final = 3000
LANGUAGES: Final = "at most 10 codes, as in en,es, or a list of such: what language=auto chooses from"
KEYWORDS: Final = "terms with a weight from 0 to 10, as in Acme:5,XYZ Pharma:8,off-side, or a list of such"
PROTOCOL: Final = """A WebSocket. All text messages are JSON objects.

1. Send the config, `{"language": "auto", "model": "large-v3-turbo"}`; more fields: `diarize`, `partial_interval_ms`,
   `min_silence_ms`, `max_utterance_ms`, `keywords` (`"Acme:5,XYZ Pharma"`, or a list of such), `languages` (`"en,es"`,
   or a list of such: what `auto` chooses from). The query takes the same fields, and then no message is needed.
2. `{"status": "ready"}` comes.
3. Send audio as binary messages of any size: signed 16-bit little-endian samples at 16 kHz, mono.
4. While somebody speaks, `{"partial": "…", "committed": "…", "start": 1.2}` comes; what is `committed` stays as it is.
5. When a phrase has ended, `{"text": "…", "start": 1.2, "end": 3.4, "confidence": 0.98, "words": […], …}` comes, with
   `language` and, where that was asked for, `speaker`.
6. Send `{"action": "stop"}` or an empty binary message. The last message has `"is_final": true` and all of the text.

Errors are `{"error": "…"}`; then the server closes, with 1008 when what was sent is not right or nothing came for too
long, 1009 when a message was too large, 1011 when it is the server's fault, 1013 to try again in `retry_after` s."""


class StreamConfig(msgspec.Struct, frozen=True):
    """Of a session, in its first message or in the query. Descriptions say what is valid, to readers of errors, too."""

    model: Annotated[str, Meta(description="the id of a model that /v1/models lists", max_length=100)] = (
        "large-v3-turbo"
    )
    language: Annotated[str, Meta(description="an ISO 639-1 code such as en, or auto", max_length=20)] = "auto"
    diarize: Annotated[bool, Meta(description="true or false")] = False
    partial_interval_ms: Annotated[int, Meta(description="a whole number from 100 to 10000", ge=100, le=10_000)] = 300
    min_silence_ms: Annotated[int, Meta(description="a whole number from 200 to 5000", ge=200, le=5000)] = 500
    max_utterance_ms: Annotated[
        int,
        Meta(description=f"a whole number from {SHORTEST_UTTERANCE_MS} to 25000, or 0 (automatic)", ge=0, le=25_000),
    ] = 0
    sample_rate: Annotated[int, Meta(description="16000", ge=16_000, le=16_000)] = 16_000
    languages: Annotated[str | list[str], Meta(description=LANGUAGES)] = ""
    keywords: Annotated[str | list[str], Meta(description=KEYWORDS)] = ""
    store: Annotated[bool, Meta(description="true, or false: the transcript is not kept")] = True

    async def options(self, catalog: ModelCatalog) -> StreamOptions:
        """Raises InvalidRequest, UnknownModel, InferenceUnavailable."""
        if 0 < self.max_utterance_ms < SHORTEST_UTTERANCE_MS:
            raise InvalidRequest(f"max_utterance_ms must be at least {SHORTEST_UTTERANCE_MS}, or 0 (automatic).")
        model = await catalog.find(self.model)
        return StreamOptions(
            model,
            *model.choice(self.language, self.languages),
            partial_interval_s=self.partial_interval_ms / 1000,
            min_silence_s=self.min_silence_ms / 1000,
            max_utterance_s=self.max_utterance_ms / 1000 or None,
            diarize=self.diarize,
            diarization=await catalog.diarization(),
            wording=Wording(keywords=parse_keywords(self.keywords)),
        )


@get(
    "/v1/stream",
    tags=["transcription"],
    sync_to_thread=False,
    status_code=HTTP_426_UPGRADE_REQUIRED,
    summary="Transcribe live speech (a WebSocket)",
    description=PROTOCOL,
    security=WITH_OR_WITHOUT_KEY,
    responses=refusals(400, 401, 429, 503),
)
def no_stream() -> Response[ErrorBody]:
    """What who asks for it without a WebSocket gets."""
    return Response(
        ErrorBody("This is a WebSocket: connect with ws:// or wss://. /schema describes what it speaks."),
        status_code=HTTP_426_UPGRADE_REQUIRED,
        headers={"Upgrade": "websocket"},
    )


@websocket("/v1/stream")
async def stream(
    socket: WebSocket[Any, Any, Any],
    caller: Caller,
    jobs: Jobs,
    live: LiveTranscriber,
    catalog: ModelCatalog,
    intelligence: Intelligence,
    meaning: Meaning,
    client_limits: ClientLimits,
    drain: Drain,
) -> None:
    client = Client(socket, client_limits, PlainDialect(), TEXT_MESSAGES, drain)
    async with client.served():
        caller.check("transcribe")
        with live.slot():
            async with jobs.open(caller) as job:
                violation = await converse(client, job, live, catalog)
            meaning.compute_soon(job, intelligence)
        await client.close(violation)


async def converse(client: Client, job: Job, live: LiveTranscriber, catalog: ModelCatalog) -> TritoneError | None:
    """One session, from its config to its last message; what the client did wrong, if that is why it ended."""
    config, options = StreamConfig(), None
    if client.query.keys() & StreamConfig.__struct_fields__:
        config = parse(StreamConfig, client.query)
        options = await config.options(catalog)
        await tell(client, status="ready")
    message = await client.receive()
    if isinstance(message, dict) and "action" not in message:
        config = parse(StreamConfig, {**client.query, **message})
        options = await config.options(catalog)
        await client.send({"status": "ready"})
        message = await client.receive()
    elif options is None:
        options = await config.options(catalog)
        await tell(client, status="ready")
    if config.store:
        title, model = f"Live, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", options.model
        await job.accept(title, model.served_by, model.version)
    await job.begin()
    session = live.session(options)
    listener = StreamListener(client, job, session)
    await while_connected(speak(client, job, session, listener, options), listener.listen(message))
    return listener.violation


class StreamListener(Listener):
    async def hear(self, message: Message) -> bool:
        audio = _audio(message)
        if audio is not None:
            await self.feed(audio)
        return audio is not None


def _audio(message: Message) -> bytes | None:
    """None when it says stop, which an empty binary message does, too. Raises InvalidRequest."""
    if isinstance(message, bytes):
        return message or None
    if message.get("action") == "stop":
        return None
    if "action" in message:
        raise InvalidRequest(f"There is no action {message['action']!r:.50}; there is stop.")
    raise InvalidRequest("The config must come before any audio, and once.")


async def speak(client: Client, job: Job, session: StreamSession, listener: Listener, options: StreamOptions) -> None:
    """What the session says, to the client."""
    async with aclosing(accounted(session, job, listener, options)) as happenings:
        async for event in happenings:
            body = body_of(event)
            if isinstance(event, events.Ended):
                body |= {"id": str(job.id)} if job.done and job.stored else {}
                if listener.violation is not None:
                    await client.send_error(listener.violation)
            await tell(client, **body)


async def tell(client: Client, **fields: Any) -> None:
    """The vendor's own example reads `text` of every message; where it is empty, nobody takes it for one."""
    await client.send({"text": "", **fields})


def body_of(event: events.Event) -> dict[str, Any]:
    match event:
        case events.Partial():
            return {"partial": event.text, "committed": event.committed, "start": round(event.start, 2)}
        case events.Final():
            body = msgspec.to_builtins(segment_body(event.segment))
            return {**_known(body), "words": [_known(word) for word in body["words"]], "language": event.language}
        case events.TooNoisy():
            return {"warning": f"The speech from {event.start:.1f} s to {event.end:.1f} s is too noisy."}
        case events.Delayed():
            return {"status": "delayed", "seconds": round(event.seconds, 1)}
        case events.Resumed():
            return {"status": "resumed"}
        case events.Warned():
            return {"warning": event.message}
        case events.Ended():
            return {
                "text": event.text,
                "is_final": True,
                "final": True,
                "language": event.language,
                "duration": round(event.duration, 2),
                "model": event.model,
                "model_version": event.model_version,
            }


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
