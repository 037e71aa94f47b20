"""What of all this can be done with the models that are deployed now, and by which of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from api.inference.base import Inference, LanguageModel, TextVectors
from api.inference.contracts import LANGUAGE_MODEL, TEXT_ANALYSIS, TEXT_EMBEDDING
from api.inference.deployments import Deployments
from api.intelligence.classical import Classical
from api.intelligence.redaction import Redactor
from api.intelligence.refining import Refiner
from api.intelligence.written import Written

Author = Written | Classical
"""Whoever answers: a language model, or classical means."""


class ClosableLanguageModel(LanguageModel, Protocol):
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A language model behind an address of its own, instead of one that Triton serves."""

    name: str
    context_tokens: int
    model: ClosableLanguageModel


class Intelligence:
    """Over one Triton. All of it raises ModelMissing where nothing that can do it is deployed, InferenceUnavailable."""

    def __init__(self, inference: Inference, deployments: Deployments, remote: RemoteModel | None = None) -> None:
        self._inference = inference
        self._deployments = deployments
        self._remote = remote

    async def author(self) -> Author:
        embedding, _ = await self._deployments.need(TEXT_EMBEDDING), await self._deployments.need(TEXT_ANALYSIS)
        classical = Classical(self._inference.embedder, self._inference.analyzer, embedding.card.name)
        if self._remote is not None:
            return Written(self._remote.model, self._remote.name, self._remote.context_tokens, classical)
        written_by = await self._deployments.find(LANGUAGE_MODEL)
        if written_by is None:
            return classical
        card = written_by.card
        return Written(self._inference.language_model, card.name.lower(), card.context_tokens, classical)

    async def refiner(self) -> Refiner | None:
        """None where no language model is deployed."""
        if self._remote is not None:
            return Refiner(self._remote.model, self._remote.context_tokens)
        deployed = await self._deployments.find(LANGUAGE_MODEL)
        return None if deployed is None else Refiner(self._inference.language_model, deployed.card.context_tokens)

    async def redactor(self) -> tuple[Redactor, str]:
        """And the name of what finds personal data."""
        analysis = await self._deployments.need(TEXT_ANALYSIS)
        return Redactor(self._inference.analyzer), "presidio+ner" if "PERSON" in analysis.card.entities else "presidio"

    async def model(self) -> str:
        """What embeds: its name and version."""
        embedding = await self._deployments.need(TEXT_EMBEDDING)
        return f"{embedding.card.name} {embedding.version}"

    async def embed(self, texts: Sequence[str]) -> TextVectors:
        """`version` is that of `model`, of what really embedded them."""
        name = (await self._deployments.need(TEXT_EMBEDDING)).card.name
        vectors = await self._inference.embedder.embed_texts(texts)
        return TextVectors(f"{name} {vectors.version}", vectors.embeddings)
