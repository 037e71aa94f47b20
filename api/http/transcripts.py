"""GET /api/v1/transcripts/, GET, PATCH, DELETE /api/v1/transcripts/:id/, GET /api/v1/transcripts/:id/export/:format/"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Schema
from litestar.params import Parameter as PathParameter
from msgspec import UNSET, Meta, UnsetType

from api.accounts.callers import Caller
from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest, NotFound
from api.formats import EXPORTS
from api.formats.document import Document
from api.formats.json import SegmentBody, segment_body
from api.formats.render import Renderer
from api.http.connection import disconnected, while_connected
from api.http.downloads import content_disposition
from api.http.fields import PRINTABLE, parse, read_json
from api.http.openapi import TRANSLATE_TO, WITH_KEY, json_body, refusals
from api.inference.backlog import Admission
from api.intelligence.service import Intelligence
from api.languages import LANGUAGES
from api.speech import Segment
from api.storage.database import Database
from api.transcripts import library
from api.transcripts.jobs import Jobs
from api.transcripts.library import Entry, Query, Revision, Status, Stored
from api.transcripts.meaning import Meaning
from api.transcripts.paging import CURSOR, Cursor, read_cursor
from api.translation.service import Translation

MAX_TEXT_CHARS: Final = 100_000  # aligned in less than two seconds, in which the transcript is locked
MAX_PATCH_BYTES: Final = 1024 * 1024
MOMENT: Final = "a date or a time in ISO 8601 (2026-11-30, 2026-11-30T12:00:00Z)"
_MOMENT_SCHEMA = {"anyOf": [{"format": "date"}, {"format": "date-time"}]}


class EntryBody(msgspec.Struct):
    """`duration` is in seconds; `model_version` is that of the model that listened, and empty where it was not kept;
    `error` says why it failed."""

    id: UUID
    title: str
    status: Status
    language: str | None
    model: str
    model_version: str
    duration: float | None
    created_at: datetime
    completed_at: datetime | None
    error: str | None


class MatchBody(msgspec.Struct):
    """The segment that is nearest in meaning to `q`; `score` is the cosine between them."""

    segment_order: int
    score: float


class ListedBody(EntryBody):
    """`speakers` counts them. `match` is there where `q` was asked for, and is near in meaning."""

    speakers: int
    match: MatchBody | None


class PageBody(msgspec.Struct):
    """`count` is that of all pages; `next` and `previous` are the URLs of those beside this one."""

    count: int
    next: str | None
    previous: str | None
    results: list[ListedBody]


class PlacedSegmentBody(SegmentBody, kw_only=True):
    """`segment_order` is its place in the transcript, from 0."""

    segment_order: int


class DetailBody(EntryBody):
    """Until it is completed there is no text; one that failed has what was understood before."""

    text: str
    language_probability: float | None
    speakers: list[str]
    segments: list[PlacedSegmentBody]
    warnings: list[str]


class ListQuery(msgspec.Struct, frozen=True):
    """A description says what a valid value is, to readers of the docs and of errors."""

    limit: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 20
    page_size: Annotated[int, Meta(ge=1, le=100, description="limit by another name: a whole number from 1 to 100")] = 0
    cursor: Annotated[str, Meta(pattern=CURSOR, description="one that `next` or `previous` of a page has")] = ""
    status: Annotated[Status | UnsetType, Meta(description="one of queued, processing, completed, failed")] = UNSET
    language: Annotated[
        str,
        Meta(description="the code of a language that /v1/languages lists", extra_json_schema={"enum": [*LANGUAGES]}),
    ] = ""
    created_after: Annotated[
        str, Meta(description=f"{MOMENT}; what was created then is meant, too", extra_json_schema=_MOMENT_SCHEMA)
    ] = ""
    created_before: Annotated[
        str, Meta(description=f"{MOMENT}; what was created then is not meant", extra_json_schema=_MOMENT_SCHEMA)
    ] = ""
    q: Annotated[
        str,
        # Space around it is left out before it is looked at.
        Meta(
            max_length=200, pattern=r"^\s*[^\x00-\x1f\x7f]*\s*$", description="1 to 200 characters of a text or title"
        ),
    ] = ""

    def read(self) -> Query:
        """Raises InvalidRequest."""
        if self.language and self.language not in LANGUAGES:
            raise InvalidRequest(
                f"language must be the code of one that /v1/languages lists, not {self.language!r:.30}."
            )
        return Query(
            status=self.status or None,
            language=self.language or None,
            created_after=_moment("created_after", self.created_after),
            created_before=_moment("created_before", self.created_before),
            q=self.q,
            cursor=read_cursor(self.cursor) if self.cursor else None,
            limit=self.page_size or self.limit,
        )


class SegmentPatch(msgspec.Struct, forbid_unknown_fields=True):
    segment_order: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    text: Annotated[str, Meta(min_length=1, max_length=10_000, pattern=PRINTABLE)]


class TranscriptPatch(msgspec.Struct, forbid_unknown_fields=True):
    """`speakers` has new names by the old ones; two that get the same name become one speaker. `segments` has texts."""

    title: Annotated[str, Meta(min_length=1, max_length=300, pattern=PRINTABLE)] | UnsetType = UNSET
    speakers: (
        Annotated[
            dict[str, Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)]],
            Meta(min_length=1, max_length=100),
        ]
        | UnsetType
    ) = UNSET
    segments: Annotated[list[SegmentPatch], Meta(min_length=1, max_length=1000)] | UnsetType = UNSET

    def read(self) -> Revision:
        """Raises InvalidRequest."""
        if self.title is UNSET and self.speakers is UNSET and self.segments is UNSET:
            raise InvalidRequest("Send at least one of title, speakers and segments.")
        segments = self.segments or []
        texts = {segment.segment_order: segment.text for segment in segments}
        if len(texts) < len(segments):
            raise InvalidRequest("Each segment_order must be there only once.")
        if sum(map(len, texts.values())) > MAX_TEXT_CHARS:
            raise InvalidRequest(f"Send at most {MAX_TEXT_CHARS} characters of text at a time.")
        names = {old: " ".join(new.split()) for old, new in (self.speakers or {}).items()}
        return Revision(self.title or None, names, texts)


@dataclass
class ListOperation(Operation):
    """The query is read by hand, so that errors can say what is right; its schema is given by hand, too."""

    def __post_init__(self) -> None:
        _, components = msgspec.json.schema_components([ListQuery])
        properties = components[ListQuery.__name__]["properties"]
        self.parameters = [
            Parameter(
                name,
                "query",
                description=schema.pop("description"),
                schema=cast(Schema, _without_blank(schema)),
                allow_empty_value=True,
            )
            for name, schema in properties.items()
        ]


@dataclass
class PatchOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = json_body(TranscriptPatch, minProperties=1)


@dataclass
class ExportOperation(Operation):
    """One answer of several media types."""

    def __post_init__(self) -> None:
        assert self.responses is not None
        answer = cast(OpenAPIResponse, self.responses["200"])
        media_types = {export.media_type.partition(";")[0] for export in EXPORTS.values()}
        answer.content = {media_type: OpenAPIMediaType(Schema()) for media_type in sorted(media_types)}


class TranscriptsController(Controller):
    path = "/api/v1/transcripts"
    tags = ["transcripts"]
    security = WITH_KEY

    @get(
        "/",
        operation_class=ListOperation,
        summary="The account's transcripts, the newest first",
        description="`next` leads through all of them, each once, whatever comes and goes meanwhile. `q` finds what "
        "has it in its text or title, without regard to case, and the 50 that come nearest to it in meaning. Times "
        "without a zone are UTC; a date is its first moment.",
        responses=refusals(400, 401, 403, 429, 503),
    )
    async def transcripts(
        self,
        caller: Caller,
        database: Database,
        meaning: Meaning,
        intelligence: Intelligence,
        request: Request[Any, Any, Any],
    ) -> PageBody:
        account, given = caller.account("account"), dict(request.query_params)
        if "page" in given or "offset" in given:
            raise InvalidRequest("Pages have no numbers: follow `next`, the URL that a page has for the one after it.")
        asked = parse(ListQuery, given).read()
        matches = {}
        if asked.q.strip():
            with suppress(InferenceUnavailable, InferenceFailed):  # then words are all there is to go by
                found = await while_connected(meaning.search(account, asked.q, intelligence), disconnected(request))
                matches = {one.transcript_id: MatchBody(one.segment_order, one.score) for one in found}
        asked = replace(asked, also=matches.keys())
        async with database.reading() as connection:
            page = await library.page(connection, account, asked)

        def url(cursor: Cursor | None) -> str | None:
            if cursor is None:
                return None
            sent = {name: given.get(name) for name in ListQuery.__struct_fields__} | {"cursor": str(cursor)}
            query = urlencode({name: value for name, value in sent.items() if value})
            return str(request.url.with_replacements(path=f"{self.path}/", query=query))

        return PageBody(
            page.count,
            url(page.next),
            url(page.previous),
            [_listed(entry, matches.get(entry.id)) for entry in page.results],
        )

    @get(
        "/{transcript_id:uuid}",
        summary="A transcript with its segments",
        responses=refusals(400, 401, 403, 404, 429, 503),
    )
    async def transcript(self, caller: Caller, database: Database, transcript_id: UUID) -> DetailBody:
        account = caller.account("account")
        async with database.reading() as connection:
            return _detail(await library.get(connection, account, transcript_id))

    @patch(
        "/{transcript_id:uuid}",
        operation_class=PatchOperation,
        summary="Correct a transcript",
        description="A new title at any time; new names of speakers and new texts of segments where there is a text. "
        "Words that stay keep their times, new ones share the time of what they replace. All is done, or nothing.",
        responses=refusals(400, 401, 403, 404, 409, 413, 429, 503),
    )
    async def revise(
        self, caller: Caller, database: Database, transcript_id: UUID, request: Request[Any, Any, Any]
    ) -> DetailBody:
        account = caller.account("account")
        revision = (await read_json(TranscriptPatch, request, MAX_PATCH_BYTES)).read()
        return _detail(await library.revise(database, account, transcript_id, revision))

    @delete(
        "/{transcript_id:uuid}",
        summary="Delete a transcript",
        description="For good. One that is still being worked on is deleted, too: what comes of the work is not kept.",
        responses=refusals(400, 401, 403, 404, 429, 503),
    )
    async def delete(self, caller: Caller, database: Database, transcript_id: UUID) -> None:
        account = caller.account("account")
        async with database.writing() as connection:
            if not await library.delete(connection, account, transcript_id):
                raise NotFound(f"There is no transcript {transcript_id}.")
        await database.wipe()

    @get(
        "/{transcript_id:uuid}/export/{file_format:str}",
        operation_class=ExportOperation,
        summary="A transcript as a file",
        responses={
            200: ResponseSpec(bytes, generate_examples=False, description="The file"),
            **refusals(400, 401, 402, 403, 404, 409, 429, 500, 503),
        },
    )
    async def export(
        self,
        caller: Caller,
        database: Database,
        renderer: Renderer,
        jobs: Jobs,
        admission: Admission,
        intelligence: Intelligence,
        translation: Translation,
        request: Request[Any, Any, Any],
        transcript_id: UUID,
        file_format: Annotated[str, PathParameter(schema_extra={"enum": [*EXPORTS]})],
        redact: Annotated[
            str,
            PathParameter(
                query="redact", description="pii: without personal data", schema_extra={"enum": ["none", "pii"]}
            ),
        ] = "none",
        translate_to: Annotated[
            str,
            PathParameter(query="translate_to", description=f"{TRANSLATE_TO}; json and csv have both languages"),
        ] = "",
    ) -> Response[bytes]:
        account = caller.account("account")
        if redact not in ("none", "pii"):
            raise InvalidRequest(f"redact must be none or pii, not {redact!r:.30}.")
        if file_format not in EXPORTS:
            raise NotFound(f"There is no export as {file_format!r:.30}; there are {', '.join(EXPORTS)}.")
        async with database.reading() as connection:
            stored = await library.get(connection, account, transcript_id)
        entry, export = stored.entry, EXPORTS[file_format]

        async def write() -> tuple[bytes, str]:
            async with AsyncExitStack() as stack:
                target = None
                if translate_to:
                    await stack.enter_async_context(jobs.errand(caller, "translate", backlog=admission.texts))
                    target = await translation.target(translate_to)
                transcript, title = library.with_text(stored), entry.title
                if redact == "pii":
                    redactor, _ = await intelligence.redactor()
                    title = await redactor.text(title, transcript.language or "en")
                    transcript = await redactor.transcript(transcript)
                if target is not None:
                    transcript = await translation.transcript(transcript, target)
                return await renderer.write(file_format, Document(transcript, title, entry.created_at)), title

        content, title = await while_connected(write(), disconnected(request))
        headers = {"Content-Disposition": content_disposition(title, export.extension)}
        return Response(content, media_type=export.media_type, headers=headers)


def _moment(name: str, value: str) -> datetime | None:
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} must be {MOMENT}, not {value!r:.50}.") from None


def _without_blank(schema: dict[str, Any]) -> dict[str, Any]:
    """`parse` takes nothing for what is not given; that is no valid value."""
    return {name: value for name, value in schema.items() if name != "default" or value}


def _common(entry: Entry) -> dict[str, Any]:
    fields = {name: getattr(entry, name) for name in EntryBody.__struct_fields__}
    return {**fields, "error": entry.error or None}


def _listed(entry: Entry, match: MatchBody | None) -> ListedBody:
    return ListedBody(**_common(entry), speakers=entry.speakers, match=match)


def _detail(stored: Stored) -> DetailBody:
    heard = stored.transcript
    in_several = heard is not None and len(heard.languages) > 1
    return DetailBody(
        **_common(stored.entry),
        text=heard.text if heard else "",
        language_probability=heard.language_probability if heard else None,
        speakers=list(heard.speakers) if heard else [],
        segments=[_placed(*placed, in_several) for placed in enumerate(heard.segments)] if heard else [],
        warnings=list(heard.warnings) if heard else [],
    )


def _placed(place: int, segment: Segment, with_language: bool) -> PlacedSegmentBody:
    body = segment_body(segment, with_language=with_language)
    return PlacedSegmentBody(segment_order=place, **msgspec.structs.asdict(body))
