"""POST /stt, GET /stt/languages, GET /stt/models"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from litestar import Controller, Request, get, post
from litestar.openapi.spec import Operation, RequestBody

from api.accounts.callers import Caller
from api.audio.media import FORMATS as MEDIA_FORMATS
from api.compat.sixtydb.answers import Shown, language_name, transcript_body
from api.compat.sixtydb.bodies import (
    LanguageBody,
    LanguagesBody,
    LanguagesData,
    ModelBody,
    ModelsBody,
    TranscriptBody,
    WarningBody,
)
from api.compat.sixtydb.errors import refusals
from api.compat.sixtydb.form import AUDIO, SttForm, read
from api.errors import UnknownModel
from api.http.connection import disconnected, while_connected
from api.http.openapi import WITH_KEY, WITH_OR_WITHOUT_KEY, form_body
from api.http.refinement import refiner_for
from api.http.upload import FORM_OVERHEAD_BYTES, UploadLimits, receive_form
from api.inference.backlog import Admission
from api.intelligence.refining import NOT_REFINED
from api.intelligence.service import Intelligence
from api.recognition.catalog import ModelCatalog, SpeechModel
from api.recognition.keywords import hotwords
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.speech import Transcript
from api.transcripts.jobs import Jobs

DIARIZED_PERCENT: Final = 130
"""Of its price, a transcription with speakers costs so much."""
NOT_REFINED_CODE: Final = "llm_refinement_not_in_plan"
"""60db has no other code for a context that was sent in vain."""
DEFAULT_MODEL: Final = SttForm().model


@dataclass
class SttOperation(Operation):
    """The form is read by hand, so its schema is given by hand, too."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content=form_body(SttForm, file=f"the recording: {MEDIA_FORMATS}; old clients call it audio"), required=True
        )


class SttController(Controller):
    path = "/stt"
    tags = ["60db"]

    @post(
        status_code=200,
        request_max_body_size=None,  # bounded by receive_form
        operation_class=SttOperation,
        security=WITH_KEY,
        summary="Transcribe a recording",
        description="As 60db does. Nothing of it is kept.",
        responses=refusals(400, 401, 402, 403, 413, 429, 499, 500, 503),
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
        upload_limits: UploadLimits,
        snr_floor_db: float,
    ) -> TranscriptBody:
        caller.check("transcribe")
        upload_limits = upload_limits.within(caller.plan.max_file_bytes)
        size = (request.content_length or 0) - FORM_OVERHEAD_BYTES  # of the file, at least
        async with (
            jobs.open(caller, size=size, largest=upload_limits.file_bytes, backlog=admission.recordings) as job,
            receive_form(request, upload_limits, AUDIO) as form,
        ):
            fields, began = read(form.fields), monotonic()
            model, warnings = await model_for(catalog, fields.model)
            language, languages = fields.candidates(model)
            wording, speakers = fields.wording, fields.speakers
            if speakers is not None:
                job.percent = DIARIZED_PERCENT
            refiner, why_not = await refiner_for(caller, intelligence) if fields.context else (None, "")
            if why_not:
                warnings.append(WarningBody(NOT_REFINED_CODE, f"{NOT_REFINED} {why_not}", []))
            options = TranscriptionOptions(
                model,
                language,
                languages,
                wording,
                snr_floor_db,
                speakers=speakers,
                diarization=await catalog.diarization(),
            )

            async def work() -> Transcript:
                heard = await transcriber.transcribe(form.file.fileno(), options, job)
                if refiner is None:
                    return heard
                return await refiner.transcript(heard, fields.context, hotwords(wording.keywords))

            transcript = await while_connected(work(), disconnected(request))
            await job.complete(transcript)
        return transcript_body(
            f"req_{job.id.hex}",
            transcript,
            Shown(fields.return_timestamps == "word", fields.include_confidence, fields.diarize),
            processing_s=monotonic() - began,
            known=model.card.languages,
            warnings=warnings,
        )

    @get(
        "/languages",
        security=WITH_OR_WITHOUT_KEY,
        summary="The languages that the deployed models know",
        responses=refusals(400, 401, 429, 503),
    )
    async def languages(self, catalog: ModelCatalog) -> LanguagesBody:
        models = await catalog.speech_models()
        known = {code for model in models for code in model.card.languages}
        bodies = [LanguageBody(code, language_name(code)) for code in sorted(known)]
        data = LanguagesData([LanguageBody("auto", "Auto-detect"), *bodies], len(bodies), await features(catalog))
        return LanguagesBody(True, "The languages that can be transcribed now.", data)

    @get(
        "/models",
        security=WITH_OR_WITHOUT_KEY,
        summary="The models that can transcribe now, as 60db lists them",
        responses=refusals(400, 401, 429, 503),
    )
    async def models(self, catalog: ModelCatalog) -> ModelsBody:
        flags = await features(catalog)
        bodies = [model_body(model, flags) for model in await catalog.speech_models()]
        return ModelsBody(True, "The models that can transcribe now.", bodies)


async def model_for(catalog: ModelCatalog, id_: str) -> tuple[SpeechModel, list[WarningBody]]:
    """The model with this id, else the default, else the first. 60db has no such field, so one that there is not is no
    error. Raises InferenceUnavailable."""
    try:
        return await catalog.find(id_), []
    except UnknownModel:
        ids = [model.id for model in await catalog.speech_models()]
        model = await catalog.find(ids[0] if ids and DEFAULT_MODEL not in ids else DEFAULT_MODEL)
        message = f"There is no model {id_!r} here; {model.id} listened to it."
        return model, [WarningBody("model_not_available", message, [])] if id_ != DEFAULT_MODEL else []


def model_body(model: SpeechModel, features: list[str]) -> ModelBody:
    name, count = model.card.name, len(model.card.languages)
    description = f"{name}, as {model.served_by}: {count} languages"
    return ModelBody(model.id, name, description, "speech-to-text", "stt", count, features)


async def features(catalog: ModelCatalog) -> list[str]:
    """60db's names for what this service can do."""
    diarization = ["speaker_diarization"] if await catalog.diarization() else []
    others = ["word_timestamps", "continuous_mode", "telephony_mulaw", "websocket_streaming"]
    return ["auto_language_detection", *diarization, *others]
