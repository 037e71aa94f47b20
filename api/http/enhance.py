"""POST /v1/enhance-audio"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, RequestBody
from litestar.response import Stream
from msgspec import Meta

from api.accounts.callers import Caller
from api.audio.enhance import LOUDNESS_LUFS, NOISE_REDUCTION_DB, Enhancer
from api.audio.loudness import SILENT
from api.audio.media import FORMATS
from api.audio.wav import MEDIA_TYPE
from api.http.connection import disconnected, while_connected
from api.http.downloads import content_disposition
from api.http.fields import parse
from api.http.openapi import WITH_KEY, describe_file, form_body, refusals
from api.http.transcribe import title_of
from api.http.upload import UploadLimits, receive_form
from api.inference.backlog import Admission
from api.transcripts.jobs import Errand, Jobs

QUIETEST_LUFS: Final = -31
LOUDEST_LUFS: Final = -14
LEAST_REDUCTION_DB: Final = 12
"""With less, a recording of noise alone could not be told from one with speech in it."""
MOST_REDUCTION_DB: Final = 100


class EnhanceForm(msgspec.Struct, frozen=True):
    """The text fields beside `file`."""

    noise_reduction: Annotated[
        float,
        Meta(
            description=f"a number of dB from {LEAST_REDUCTION_DB} to {MOST_REDUCTION_DB}",
            ge=LEAST_REDUCTION_DB,
            le=MOST_REDUCTION_DB,
        ),
    ] = NOISE_REDUCTION_DB
    loudness: Annotated[
        float,
        Meta(
            description=f"a number of LUFS from {QUIETEST_LUFS} to {LOUDEST_LUFS}",
            ge=QUIETEST_LUFS,
            le=LOUDEST_LUFS,
        ),
    ] = LOUDNESS_LUFS


@dataclass
class EnhanceOperation(Operation):
    """The form is read by hand, so its schema is given by hand, too; the answer is a file."""

    def __post_init__(self) -> None:
        headers = {
            "X-Duration": (OpenAPIType.NUMBER, "How long it is, in seconds"),
            "X-Loudness": (OpenAPIType.NUMBER, "How loud it is, in LUFS; not there for silence"),
            "X-Warning": (OpenAPIType.STRING, "What was wrong with the recording"),
        }
        describe_file(self, MEDIA_TYPE, headers)
        self.request_body = RequestBody(content=form_body(EnhanceForm, file=f"the recording: {FORMATS}"), required=True)


class EnhanceController(Controller):
    path = "/v1"
    tags = ["audio"]
    security = WITH_KEY

    @post(
        "/enhance-audio",
        status_code=200,
        request_max_body_size=None,  # bounded by receive_form
        operation_class=EnhanceOperation,
        summary="Take the noise out of a recording, and make it as loud as speech should be",
        description="As long as the recording, in mono or stereo, and nothing in it clips.",
        responses={
            200: ResponseSpec(
                bytes, media_type=MEDIA_TYPE, generate_examples=False, description="The recording, as a WAV of 16 bits"
            ),
            **refusals(400, 401, 402, 403, 413, 429, 500, 503, 507),
        },
    )
    async def enhance(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        enhancer: Enhancer,
        upload_limits: UploadLimits,
    ) -> Stream:
        async with AsyncExitStack() as held:
            errand = await held.enter_async_context(
                jobs.errand(caller, "enhance", "transcribe", backlog=admission.recordings)
            )
            card = await enhancer.card()
            async with receive_form(request, upload_limits.within(caller.plan.max_file_bytes)) as form:
                asked = parse(EnhanceForm, form.fields)
                enhancement = enhancer.enhance(
                    form.file.fileno(), card, noise_reduction_db=asked.noise_reduction, loudness=asked.loudness
                )
                enhanced = await while_connected(held.enter_async_context(enhancement), disconnected(request))
            headers = {
                "Content-Length": str(enhanced.wav_bytes),
                "Content-Disposition": content_disposition(f"{title_of(form.file_name)} (enhanced)", "wav"),
                "X-Duration": f"{enhanced.seconds:.3f}",
            }
            if enhanced.loudness != SILENT:
                headers["X-Loudness"] = f"{enhanced.loudness:.1f}"
            if enhanced.warnings:
                headers["X-Warning"] = " ".join(enhanced.warnings)
            told = _told(enhanced.wav(), errand, held.pop_all())
            return Stream(Patient(told, upload_limits.idle_timeout_s), headers=headers, media_type=MEDIA_TYPE)


closing: Final = set[asyncio.Future[None]]()
"""Kept from the garbage collection until they are done."""


class Patient:
    """Chunks for a reader who may stop to read without leaving: then their source is closed, and what it holds free."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], patience_s: float) -> None:
        self._chunks = chunks
        self._patience_s = patience_s
        self._waiting: asyncio.TimerHandle | None = None

    def __aiter__(self) -> Patient:
        return self

    async def __anext__(self) -> bytes:
        if self._waiting is not None:
            self._waiting.cancel()
        chunk = await anext(self._chunks)
        # It must not keep alive what would be closed at once where the reader leaves.
        chunks = weakref.ref(self._chunks)
        self._waiting = asyncio.get_running_loop().call_later(self._patience_s, _give_up, chunks)
        return chunk


def _give_up(chunks: weakref.ref[AsyncGenerator[bytes, None]]) -> None:
    if (source := chunks()) is not None:
        closing.add(task := asyncio.ensure_future(source.aclose()))
        task.add_done_callback(closing.discard)


async def _told(
    chunks: AsyncGenerator[bytes, None], errand: Errand, held: AsyncExitStack
) -> AsyncGenerator[bytes, None]:
    """What `held` holds is let go when all of it but the end was sent, or its reader left: who has the end may leave
    at once, and has paid by then."""
    end = b""
    async with held, aclosing(chunks):
        async for chunk in chunks:
            if end and chunk:
                errand.told = True
                yield end
            end = chunk or end
    yield end
