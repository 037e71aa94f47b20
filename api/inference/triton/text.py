"""Text: what it means, what is in it, and the same in another language."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import TextVectors
from api.inference.contracts import (
    TEXT_ANALYSIS,
    TEXT_EMBEDDING,
    TRANSLATOR,
    Analysis,
    AnalysisOptions,
    TranslationOptions,
)
from api.inference.portions import EMBEDDED, TRANSLATED, portions
from api.inference.triton.channel import Channel, strings
from api.inference.triton.fleet import RETRY_AFTER_S

# Requests with texts that are with Triton at the same time: of one call, so that others find room, and of all calls.
TEXTS_AT_ONCE, ALL_TEXTS_AT_ONCE = 4, 32
R = TypeVar("R")


class TritonText:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._places = asyncio.Semaphore(ALL_TEXTS_AT_ONCE)
        self._encoder = msgspec.json.Encoder()
        self._analysis_decoder = msgspec.json.Decoder(Analysis)

    async def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        requests = list(portions(texts, EMBEDDED))
        if not requests:
            return TextVectors("", np.zeros((0, 0), dtype=np.float32))
        for _ in range(2):  # while one version takes the place of another, both answer for a moment
            answers = await self._each(requests, self._embed_portion)
            if len({(answer.version, answer.embeddings.shape[1]) for answer in answers}) == 1:
                return TextVectors(answers[0].version, np.concatenate([answer.embeddings for answer in answers]))
        raise InferenceUnavailable(f"The model {TEXT_EMBEDDING} is being replaced. Try again later.", RETRY_AFTER_S)

    async def _embed_portion(self, texts: list[bytes]) -> TextVectors:
        inputs = [strings("TEXTS", texts)]
        result = await self._channel.infer(TEXT_EMBEDDING, inputs, ["EMBEDDINGS"])
        embeddings = result.as_numpy("EMBEDDINGS")
        if embeddings.ndim != 3 or embeddings.shape[:2] != (1, len(texts)) or not np.isfinite(embeddings).all():
            raise InferenceFailed(
                f"The model {TEXT_EMBEDDING} answered with a tensor of the wrong size, or no numbers."
            )
        return TextVectors(result.get_response().model_version, embeddings[0])

    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        if not texts:
            return Analysis()
        encoded = [text.encode(errors="replace") for text in texts]  # a lone surrogate becomes one character, too
        inputs = [
            strings("TEXTS", encoded),
            strings("OPTIONS", [self._encoder.encode(options)]),
        ]
        async with self._places:
            result = await self._channel.infer(TEXT_ANALYSIS, inputs, ["ANALYSIS"])
        try:
            analysis = self._analysis_decoder.decode(result.as_numpy("ANALYSIS").item())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InferenceFailed(
                f"The model {TEXT_ANALYSIS} answered with something that is no analysis: {error}"
            ) from error
        if not _fits(analysis, texts, options):
            raise InferenceFailed(f"The model {TEXT_ANALYSIS} answered about other texts than these.")
        return analysis

    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        encoded = self._encoder.encode(options)

        async def portion(of: list[bytes]) -> list[str]:
            inputs = [strings("TEXTS", of), strings("OPTIONS", [encoded])]
            result = await self._channel.infer(TRANSLATOR, inputs, ["TRANSLATIONS"])
            translations = result.as_numpy("TRANSLATIONS")
            if translations.shape != (1, len(of)):
                raise InferenceFailed(f"The model {TRANSLATOR} answered with a tensor of the wrong size.")
            return [translation.decode(errors="replace") for translation in translations[0]]

        answers = await self._each(list(portions(texts, TRANSLATED)), portion)
        return [translation for answer in answers for translation in answer]

    async def _each(self, requests: list[list[bytes]], ask: Callable[[list[bytes]], Awaitable[R]]) -> list[R]:
        places = asyncio.Semaphore(TEXTS_AT_ONCE)

        async def one(texts: list[bytes]) -> R:
            async with places, self._places:
                return await ask(texts)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(texts)) for texts in requests]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]


def _fits(analysis: Analysis, texts: Sequence[str], options: AnalysisOptions) -> bool:
    """Whether there is an entry for each text where one was asked for, and every span lies within its text."""
    asked = {task: len(texts) if task in options.tasks else 0 for task in ("entities", "sentiment")}
    return (
        (len(analysis.entities), len(analysis.sentiment)) == (asked["entities"], asked["sentiment"])
        and ("key_phrases" in options.tasks or not analysis.key_phrases)
        and all(
            0 <= entity.start < entity.end <= len(text)
            for text, entities in zip(texts, analysis.entities, strict=False)
            for entity in entities
        )
    )
