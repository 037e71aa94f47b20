"""POST /v1/embed, /v1/summarize, /v1/analyze, /v1/generate"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import msgspec
import numpy as np
from litestar import Controller, Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation
from msgspec import UNSET, Meta, UnsetType

from api.accounts.callers import Caller
from api.errors import InvalidRequest, TooLarge
from api.http.connection import disconnected, while_connected
from api.http.events import EventStream, event_stream, with_events
from api.http.fields import PRINTABLE, read_json
from api.http.openapi import WITH_KEY, json_body, refusals
from api.inference.backlog import Admission
from api.inference.base import Floats
from api.intelligence.language import language_of
from api.intelligence.redaction import redact_text, spans
from api.intelligence.results import AnalysisResult, AnalysisType, Generated, GenerateType, PiiResult, Style, Summary
from api.intelligence.service import Intelligence
from api.intelligence.source import Source, from_text, from_transcript
from api.languages import LANGUAGES
from api.speech import Segment, Transcript
from api.transcripts.jobs import Jobs

MAX_TEXTS: Final = 2048
MAX_TEXT_CHARS: Final = 1_000_000  # a day of speech
MAX_SEGMENTS: Final = 50_000
MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # JSON may need six bytes for a character
LONGEST_S: Final = 30 * 24 * 3600
TEXT: Final = r"^(?=[\s\S]*\S)[^\x00-\x08\x0e-\x1f\x7f]*$(?!\n)"
"""Something that can be read, on any number of lines."""
TEXT_IS: Final = f"text that is not empty, of at most {MAX_TEXT_CHARS} characters, without control characters"
_MOST: Final = {"maxLength": MAX_TEXT_CHARS}


class SpokenSegment(msgspec.Struct, frozen=True):
    """As `/v1/transcribe` answers them; what else they have is not looked at."""

    text: Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00-\x08\x0e-\x1f\x7f]*$(?!\n)")]
    start: Annotated[float, Meta(ge=0, le=LONGEST_S)]
    end: Annotated[float, Meta(ge=0, le=LONGEST_S)]
    speaker: Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None


class TextBody(msgspec.Struct, frozen=True, kw_only=True):
    """Either `text` or `segments`, with which results have times and speakers."""

    text: Annotated[str, Meta(pattern=TEXT, description=TEXT_IS, extra_json_schema=_MOST)] | UnsetType = UNSET
    segments: (
        Annotated[
            list[SpokenSegment],
            Meta(
                min_length=1,
                max_length=MAX_SEGMENTS,
                description=f"a list of at most {MAX_SEGMENTS} segments with text, start and end, as /v1/transcribe "
                "answers them",
            ),
        ]
        | UnsetType
    ) = UNSET
    language: Annotated[
        str | None,
        Meta(
            description="the code of a language that /v1/languages lists; by default the text tells",
            extra_json_schema={"enum": [*LANGUAGES, None]},
        ),
    ] = None

    def whole(self) -> str:
        """Raises InvalidRequest, TooLarge."""
        if (self.text is UNSET) == (self.segments is UNSET):
            raise InvalidRequest("Send text, or segments instead of it.")
        whole = self.text or " ".join(segment.text for segment in self.segments or ())
        if len(whole) > MAX_TEXT_CHARS:
            raise TooLarge(f"The text may have {MAX_TEXT_CHARS} characters; this one has {len(whole)}.")
        if not whole.strip():
            raise InvalidRequest("The segments have no text.")
        if (lines := whole.count("\n")) > MAX_SEGMENTS:
            raise TooLarge(f"The text may have {MAX_SEGMENTS} lines; this one has {lines}.")
        for place, segment in enumerate(self.segments or ()):
            if segment.end < segment.start:
                raise InvalidRequest(f"segments[{place}] ends before it starts.")
        return whole

    def read(self) -> tuple[str, str, Source]:
        """The text, its language, and the same as sentences. Raises InvalidRequest, TooLarge."""
        whole = self.whole()
        if self.language is not None and self.language not in LANGUAGES:
            raise InvalidRequest(f"language must be a code that /v1/languages lists, not {self.language!r:.30}.")
        language = self.language or language_of(whole)
        if self.text:
            return whole, language, from_text(whole, language)
        segments = tuple(
            Segment(given.start, given.end, given.text.strip(), 1.0, (), 0.0, 0.0, 1.0, given.speaker)
            for given in self.segments or ()
            if given.text.strip()
        )
        return whole, language, from_transcript(Transcript(language, 1.0, segments[-1].end, segments, ""))


class SummarizeBody(TextBody, frozen=True, kw_only=True):
    style: Annotated[
        Style, Meta(description="one of brief, detailed, action_items, bullet_points (or bullets, which is the same)")
    ] = "brief"
    stream: Annotated[
        bool, Meta(description="true or false; true: it comes as it is written, as server-sent events")
    ] = False


ANALYSIS_TYPES: Final = "one of sentiment, topics, entities, action_items, questions, pii_redact"
GENERATE_TYPES: Final = (
    "one of blog_post, social_media, newsletter, key_quotes, show_notes, meeting_notes, study_guide, flashcards, quiz, "
    "chapter_markers"
)


class AnalyzeBody(TextBody, frozen=True, kw_only=True):
    type: Annotated[AnalysisType, Meta(description=ANALYSIS_TYPES)]


class GenerateBody(TextBody, frozen=True, kw_only=True):
    type: Annotated[GenerateType, Meta(description=GENERATE_TYPES)]


class EmbedBody(msgspec.Struct, frozen=True):
    texts: Annotated[
        list[Annotated[str, Meta(pattern=TEXT)]],
        Meta(
            min_length=1,
            max_length=MAX_TEXTS,
            description=f"a list of 1 to {MAX_TEXTS} texts, none of them empty or with control characters",
        ),
    ]


class EmbeddingsBody(msgspec.Struct):
    """One vector of unit length for each text, in order."""

    embeddings: list[list[float]]
    dimensions: int
    model: str


def body_of(kind: type[msgspec.Struct], **constraints: Any) -> type[Operation]:
    """An operation whose body is read by hand."""

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = json_body(kind, **constraints)

    return WithBody


ONE_OF_BOTH: Final = {"oneOf": [{"required": ["text"]}, {"required": ["segments"]}]}
REFUSALS: Final = refusals(400, 401, 402, 403, 413, 429, 500, 503)


class TextController(Controller):
    path = "/v1"
    tags = ["text"]
    security = WITH_KEY

    @post(
        "/embed",
        status_code=200,
        operation_class=body_of(EmbedBody),
        summary="What texts mean, as vectors",
        description="Of each text the beginning counts, as far as the model reads: 256 tokens of all-MiniLM-L6-v2.",
        responses={200: ResponseSpec(EmbeddingsBody, generate_examples=False, description="The vectors"), **REFUSALS},
    )
    async def embed(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        intelligence: Intelligence,
    ) -> Response[bytes]:
        async with jobs.errand(caller, "embed", backlog=admission.texts):
            body = await read_json(EmbedBody, request, MAX_BODY_BYTES)
            vectors = await while_connected(intelligence.embed(body.texts), disconnected(request))
            answer = await asyncio.to_thread(_embeddings, vectors.embeddings, vectors.version.rpartition(" ")[0])
            return Response(answer, media_type="application/json")

    @post(
        "/summarize",
        status_code=200,
        operation_class=with_events(body_of(SummarizeBody, **ONE_OF_BOTH)),
        summary="Summarise a text or a transcript",
        description="By the language model that is deployed; without one, in sentences of the text itself. `model` "
        "says which.",
        responses={200: ResponseSpec(Summary, generate_examples=False, description="The summary"), **REFUSALS},
    )
    async def summarize(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        intelligence: Intelligence,
    ) -> Summary | EventStream:
        async with AsyncExitStack() as stack:
            errand = await stack.enter_async_context(jobs.errand(caller, "summarize", backlog=admission.texts))
            body = await read_json(SummarizeBody, request, MAX_BODY_BYTES)
            source = (await asyncio.to_thread(body.read))[2]
            author = await intelligence.author()
            if body.stream:
                return await event_stream(request, author.tell_summary(source, body.style), errand, stack)
            return await while_connected(author.summarize(source, body.style), disconnected(request))

    @post(
        "/analyze",
        status_code=200,
        operation_class=body_of(AnalyzeBody, **ONE_OF_BOTH),
        summary="What a text or a transcript is about, who is to do what, and personal data in it",
        responses={
            200: ResponseSpec(cast(Any, AnalysisResult), generate_examples=False, description="The analysis"),
            **REFUSALS,
        },
    )
    async def analyze(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        intelligence: Intelligence,
    ) -> AnalysisResult:
        async with jobs.errand(caller, "analyze", backlog=admission.texts):
            body = await read_json(AnalyzeBody, request, MAX_BODY_BYTES)
            text, language, source = await asyncio.to_thread(body.read)
            if body.type == "pii_redact":
                return await while_connected(redacted(intelligence, text, language), disconnected(request))
            author = await intelligence.author()
            return await while_connected(author.analyze(source, body.type), disconnected(request))

    @post(
        "/generate",
        status_code=200,
        operation_class=body_of(GenerateBody, **ONE_OF_BOTH),
        summary="Make a document of a text or a transcript",
        description="As data in `content`, and as Markdown in `text`.",
        responses={200: ResponseSpec(Generated, generate_examples=False, description="The document"), **REFUSALS},
    )
    async def generate(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        intelligence: Intelligence,
    ) -> Generated:
        async with jobs.errand(caller, "generate", backlog=admission.texts):
            body = await read_json(GenerateBody, request, MAX_BODY_BYTES)
            source = (await asyncio.to_thread(body.read))[2]
            author = await intelligence.author()
            return await while_connected(author.generate(source, body.type), disconnected(request))


async def redacted(intelligence: Intelligence, text: str, language: str) -> PiiResult:
    redactor, model = await intelligence.redactor()
    found = await redactor.find(text, language)
    return PiiResult(redact_text(text, found), spans(text, found), model)


def _embeddings(vectors: Floats, model: str) -> bytes:
    """Seven places are what a float32 of unit length has."""
    rounded = np.round(vectors.astype(np.float64), 7)
    return msgspec.json.encode(EmbeddingsBody(rounded.tolist(), rounded.shape[1], model))
