"""GET /v1/models, GET /v1/languages"""

from __future__ import annotations

import msgspec
from litestar import Controller, get

from api.http.openapi import WITH_OR_WITHOUT_KEY, refusals
from api.languages import LANGUAGES
from api.recognition.catalog import ModelCatalog


class ModelBody(msgspec.Struct):
    """`languages` counts them; `served_by` is the deployed model that answers under this id, in its `version`."""

    id: str
    name: str
    languages: int
    speed: str
    served_by: str
    version: str


class ModelsBody(msgspec.Struct):
    models: list[ModelBody]


class LanguageBody(msgspec.Struct):
    code: str
    name: str


class LanguagesBody(msgspec.Struct):
    languages: list[LanguageBody]


class ModelsController(Controller):
    path = "/v1"
    tags = ["models"]
    security = WITH_OR_WITHOUT_KEY

    @get(
        "/models",
        summary="The models that can transcribe now",
        responses=refusals(400, 401, 429, 503),
    )
    async def models(self, catalog: ModelCatalog) -> ModelsBody:
        return ModelsBody(
            [
                ModelBody(
                    model.id,
                    model.card.name,
                    len(model.card.languages),
                    model.card.speed,
                    model.served_by,
                    model.version,
                )
                for model in await catalog.speech_models()
            ]
        )

    @get(
        "/languages",
        sync_to_thread=False,
        summary="The languages Whisper knows",
        responses=refusals(400, 401, 429, 503),
    )
    def languages(self) -> LanguagesBody:
        return LanguagesBody([LanguageBody(code, name) for code, name in LANGUAGES.items()])
