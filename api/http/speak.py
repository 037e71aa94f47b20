"""POST /v1/tts"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, RequestBody
from msgspec import Meta

from api.accounts.callers import Caller
from api.audio.speech import SEEDS, Speech, SpeechSynthesizer
from api.audio.speech_reference import LONGEST_S, SHORTEST_S, Reference
from api.audio.wav import MEDIA_TYPE
from api.errors import InvalidRequest
from api.http.connection import disconnected, while_connected
from api.http.fields import parse
from api.http.openapi import WITH_KEY, describe_file, form_body, refusals
from api.http.upload import FilePart, UploadLimits, receive_form
from api.inference.backlog import Admission
from api.inference.contracts import ModelCard
from api.intelligence.language import language_of
from api.languages import base_of
from api.recognition.catalog import ModelCatalog, SpeechModel
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.transcripts.jobs import Jobs

MAX_TEXT_CHARS: Final = 5000
MAX_REFERENCE_TEXT_CHARS: Final = 500
MAX_REFERENCE_BYTES: Final = 20 * 1024 * 1024
REFERENCE: Final = FilePart("reference", "a recording of the voice", "voice.wav")
READABLE: Final = r"^[^\x00-\x08\x0e-\x1f\x7f]*$(?!\n)"


class SpeakForm(msgspec.Struct, frozen=True, kw_only=True):
    """The text fields beside `reference`."""

    text: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_TEXT_CHARS,
            pattern=READABLE,
            description=f"1 to {MAX_TEXT_CHARS} characters to speak, without control characters",
        ),
    ]
    reference_text: Annotated[
        str,
        Meta(
            max_length=MAX_REFERENCE_TEXT_CHARS,
            pattern=READABLE,
            description=f"what is said in the reference, in at most {MAX_REFERENCE_TEXT_CHARS} characters",
        ),
    ] = ""
    language: Annotated[
        str, Meta(description="of the text: a code that the model speaks, such as en, or auto", max_length=20)
    ] = "auto"
    speed: Annotated[float, Meta(ge=0.5, le=2, description="a number from 0.5 to 2")] = 1.0
    seed: Annotated[
        int,
        Meta(ge=0, le=SEEDS - 1, description=f"a whole number from 0 to {SEEDS - 1}"),
    ] = 0
    consent: Annotated[
        bool, Meta(description="true or false; true: who is heard in the reference has agreed to be imitated")
    ] = False
    model: Annotated[
        str,
        Meta(description="the id of a model that /v1/models lists, to listen to the reference", max_length=100),
    ] = "large-v3-turbo"

    def language_of(self, card: ModelCard) -> str:
        """That of the text. Raises InvalidRequest where it is said, and the model does not speak it."""
        language = base_of(self.language)
        if language == "auto":
            return language_of(self.text)
        if card.languages and language not in card.languages:
            raise InvalidRequest(f"language must be auto or one of {', '.join(card.languages)}, not {language!r}.")
        return language


@dataclass
class SpeakOperation(Operation):
    """The form is read by hand, so its schema is given by hand, too; the answer is a file."""

    def __post_init__(self) -> None:
        headers = {
            "X-Duration": (OpenAPIType.NUMBER, "How long the speech is, in seconds"),
            "X-Generation-Time": (OpenAPIType.NUMBER, "How long making it took, in seconds"),
        }
        describe_file(self, MEDIA_TYPE, headers)
        voice = f"{SHORTEST_S:g} to {LONGEST_S:g} s of the voice to clone, at most {MAX_REFERENCE_BYTES // 1024**2} MB"
        self.request_body = RequestBody(content=form_body(SpeakForm, file=voice, name=REFERENCE.field), required=True)


class SpeakController(Controller):
    path = "/v1"
    tags = ["audio"]
    security = WITH_KEY

    @post(
        "/tts",
        status_code=200,
        request_max_body_size=None,  # bounded by receive_form
        operation_class=SpeakOperation,
        summary="Speak a text in the voice of a recording",
        description="The file says of itself that it is synthetic. Clone only voices whose owners have agreed.",
        responses={
            200: ResponseSpec(
                bytes, media_type=MEDIA_TYPE, generate_examples=False, description="The speech, as a WAV"
            ),
            **refusals(400, 401, 402, 403, 413, 429, 500, 503, 507),
        },
    )
    async def speak(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        synthesizer: SpeechSynthesizer,
        transcriber: Transcriber,
        catalog: ModelCatalog,
        upload_limits: UploadLimits,
        needs_consent: bool,
    ) -> Response[bytes]:
        limits = upload_limits.within(min(caller.plan.max_file_bytes, MAX_REFERENCE_BYTES))
        async with jobs.errand(caller, "speak", backlog=admission.recordings):
            card = await synthesizer.card()
            async with receive_form(request, limits, REFERENCE) as form:
                fields = parse(SpeakForm, form.fields)
                if needs_consent and not fields.consent:
                    raise InvalidRequest(
                        "Send consent=true, if who is heard in the reference has agreed to be imitated; "
                        "nobody else's voice is cloned here."
                    )
                language = await asyncio.to_thread(fields.language_of, card)
                listener = None if fields.reference_text else await catalog.find(fields.model)
                source = form.file.fileno()

                async def work() -> Speech:
                    pcm = await synthesizer.voice(source, card)
                    said = fields.reference_text if listener is None else await heard(transcriber, source, listener)
                    reference = Reference(pcm, card.sample_rate, said)
                    return await synthesizer.speak(
                        fields.text, language, reference, speed=fields.speed, seed=fields.seed
                    )

                began = monotonic()
                speech = await while_connected(work(), disconnected(request))
            headers = {
                "X-Duration": f"{speech.seconds:.3f}",
                "X-Generation-Time": f"{monotonic() - began:.3f}",
                "Content-Disposition": 'attachment; filename="speech.wav"',
            }
            return Response(speech.wav, media_type=MEDIA_TYPE, headers=headers)


async def heard(transcriber: Transcriber, source: int, model: SpeechModel) -> str:
    """What is said in the reference. Raises InvalidRequest where that is nothing."""
    said = (await transcriber.transcribe(source, TranscriptionOptions(model, word_timestamps=False))).text.strip()
    if not said:
        raise InvalidRequest(
            "Nothing was heard in the reference. Send what is said in it as reference_text, or a clearer reference."
        )
    return said
