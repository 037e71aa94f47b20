"""multipart/form-data with one file in it, of any size, in little memory and within bounds.

Litestar's own parser keeps text fields of any size in memory and every file part there is. Here the file goes to disk
as it comes, into a temporary file without a name (nothing stays behind even if the process is killed), a field is a
few kilobytes, and what is wrong with a form is said when the client has finished sending it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import IO, Any

from litestar import Request
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from api.errors import ClientGone, InvalidRequest, TooLarge, TritoneError
from api.spool import no_store, spool_file, write_all
from api.telemetry.stages import stage

MAX_FIELDS = 64
MAX_FIELD_BYTES = 16 * 1024
FORM_OVERHEAD_BYTES = 2 * 1024 * 1024  # what fields, headers and boundaries may add to the file
WRITE_BYTES = 256 * 1024
WHAT = "the upload"


@dataclass(frozen=True)
class FilePart:
    """The file of a form: the field that it comes in, what it is, and what one may be called; `others` are fields that
    it may come in, too."""

    field: str
    what: str
    example: str
    others: tuple[str, ...] = ()

    def is_field(self, name: str) -> bool:
        return name == self.field or name in self.others

    @property
    def how_to(self) -> str:
        return (
            f"send {self.what} as multipart/form-data in the field `{self.field}`, "
            f"as curl -F {self.field}=@{self.example} does."
        )


RECORDING = FilePart("file", "the recording", "meeting.mp3")


@dataclass(frozen=True)
class Form:
    """The text fields, and the uploaded file, open for reading, with what its sender calls it."""

    fields: dict[str, str]
    file: IO[bytes]
    file_name: str


@dataclass(frozen=True)
class UploadLimits:
    file_bytes: int
    idle_timeout_s: float
    timeout_s: float
    spool_dir: str | None = None

    def within(self, file_bytes: int) -> UploadLimits:
        """These, for files of at most so many bytes."""
        return replace(self, file_bytes=min(self.file_bytes, file_bytes))

    @property
    def form_bytes(self) -> int:
        return self.file_bytes + FORM_OVERHEAD_BYTES


@asynccontextmanager
async def receive_form(
    request: Request[Any, Any, Any], limits: UploadLimits, part: FilePart = RECORDING
) -> AsyncIterator[Form]:
    """Raises InvalidRequest, TooLarge, NoRoom, Unavailable (it cannot be stored) or ClientGone."""
    if (request.content_length or 0) > limits.form_bytes and "expect" in request.headers:
        raise _too_large(limits)  # the client waits for our word before it sends anything
    with spool_file(limits.spool_dir, WHAT) as file:
        reader = _FormReader(file, limits, part)
        failure: TritoneError | None = None
        received = 0
        parser: PushMultipartParser | None = None
        async for chunk in _chunks(request, limits):
            received += len(chunk)
            if received > limits.form_bytes:
                raise failure or _too_large(limits)
            # Most clients read no answer before they have sent all: hear them out, but store nothing more.
            if failure is None:
                try:
                    parser = parser or PushMultipartParser(_boundary(request, part), max_segment_count=MAX_FIELDS + 1)
                    for event in parser.parse(chunk):
                        reader.take(event)
                    await reader.write_out()
                except (TritoneError, MultipartError, OSError) as error:
                    failure = _failure(error, part)
                    file.close()  # the others need the room that it takes, and a slow client may send on for an hour
        if failure is not None:
            raise failure
        try:
            if parser is None:
                _boundary(request, part)
                raise InvalidRequest(f"The request has no body: {part.how_to}")
            parser.close()
            await reader.write_out(everything=True)
        except (MultipartError, OSError) as error:
            raise _failure(error, part) from error
        yield reader.form()


def _boundary(request: Request[Any, Any, Any], part: FilePart) -> str:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != "multipart/form-data":
        raise InvalidRequest(f"The request is no form with a file: {part.how_to}")
    if not options.get("boundary"):
        raise InvalidRequest(
            "The Content-Type names no boundary. Let your HTTP client set it: do not write the header by hand."
        )
    return str(options["boundary"])


async def _chunks(request: Request[Any, Any, Any], limits: UploadLimits) -> AsyncIterator[bytes]:
    deadline = time.monotonic() + limits.timeout_s
    while True:
        try:
            with stage("upload"):
                async with asyncio.timeout(min(limits.idle_timeout_s, deadline - time.monotonic())):
                    event = await request.receive()
        except TimeoutError:
            raise InvalidRequest(
                f"The upload stopped for more than {limits.idle_timeout_s:g} s, or took more than "
                f"{limits.timeout_s:g} s; send it again."
            ) from None
        if event["type"] != "http.request":
            raise ClientGone("The client left before its upload was complete.")
        if body := event["body"]:
            yield body
        if not event.get("more_body", False):
            return


def _failure(error: Exception, part: FilePart) -> TritoneError:
    match error:
        case TritoneError():
            return error
        case ParserLimitReached():
            return InvalidRequest(f"The form has more than {MAX_FIELDS} fields, or a part with oversized headers.")
        case OSError():
            return no_store(error, WHAT)
        case _:
            return InvalidRequest(f"The form is malformed or incomplete ({error}); {part.how_to}")


def _too_large(limits: UploadLimits) -> TooLarge:
    return TooLarge(f"The file is larger than {limits.file_bytes / 1024**2:g} MB.")


@dataclass
class _FormReader:
    """Takes the parser's events one by one and keeps the sum of them within bounds."""

    file: IO[bytes]
    limits: UploadLimits
    part: FilePart
    fields: dict[str, str] = field(default_factory=dict)
    size: int = 0
    _segment: MultipartSegment | None = None
    _file_name: str = ""
    _is_file: bool = False
    _has_file: bool = False
    _value: bytearray = field(default_factory=bytearray)
    _unwritten: bytearray = field(default_factory=bytearray)

    def take(self, event: MultipartSegment | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._is_file:
            self.size += len(event)
            if self.size > self.limits.file_bytes:
                raise _too_large(self.limits)
            self._unwritten += event
        else:
            self._value += event
            if len(self._value) > MAX_FIELD_BYTES:
                raise InvalidRequest(f"A text field is longer than {MAX_FIELD_BYTES // 1024} kB.")

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment, self._value = segment, bytearray()
        self._is_file = segment.filename is not None
        if not self._is_file:
            return
        if not self.part.is_field(segment.name):
            raise InvalidRequest(f"A file came in the field `{segment.name[:50]}`; {self.part.how_to}")
        if self._has_file:
            raise InvalidRequest("There are two files in the form; send each in a request of its own.")
        self._has_file = True
        self._file_name = segment.filename or ""

    def _end(self) -> None:
        if self._segment is not None and not self._is_file:
            name = self._segment.name
            if self.part.is_field(name):
                raise InvalidRequest(f"The field `{name}` holds text, not a file; {self.part.how_to}")
            if name in self.fields:
                raise InvalidRequest(f"The field `{name[:50]}` is there twice; send it once.")
            try:
                self.fields[name] = self._value.decode()
            except UnicodeDecodeError:
                raise InvalidRequest(f"The field `{name[:50]}` is not UTF-8 text.") from None
        self._segment, self._is_file = None, False

    async def write_out(self, *, everything: bool = False) -> None:
        """In a thread: a slow disk must not hold up everybody else's streams."""
        if len(self._unwritten) >= WRITE_BYTES or (everything and self._unwritten):
            unwritten, self._unwritten = self._unwritten, bytearray()
            await asyncio.to_thread(write_all, self.file, unwritten)

    def form(self) -> Form:
        if not self._has_file:
            raise InvalidRequest(f"There is no file in the form: {self.part.how_to}")
        if self.size == 0:
            raise InvalidRequest("The file is empty; send a recording.")
        return Form(self.fields, self.file, self._file_name)
