"""One protocol per task. Implementations raise InferenceUnavailable and InferenceFailed, nothing else of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from api.inference.contracts import (
    Analysis,
    AnalysisOptions,
    CompletionChunk,
    CompletionRequest,
    DecodingOptions,
    ModelCard,
    Recognition,
    SpeechOptions,
    TranslationOptions,
)

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]


class ModelVersion(NamedTuple):
    """A version of a model that the inference server has."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version of a model that the inference server knows.

    `crashed`: it counts as ready, but its process was just found dead. `serving`: it takes new work, which of a model's
    ready versions exactly one does; the others finish what they have begun.
    """

    name: str
    version: str
    ready: bool
    card: ModelCard
    crashed: bool = False
    serving: bool = True


class SpeechRecognizer(Protocol):
    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        """What was said in one window, (samples,) at 16 kHz, at most 30 s. `live` ones go before those that wait."""
        ...


class VoiceActivityDetector(Protocol):
    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        """Probability of speech per frame of 512 samples, and the state to hand in with the audio that follows. `live`
        audio goes before what waits."""
        ...


@dataclass(frozen=True, slots=True)
class Voices:
    """Embeddings (speakers, d) of one window's speakers, and their PLDA features (speakers, p), where asked for.

    Those of different versions of the model mean nothing to each other.
    """

    version: str
    embeddings: Floats
    features: Floats | None = None


class SpeakerModels(Protocol):
    """Windows are (samples,) at 16 kHz, at most 10 s, and have 589 frames, however long they are. `live` ones do not
    wait for those of recordings to be sent. Without a `version` it is the one that takes new work."""

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        """Which of at most three speakers is active in each frame: (589, 3), 0 or 1."""
        ...

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        """The voice heard in the frames of each mask (speakers, 589), 0 or 1, none of them empty."""
        ...


@dataclass(frozen=True, slots=True)
class TextVectors:
    """Of unit length, (texts, d). Those of different versions of the model mean nothing to each other."""

    version: str
    embeddings: Floats


class TextEmbedder(Protocol):
    async def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        """What each text means, as a vector; any number of texts, of each of which the beginning counts."""
        ...


class TextAnalyzer(Protocol):
    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        """Entities, sentiment, key phrases; at most 1 MB of text in one call."""
        ...


class LanguageModel(Protocol):
    def complete(self, request: CompletionRequest) -> AsyncIterator[CompletionChunk]:
        """The answer as it is written. Closing the iterator ends the model's work on it.

        Raises PromptTooLong where the request does not fit into the context.
        """
        ...


class Translator(Protocol):
    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        """Each text, a sentence at best, in the target's language; any number of them."""
        ...


class SpeechEnhancer(Protocol):
    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Speech without the noise, (samples,) at the rate of the model's card and later by its delay, and the state to
        hand in with the audio that follows. At most 30 s and a whole number of hops."""
        ...


class VoiceCloner(Protocol):
    async def speak(self, reference: Pcm, options: SpeechOptions) -> Floats:
        """The text in the voice of the reference, both at the rate of the model's card."""
        ...


class ModelRegistry(Protocol):
    async def deployments(self) -> list[Deployment]:
        """What is deployed now. Fails at once when the server is away."""
        ...


class Using(Protocol):
    def __call__(self, *versions: ModelVersion) -> AbstractAsyncContextManager[None]:
        """While the context lasts, nobody takes these versions away."""
        ...


def unwatched(*_: ModelVersion) -> AbstractAsyncContextManager[None]:
    """Where nobody takes versions away, or not by asking us."""
    return nullcontext()


class VersionChoices(Protocol):
    async def chosen(self) -> Mapping[str, str]:
        """Which version of a model takes new work, wherever somebody chose one: of other models it is the newest that
        is ready. Raises StorageUnavailable, after which what was known before goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Inference:
    """Everything that a deployment can infer."""

    recognizer: SpeechRecognizer
    voice_activity: VoiceActivityDetector
    speakers: SpeakerModels
    embedder: TextEmbedder
    analyzer: TextAnalyzer
    language_model: LanguageModel
    translator: Translator
    enhancer: SpeechEnhancer
    cloner: VoiceCloner
    registry: ModelRegistry
