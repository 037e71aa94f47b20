"""POST /v1/translate, GET /v1/translate/languages"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Controller, Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, Meta, UnsetType

from api.accounts.callers import Caller
from api.errors import InvalidRequest, TooLarge
from api.http.connection import disconnected, while_connected
from api.http.fields import PRINTABLE, read_json
from api.http.models import LanguageBody
from api.http.openapi import WITH_KEY, WITH_OR_WITHOUT_KEY, refusals
from api.http.text import MAX_BODY_BYTES, MAX_SEGMENTS, MAX_TEXT_CHARS, MAX_TEXTS, REFUSALS, TEXT, TEXT_IS, body_of
from api.inference.backlog import Admission
from api.transcripts.jobs import Jobs
from api.translation.service import Translation, source_of, splits_like
from api.translation.targets import LONGEST_CODE

Code = Annotated[str, Meta(min_length=2, max_length=LONGEST_CODE, pattern=PRINTABLE)]


class TranslateBody(msgspec.Struct, frozen=True, kw_only=True):
    """Either `text` or `texts`."""

    text: (
        Annotated[str, Meta(pattern=TEXT, description=TEXT_IS, extra_json_schema={"maxLength": MAX_TEXT_CHARS})]
        | UnsetType
    ) = UNSET
    texts: (
        Annotated[
            list[Annotated[str, Meta(pattern=TEXT)]],
            Meta(
                min_length=1,
                max_length=MAX_TEXTS,
                description=f"a list of 1 to {MAX_TEXTS} texts, none of them empty or with control characters, of at "
                f"most {MAX_TEXT_CHARS} characters together",
            ),
        ]
        | UnsetType
    ) = UNSET
    target: Annotated[Code, Meta(description="the code of a language that /v1/translate/languages lists, such as es")]
    source: Annotated[
        Code, Meta(description="the code of the language that the text is in, such as en, or auto: the text tells")
    ] = "en"

    def given(self) -> list[str]:
        """Raises InvalidRequest, TooLarge."""
        if (self.text is UNSET) == (self.texts is UNSET):
            raise InvalidRequest("Send text, or texts instead of it: one of the two.")
        given = self.texts or [cast(str, self.text)]
        if (length := sum(map(len, given))) > MAX_TEXT_CHARS:
            raise TooLarge(f"The text may have {MAX_TEXT_CHARS} characters in all; this has {length}.")
        if (lines := sum(text.count("\n") for text in given)) > MAX_SEGMENTS:
            raise TooLarge(f"The text may have {MAX_SEGMENTS} lines in all; this has {lines}.")
        return given


class OneTranslation(msgspec.Struct):
    translated_text: str


class TextTranslation(msgspec.Struct):
    """Of `text`."""

    translated_text: str
    source_language: str
    target_language: str
    model: str


class TextsTranslation(msgspec.Struct):
    """Of `texts`, in order."""

    translations: list[OneTranslation]
    source_language: str
    target_language: str
    model: str


class TargetLanguagesBody(msgspec.Struct):
    languages: list[LanguageBody]


ONE_OF_BOTH: Final = {"oneOf": [{"required": ["text"]}, {"required": ["texts"]}]}


class TranslateController(Controller):
    path = "/v1/translate"
    tags = ["text"]

    @post(
        "/",
        status_code=200,
        security=WITH_KEY,
        operation_class=body_of(TranslateBody, **ONE_OF_BOTH),
        summary="Translate a text, or several",
        description="Sentence by sentence; paragraphs, lines and the marks of lists stay as they are.",
        responses={
            200: ResponseSpec(
                cast(Any, TextTranslation | TextsTranslation), generate_examples=False, description="The translation"
            ),
            **REFUSALS,
        },
    )
    async def translate(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        translation: Translation,
    ) -> TextTranslation | TextsTranslation:
        async with jobs.errand(caller, "translate", backlog=admission.texts):
            body = await read_json(TranslateBody, request, MAX_BODY_BYTES)
            given = body.given()
            target = await translation.target(body.target)
            source = await asyncio.to_thread(source_of, body.source, given)
            translated = await while_connected(
                translation.texts(given, target, splits_like(source)), disconnected(request)
            )
            if body.texts is UNSET:
                return TextTranslation(translated[0], source, target.code, target.model)
            return TextsTranslation([OneTranslation(text) for text in translated], source, target.code, target.model)

    @get(
        "/languages",
        security=WITH_OR_WITHOUT_KEY,
        summary="The languages that can be translated into now",
        responses=refusals(400, 401, 429, 503),
    )
    async def languages(self, translation: Translation) -> TargetLanguagesBody:
        return TargetLanguagesBody([LanguageBody(*language) for language in (await translation.languages()).items()])
