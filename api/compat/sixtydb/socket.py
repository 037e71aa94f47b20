"""WS /ws/stt"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import WebSocket, get, websocket

from api.accounts.callers import Caller
from api.compat.sixtydb.conversation import (
    Conversation,
    session_id_of,
    speak,
    test_response,
    unknown_message,
)
from api.compat.sixtydb.errors import SixtyDbDialect
from api.compat.sixtydb.form import languages_of
from api.compat.sixtydb.messages import (
    BillingSummary,
    Connected,
    Connecting,
    ConnectionEstablished,
    SessionStarted,
    SessionStopped,
    Start,
    WarningMessage,
    read_start,
)
from api.compat.sixtydb.refinement import Refine
from api.compat.sixtydb.routes import DEFAULT_MODEL, DIARIZED_PERCENT, NOT_REFINED_CODE, model_for
from api.errors import InvalidRequest, TritoneError
from api.http.connection import while_connected
from api.http.drain import Drain
from api.http.refinement import refiner_for
from api.http.stream_client import Client, ClientLimits, Message, TextMessages
from api.intelligence.refining import NOT_REFINED
from api.intelligence.service import Intelligence
from api.recognition.catalog import ModelCatalog
from api.recognition.wording import Wording
from api.speech import Segment
from api.streaming.live import LiveTranscriber
from api.streaming.options import StreamOptions
from api.transcripts.jobs import Job, Jobs

WHAT_MESSAGES_ARE: Final = (
    'A text message is a JSON object with a "type": start, audio, config, test or stop. '
    "Audio goes into binary messages, or in base64 into those of the type audio."
)
CONTROL_CHARS: Final = 64 * 1024
"""What a text message may have besides audio."""
EARLY_BYTES: Final = 1024 * 1024
"""Of what comes before `start`, and waits for it."""
MESSAGE_OVERHEAD_BYTES: Final = 100
NEVER_S: Final = 3600.0
"""Between two interim texts that nobody wants to see."""

PROTOCOL: Final = """A WebSocket, as 60db's. The key goes into the query, as `apiKey` or `token`.

1. `{"type": "connecting"}` comes, then `{"type": "connection_established", "connection_established": true}`.
2. Send `{"type": "start", "languages": ["en"], "context": {"general": [{"key": "…", "value": "…"}], "text": "…",
   "terms": ["…"]}, "config": {"encoding": "linear", "sample_rate": 16000, "utterance_end_ms": 500,
   "continuous_mode": true, "interim_results_frequency": 300, "diarize": false}}`. All of it but the type may be left
   out: languages are then detected, among all that there are.
3. `{"type": "connected", …}` comes, then `{"type": "session_started", …}`.
4. Send audio in binary messages, in the format of the config, or as `{"type": "audio", "audio": "BASE64"}`, which may
   have an `encoding` and a `sample_rate` of its own. `linear` is signed 16-bit little-endian, `mulaw` that of G.711.
5. `{"type": "speech_started"}` comes, and `{"type": "transcription", "text": "…", "is_final": true, "speech_final":
   true, …}`; while somebody speaks, with `is_final` false. With a `context`, on plans that include it, each phrase
   comes twice with one `sentence_id`: at once, and refined, with `speech_final` true.
6. Send `{"type": "stop"}`. `{"type": "session_stopped", "billing_summary": {…}}` comes last. With `continuous_mode`
   false the session stops by itself after the first phrase.

`{"type": "config", "languages": null, "continuous_mode": false}` changes these in mid-session; `{"type": "test"}` is
answered with `test_response`. Errors are `{"type": "error", "error_code": "…", "message": "…", "error": "…"}`; then the
server closes, with 1008, or 1011 when it is the server's fault. Nothing of it is kept."""


class SocketBody(msgspec.Struct):
    status: str
    message: str


@get(
    "/ws/stt",
    tags=["60db"],
    sync_to_thread=False,
    summary="Transcribe live speech (a WebSocket)",
    description=PROTOCOL,
    security=[{}],
)
def no_socket() -> SocketBody:
    """Whoever asks for it without a WebSocket asks whether it is there."""
    return SocketBody("ok", "This is a WebSocket: connect with ws:// or wss://. /schema describes what it speaks.")


@websocket("/ws/stt")
async def stt_socket(
    socket: WebSocket[Any, Any, Any],
    caller: Caller,
    jobs: Jobs,
    live: LiveTranscriber,
    catalog: ModelCatalog,
    intelligence: Intelligence,
    client_limits: ClientLimits,
    drain: Drain,
    snr_floor_db: float,
) -> None:
    texts = TextMessages(client_limits.frame_bytes * 4 // 3 + CONTROL_CHARS, WHAT_MESSAGES_ARE)
    client = Client(socket, client_limits, SixtyDbDialect(), texts, drain)
    async with client.served():
        caller.check("transcribe")
        with live.slot():
            async with jobs.open(caller) as job:
                violation = await converse(client, job, live, catalog, intelligence, snr_floor_db)
        await client.close(violation)


async def converse(
    client: Client,
    job: Job,
    live: LiveTranscriber,
    catalog: ModelCatalog,
    intelligence: Intelligence,
    snr_floor_db: float,
) -> TritoneError | None:
    """One session, from its greeting to its last message; what the client did wrong, if that is why it ended."""
    await client.send(Connecting())
    await client.send(ConnectionEstablished())
    start, early = await opening(client)
    if start is None:
        await client.send(SessionStopped(session_id_of(job), BillingSummary(0, 0)))
        return None
    options = await options_of(start, catalog, snr_floor_db)
    refine, warnings = await refinement_of(start, job.caller, intelligence)
    if start.config.diarize:
        job.percent = DIARIZED_PERCENT
        await job.cover(0.0)
    conversation = Conversation(client, job, live.session(options), options.model, start.config)
    await greet(client, job, start, options, warnings)
    await while_connected(speak(conversation, options, start.config, refine), conversation.listen(*early))
    return conversation.violation


async def opening(client: Client) -> tuple[Start | None, list[Message]]:
    """The first words of a client, up to its `start`, and the audio that came before that. None: it said `stop`.

    Raises InvalidRequest.
    """
    early, size = list[Message](), 0
    while True:
        message = await client.receive()
        if isinstance(message, bytes) or message.get("type") == "audio":
            early.append(message)
            size += MESSAGE_OVERHEAD_BYTES + len(message if isinstance(message, bytes) else str(message))
            if size > EARLY_BYTES:
                raise InvalidRequest('Send {"type": "start"} before any audio.')
        elif message.get("type") == "start":
            return read_start(message, client.query), early
        elif message.get("type") == "stop":
            if early:
                raise InvalidRequest('Audio came, but no {"type": "start"} before it.')
            return None, []
        else:
            await client.send(test_response() if message.get("type") == "test" else unknown_message(message))


async def options_of(start: Start, catalog: ModelCatalog, snr_floor_db: float) -> StreamOptions:
    """Raises InvalidRequest, UnknownModel, InferenceUnavailable."""
    (model, _), config = await model_for(catalog, DEFAULT_MODEL), start.config
    language, languages = languages_of(model, start.languages)
    return StreamOptions(
        model,
        language,
        languages,
        Wording(start.context.keywords, normalize=True),
        snr_floor_db,
        partial_interval_s=config.interim_s or NEVER_S,
        min_silence_s=config.min_silence_s,
        diarize=config.diarize,
        max_speakers=config.most_speakers,
        diarization=await catalog.diarization() if config.diarize else None,
    )


async def refinement_of(
    start: Start, caller: Caller, intelligence: Intelligence
) -> tuple[Refine | None, list[WarningMessage]]:
    """What goes over each phrase with the context, if that was sent and can be done; otherwise why it cannot."""
    context = start.context
    if not context:
        return None, []
    refiner, why_not = await refiner_for(caller, intelligence)
    if refiner is None:
        return None, [WarningMessage(NOT_REFINED_CODE, f"{NOT_REFINED} {why_not}")]

    async def refine(segment: Segment) -> Segment:
        return await refiner.segment(segment, context.paragraph, context.terms)

    return refine, []


async def greet(client: Client, job: Job, start: Start, options: StreamOptions, warnings: list[WarningMessage]) -> None:
    config, session_id = start.config, session_id_of(job)
    await client.send(Connected(session_id, {"name": "tritone", "model": options.model.id}))
    await client.send(
        SessionStarted(
            session_id,
            list(start.languages) or None,
            config.format.encoding,
            config.format.rate_hz,
            config.continuous_mode,
            config.diarize,
        )
    )
    for warning in warnings:
        await client.send(warning)
