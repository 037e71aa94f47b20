"""Which model serves which public id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.errors import InferenceUnavailable, InvalidRequest, UnknownModel
from api.inference.base import Deployment, ModelVersion
from api.inference.contracts import SPEAKER_EMBEDDING, SPEAKER_SEGMENTATION, WHISPER_PREFIX, ModelCard
from api.inference.deployments import Deployments
from api.recognition.speakers import DiarizationPlan

MAX_CANDIDATES = 10
"""Languages that a recording may be in."""


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """A public id and what serves it: `served_by` is another id where the first is an alias."""

    id: str
    served_by: str
    version: str
    card: ModelCard

    @property
    def deployment(self) -> ModelVersion:
        return ModelVersion(WHISPER_PREFIX + self.served_by, self.version)

    def language(self, wanted: str) -> str | None:
        """The language with this code, None for `auto`. Raises InvalidRequest where the model does not know it."""
        language = wanted.lower()
        if language == "auto":
            return None
        if language not in self.card.languages:
            raise InvalidRequest(
                f"The model {self.id} does not know the language {language!r}; "
                f"use auto or one of {', '.join(self.card.languages)}."
            )
        return language

    def candidates(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The languages with these codes, each once, in their order; none, which is any, where `auto` is one of them.
        Raises InvalidRequest where the model does not know one."""
        languages = [self.language(code) for code in wanted]
        return () if None in languages else tuple(dict.fromkeys(code for code in languages if code is not None))

    def choice(self, language: str, among: str | Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
        """The language, or where that is `auto`, those that it may be; none are all of them. `among` may be text with
        commas. Raises InvalidRequest."""
        codes = among.split(",") if isinstance(among, str) else among
        wanted = [code.strip() for code in codes if code.strip()]
        if len(wanted) > MAX_CANDIDATES:
            raise InvalidRequest(f"languages may have at most {MAX_CANDIDATES} codes, not {len(wanted)}.")
        given, languages = self.language(language), self.candidates(wanted)
        if given is None:
            return None, languages
        if languages and given not in languages:
            raise InvalidRequest(
                f"language={given} is none of languages={','.join(languages)}: send one of both, or language=auto."
            )
        return given, ()


class ModelCatalog:
    """Public ids over what the inference server has deployed right now."""

    def __init__(self, deployments: Deployments, aliases: Mapping[str, str]) -> None:
        self._deployments = deployments
        self._aliases = dict(aliases)

    async def speech_models(self) -> list[SpeechModel]:
        """Asked of the server now: deployed models first, then aliases of those."""
        return _speech_models(await self._deployments.now(), self._aliases)

    async def find(self, id_: str) -> SpeechModel:
        """Raises UnknownModel with the ids there are. What was known just before will do while the server is away."""
        deployments = await self._deployments.recent()
        known = _speech_models(deployments, self._aliases)
        for model in known:
            if model.id == id_:
                return model
        if id_ in _ids(deployments) or not known:
            raise InferenceUnavailable(f"The model {id_} is not ready yet. Try again later.", retry_after_s=10)
        raise UnknownModel(f"There is no model {id_!r}; use one of {', '.join(model.id for model in known)}.")

    async def diarization(self) -> DiarizationPlan | None:
        """How to tell speakers apart with what is deployed; None where nothing can."""
        return _diarization(await self._deployments.recent())


def _diarization(deployments: list[Deployment]) -> DiarizationPlan | None:
    serving = {deployment.name: deployment for deployment in deployments if deployment.ready and deployment.serving}
    if SPEAKER_SEGMENTATION not in serving or SPEAKER_EMBEDDING not in serving:
        return None
    segmentation, embedding = serving[SPEAKER_SEGMENTATION], serving[SPEAKER_EMBEDDING]
    return DiarizationPlan(segmentation.card.step_s, embedding.card.clustering, segmentation.version, embedding.version)


def _speech_models(deployments: list[Deployment], aliases: Mapping[str, str]) -> list[SpeechModel]:
    serving = {
        deployment.name.removeprefix(WHISPER_PREFIX): deployment
        for deployment in deployments
        if deployment.ready
        and deployment.serving
        and deployment.card.kind == "whisper"
        and deployment.name.startswith(WHISPER_PREFIX)
    }

    def model(id_: str, served_by: str) -> SpeechModel:
        return SpeechModel(id_, served_by, serving[served_by].version, serving[served_by].card)

    # A model that is being loaded is worth waiting for; its alias must not answer in its place.
    free = {alias: id_ for alias, id_ in aliases.items() if alias not in _ids(deployments)}
    aliased = [model(alias, id_) for alias, id_ in free.items() if id_ in serving]
    return [model(id_, id_) for id_ in serving] + aliased


def _ids(deployments: list[Deployment]) -> set[str]:
    """Of all speech models that the server knows, ready or not."""
    names = (deployment.name for deployment in deployments)
    return {name.removeprefix(WHISPER_PREFIX) for name in names if name.startswith(WHISPER_PREFIX)}
