"""Inference by NVIDIA Triton over gRPC. Nothing else imports tritonclient."""

from __future__ import annotations

from api.inference.base import Inference
from api.inference.triton.channel import Channel
from api.inference.triton.completion import TritonLanguageModel
from api.inference.triton.registry import TritonRegistry
from api.inference.triton.speech import TritonSpeech
from api.inference.triton.text import TritonText


class TritonInference:
    """All tasks over one channel; the arguments are described there. `max_windows` of audio are with it at a time."""

    def __init__(self, url: str, *, patience_s: float, timeout_s: float, max_windows: int) -> None:
        self._channel = Channel(url, patience_s=patience_s, timeout_s=timeout_s)
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
        await self._channel.client.close()
