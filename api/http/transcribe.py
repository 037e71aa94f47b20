"""POST /v1/transcribe"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import msgspec
from litestar import Controller, Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, RequestBody, Schema
from msgspec import Meta

from api.accounts.callers import Caller
from api.audio.enhance import Enhancer
from api.audio.media import FORMATS as MEDIA_FORMATS
from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest
from api.formats import FORMATS
from api.formats.json import TranscriptBody, VerboseTranscriptBody
from api.http.connection import disconnected, while_connected
from api.http.fields import parse
from api.http.openapi import TRANSLATE_TO, WITH_OR_WITHOUT_KEY, form_body, refusals
from api.http.refinement import refiner_for
from api.http.upload import FORM_OVERHEAD_BYTES, UploadLimits, receive_form
from api.inference.backlog import Admission
from api.intelligence.refining import MOST_CONTEXT_CHARS, NOT_REFINED
from api.intelligence.service import Intelligence
from api.recognition.catalog import MAX_CANDIDATES, ModelCatalog
from api.recognition.keywords import hotwords, parse_keywords
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.recognition.speakers import SpeakerBounds
from api.recognition.wording import Wording
from api.speech import Transcript
from api.telemetry.stages import stage
from api.transcripts.jobs import Jobs
from api.transcripts.meaning import Meaning
from api.translation.service import Translation

MAX_SPEAKERS = 64
MAX_TITLE_CHARS = 300
UNTITLED = "Untitled"
MEDIA_ENDING = re.compile(r"\.[A-Za-z0-9]{2,4}$")
NOT_TRANSLATED = "The transcript could not be translated."
RETRY_AFTER_S = 10
# The vendor's own Python client reads every body as JSON, whatever format it asked for.
JSON_ONLY_CLIENT = "stt-ai-python/"


class TranscribeForm(msgspec.Struct, frozen=True):
    """The text fields beside `file`. A description says what a valid value is, to readers of the docs and of errors."""

    model: Annotated[str, Meta(description="the id of a model that /v1/models lists", max_length=100)] = (
        "large-v3-turbo"
    )
    language: Annotated[str, Meta(description="an ISO 639-1 code such as en, or auto", max_length=20)] = "auto"
    languages: Annotated[
        str,
        Meta(
            description=f"at most {MAX_CANDIDATES} codes, separated by commas: what language=auto chooses from",
            max_length=300,
        ),
    ] = ""
    keywords: Annotated[
        str,
        Meta(
            description="terms that may be said, separated by commas, each with :WEIGHT, up to 10, if it is important"
        ),
    ] = ""
    context: Annotated[
        str,
        Meta(
            description=f"at most {MOST_CONTEXT_CHARS} characters: what the recording is about and who speaks, for a "
            "language model that then corrects names, fillers and punctuation",
            max_length=MOST_CONTEXT_CHARS,
        ),
    ] = ""
    script_correction: Annotated[
        bool, Meta(description="true or false; true: each language in its own script, Devanagari or Latin")
    ] = False
    normalize: Annotated[
        bool, Meta(description="true or false; true: digits, entities and invisible characters in one form")
    ] = False
    min_snr_db: (
        Annotated[
            float,
            Meta(
                description="a number from -20 to 60: speech that is less dB above its noise is left out; or nothing",
                ge=-20,
                le=60,
            ),
        ]
        | None
    ) = None
    diarize: Annotated[bool, Meta(description="true or false")] = True
    speakers: Annotated[
        int, Meta(description=f"a whole number from 0 (automatic) to {MAX_SPEAKERS}", ge=0, le=MAX_SPEAKERS)
    ] = 0
    min_speakers: Annotated[
        int, Meta(description=f"a whole number from 0 (automatic) to {MAX_SPEAKERS}", ge=0, le=MAX_SPEAKERS)
    ] = 0
    max_speakers: Annotated[
        int, Meta(description=f"a whole number from 0 (automatic) to {MAX_SPEAKERS}", ge=0, le=MAX_SPEAKERS)
    ] = 0
    channels: Annotated[
        Literal["mix", "split"], Meta(description="mix, or split: each channel is a speaker, and heard by itself")
    ] = "mix"
    response_format: Annotated[
        Literal["json", "verbose_json", "txt", "text", "srt", "vtt"],
        Meta(description=f"one of {', '.join(FORMATS)}"),
    ] = "json"
    redact: Annotated[
        Literal["none", "pii"],
        Meta(description="none, or pii: what is answered and kept has no personal data"),
    ] = "none"
    translate_to: Annotated[str, Meta(description=f"{TRANSLATE_TO}, or nothing", max_length=35)] = ""
    enhance: Annotated[bool, Meta(description="true or false; true: noise is taken out before it is transcribed")] = (
        False
    )
    store: Annotated[bool, Meta(description="true, or false: the transcript is not kept")] = True

    def wording(self) -> Wording:
        """Raises InvalidRequest."""
        return Wording(parse_keywords(self.keywords), self.script_correction, self.normalize)

    def bounds(self) -> SpeakerBounds:
        """Raises InvalidRequest where what is asked about speakers contradicts itself."""
        if self.channels == "split" and (self.speakers or self.min_speakers or self.max_speakers):
            raise InvalidRequest("With channels=split each channel is one speaker; do not send a number of speakers.")
        fewest, most = self.speakers or self.min_speakers or 1, self.speakers or self.max_speakers or None
        if self.speakers and (self.min_speakers or self.max_speakers):
            raise InvalidRequest("Send speakers, the exact number, or min_speakers and max_speakers, not both.")
        if most is not None and fewest > most:
            raise InvalidRequest(f"min_speakers must be at most max_speakers; {fewest} is more than {most}.")
        return SpeakerBounds(fewest, most)


@dataclass
class TranscribeOperation(Operation):
    """The form is read by hand, so its schema is given by hand, too, and so is that of an answer of several kinds."""

    def __post_init__(self) -> None:
        assert self.responses is not None
        answer = cast(OpenAPIResponse, self.responses["200"])
        assert answer.content is not None
        either = cast(Schema, answer.content["application/json"].schema)
        either.any_of, either.one_of = either.one_of, None  # one has all that the other has
        for format_ in FORMATS.values():
            if not format_.is_json:
                answer.content[format_.media_type.partition(";")[0]] = OpenAPIMediaType(Schema(type=OpenAPIType.STRING))
        self.request_body = RequestBody(
            content=form_body(TranscribeForm, file=f"the recording: {MEDIA_FORMATS}"), required=True
        )


class TranscribeController(Controller):
    path = "/v1"
    tags = ["transcription"]
    security = WITH_OR_WITHOUT_KEY

    @post(
        "/transcribe",
        status_code=200,
        request_max_body_size=None,  # bounded by receive_form
        operation_class=TranscribeOperation,
        summary="Transcribe a recording",
        description="Words with their times and who spoke them, from audio or video of any length.",
        responses={
            200: ResponseSpec(
                cast(Any, TranscriptBody | VerboseTranscriptBody), generate_examples=False, description="The transcript"
            ),
            **refusals(400, 401, 402, 403, 413, 429, 500, 503, 507),
        },
    )
    async def transcribe(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        transcriber: Transcriber,
        catalog: ModelCatalog,
        intelligence: Intelligence,
        translation: Translation,
        enhancer: Enhancer,
        meaning: Meaning,
        upload_limits: UploadLimits,
    ) -> Response[bytes]:
        caller.check("transcribe")
        upload_limits = upload_limits.within(caller.plan.max_file_bytes)
        size = (request.content_length or 0) - FORM_OVERHEAD_BYTES  # of the file, at least
        async with (
            jobs.open(caller, size=size, largest=upload_limits.file_bytes, backlog=admission.recordings) as job,
            receive_form(request, upload_limits) as form,
            AsyncExitStack() as stack,
        ):
            fields = parse(TranscribeForm, form.fields)
            format_ = FORMATS[fields.response_format]
            model = await catalog.find(fields.model)
            language, languages = model.choice(fields.language, fields.languages)
            wording, bounds = fields.wording(), fields.bounds()
            # What is kept has everything, whatever the format of this answer shows.
            with_words = format_.needs_words or (fields.store and caller.holder is not None)
            options = TranscriptionOptions(
                model,
                language,
                languages,
                wording,
                fields.min_snr_db,
                word_timestamps=with_words,
                # Speakers show where words have their times: in a format without, nobody sees them.
                speakers=bounds if fields.diarize and with_words else None,
                diarization=await catalog.diarization(),
                split_channels=fields.channels == "split",
                denoising=await enhancer.card() if fields.enhance else None,
            )
            redactor = (await intelligence.redactor())[0] if fields.redact == "pii" else None
            refiner, why_not = await refiner_for(caller, intelligence) if fields.context else (None, "")
            errand = target = None
            if fields.translate_to:
                errand = await stack.enter_async_context(jobs.errand(caller, "translate", has_place=True))
                target = await translation.target(fields.translate_to)
            if fields.store:
                title = title_of(form.file_name)
                title = await redactor.text(title, language or "en") if redactor else title
                await job.accept(title, model.served_by, model.version)

            async def work() -> tuple[Transcript, Transcript]:
                """What is kept, and what is answered."""
                heard = await transcriber.transcribe(form.file.fileno(), options, job)
                # Personal data first: the language model may be somebody else's.
                heard = heard if redactor is None else await redactor.transcript(heard)
                if refiner is not None:
                    heard = await refiner.transcript(heard, fields.context, hotwords(wording.keywords))
                    # A name of the context may stand there now, or an address that is one only as it is written now.
                    heard = heard if redactor is None else await redactor.transcript(heard)
                if why_not:
                    heard = replace(heard, warnings=(*heard.warnings, f"{NOT_REFINED} {why_not}"))
                if errand is None or target is None:
                    return heard, heard
                try:
                    return heard, await translation.transcript(heard, target)
                except (InferenceFailed, InferenceUnavailable, InvalidRequest) as failure:
                    if not (format_.is_json or job.stored):
                        raise
                    errand.failure = failure
                    return heard, replace(heard, warnings=(*heard.warnings, f"{NOT_TRANSLATED} {failure}"))

            heard, transcript = await while_connected(work(), disconnected(request))
            transcript = replace(transcript, id=(await job.complete(heard)).id)
        meaning.compute_soon(job, intelligence)
        if errand is not None and errand.failure is not None and not format_.is_json:
            raise InferenceUnavailable(
                f"{NOT_TRANSLATED} It is kept as {transcript.id}: export that with translate_to later.", RETRY_AFTER_S
            )
        with stage("format"):
            body, media_type = format_.write(transcript), format_.media_type
        if not format_.is_json and request.headers.get("user-agent", "").startswith(JSON_ONLY_CLIENT):
            body, media_type = msgspec.json.encode({"text": body.decode()}), "application/json"
        return Response(body, media_type=media_type, headers=headers_of(transcript))


def headers_of(transcript: Transcript) -> dict[str, str]:
    """Who listened, and what it is kept as, whatever the format of the answer."""
    kept = {"X-Transcript-Id": transcript.id} if transcript.id else {}
    return {"X-Model": transcript.model, "X-Model-Version": transcript.model_version, **kept}


def title_of(file_name: str) -> str:
    """The name of the file, as a person would call it: without folders, its ending and what cannot be printed."""
    name = MEDIA_ENDING.sub("", file_name.replace("\\", "/").rpartition("/")[2])
    return "".join(filter(str.isprintable, name)).strip()[:MAX_TITLE_CHARS] or UNTITLED
