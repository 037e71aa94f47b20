"""Inference by NVIDIA Triton over gRPC. Nothing else imports tritonclient, but api/versions, which loads models."""

from __future__ import annotations

from api.inference.addresses import Resolver, resolved
from api.inference.base import Inference, VersionChoices
from api.inference.triton.channel import Channel
from api.inference.triton.completion import TritonLanguageModel
from api.inference.triton.registry import TritonRegistry
from api.inference.triton.speech import TritonSpeech
from api.inference.triton.text import TritonText


class TritonInference:
    """All tasks over one channel; the other arguments are described there. `max_windows` of recordings are with each
    Triton at a time. Raises SettingsError where `url` is no list of addresses."""

    def __init__(
        self,
        url: str,
        *,
        patience_s: float,
        timeout_s: float,
        max_windows: int,
        choices: VersionChoices | None = None,
        private: bool = False,
        resolve: Resolver = resolved,
    ) -> None:
        self._channel = Channel(
            url, patience_s=patience_s, timeout_s=timeout_s, choices=choices, private=private, resolve=resolve
        )
        speech, text = TritonSpeech(self._channel, max_windows), TritonText(self._channel)
        self.inference = Inference(
            recognizer=speech,
            voice_activity=speech,
            speakers=speech,
            embedder=text,
            analyzer=text,
            language_model=TritonLanguageModel(self._channel),
            translator=text,
            enhancer=speech,
            cloner=speech,
            registry=TritonRegistry(self._channel),
        )

    async def close(self) -> None:
        await self._channel.close()
