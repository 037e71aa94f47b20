"""Translation by the model that is deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.errors import InvalidRequest
from api.inference.base import Inference
from api.inference.contracts import TRANSLATOR, TranslationOptions
from api.inference.deployments import Deployments
from api.intelligence.language import language_of
from api.languages import LANGUAGES, base_of, name_of
from api.speech import Transcript
from api.translation.alignment import aligned, spoken_sentences
from api.translation.pieces import Piece, Role, pieces_of, put_together
from api.translation.targets import find_target, is_language


@dataclass(frozen=True, slots=True)
class Target:
    """A language that can be translated into, and the name of the model that does it."""

    code: str
    model: str


class Translation:
    """Over one Triton. All of it raises ModelMissing where no translator is deployed, InferenceUnavailable."""

    def __init__(self, inference: Inference, deployments: Deployments) -> None:
        self._translator = inference.translator
        self._deployments = deployments

    async def languages(self) -> dict[str, str]:
        """English names by code."""
        codes = (await self._deployments.need(TRANSLATOR)).card.languages
        return await asyncio.to_thread(lambda: {code: name_of(code) for code in codes})

    async def target(self, asked: str) -> Target:
        """Raises InvalidRequest where the model does not know the language."""
        card = (await self._deployments.need(TRANSLATOR)).card
        return Target(await asyncio.to_thread(find_target, asked, card.languages), card.name)

    async def texts(self, texts: Sequence[str], target: Target, source: str) -> list[str]:
        """Each in the target's language, with its paragraphs, lines and lists as they are. A sentence that is there
        several times is translated once."""

        def taken_apart() -> tuple[list[list[Piece]], list[str]]:
            pieces = [pieces_of(text, source) for text in texts]
            sentences = (piece.text for of_text in pieces for piece in of_text if piece.role is Role.SENTENCE)
            return pieces, list(dict.fromkeys(sentences))

        pieces, sentences = await asyncio.to_thread(taken_apart)
        translations = await self._translator.translate(sentences, TranslationOptions(target.code))

        def together() -> list[str]:
            by_sentence = dict(zip(sentences, map(_in_one_line, translations), strict=True))
            return [put_together(of_text, by_sentence, target.code) for of_text in pieces]

        return await asyncio.to_thread(together)

    async def transcript(self, transcript: Transcript, target: Target) -> Transcript:
        """With a translation of each segment."""
        language = transcript.language or "en"
        sentences = await asyncio.to_thread(spoken_sentences, transcript.segments, language)
        translations = await self.texts([sentence.text for sentence in sentences], target, language)
        of_segments = await asyncio.to_thread(aligned, sentences, translations, target.code, len(transcript.segments))
        segments = (
            replace(segment, translation=translation)
            for segment, translation in zip(transcript.segments, of_segments, strict=True)
        )
        return replace(transcript, segments=tuple(segments), translated_into=target.code)


def source_of(asked: str, texts: Sequence[str]) -> str:
    """The code of the language that texts are in: as it is said, or found out where that is `auto`.

    Raises InvalidRequest where that is no language.
    """
    if asked.casefold() == "auto":
        return language_of("\n".join(texts[:100]))
    if not is_language(asked):
        raise InvalidRequest(f"source must be the code of a language, such as en, or auto, not {asked!r:.40}.")
    return asked


def splits_like(source: str) -> str:
    """The code by which sentences are told apart."""
    language = base_of(source)
    return language if language in LANGUAGES else "en"


def _in_one_line(translation: str) -> str:
    return " ".join(translation.split())
