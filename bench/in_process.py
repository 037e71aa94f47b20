"""Inference by the engines in this process: what the models say, without a server and its queues in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec

from api.inference import contracts
from api.inference.base import Deployment, Flags, Floats, Inference, ModelVersion, Pcm, Voices
from api.inference.contracts import SPEAKER_EMBEDDING, SPEAKER_SEGMENTATION
from api.inference.fake import fake_inference
from export_scripts.engines import load_engine


class SpeakersInProcess:
    """The speaker models of a repository, one window at a time."""

    def __init__(self, repository: Path) -> None:
        segmentation, self._embedding = load_engine("speaker_segmentation"), load_engine("speaker_embedding")
        self._segmenter = segmentation.SpeakerSegmentationEngine(repository / SPEAKER_SEGMENTATION / "1" / "weights")
        self._embedder = self._embedding.SpeakerEmbeddingEngine(repository / SPEAKER_EMBEDDING / "1" / "weights")

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        (active,) = self._segmenter.segment([pcm])
        return cast(Flags, active)

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        (voices,) = self._embedder.embed([self._embedding.Window(pcm, masks, features)])
        return Voices("1", voices.embeddings, voices.plda)


def card_of(repository: Path, model: str) -> contracts.ModelCard:
    manifest = msgspec.json.decode((repository / model / "1" / "manifest.json").read_bytes())
    return msgspec.convert(manifest["card"], contracts.ModelCard)


class InProcess:
    """The models of a repository that `tritone export` wrote. Calls block; one at a time is what it is for."""

    def __init__(self, repository: Path, model: str, *, threads: int = 0, min_window_frames: int | None = None) -> None:
        self._whisper = load_engine("whisper")
        card = card_of(repository, model)
        self.card = msgspec.structs.replace(card, min_window_frames=min_window_frames or card.min_window_frames)
        self.engine = self._whisper.WhisperEngine(
            repository / model / "1" / "weights",
            threads=threads,
            min_window_frames=self.card.min_window_frames,
        )
        self._speakers = SpeakersInProcess(repository)
        activity = load_engine("voice_activity")
        self._detector = activity.VoiceActivityEngine(
            repository / "voice_activity" / "1" / "weights" / "silero_vad.onnx"
        )

    def inference(self) -> Inference:
        return replace(fake_inference(), recognizer=self, voice_activity=self, speakers=self._speakers, registry=self)

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: contracts.DecodingOptions, *, live: bool = False
    ) -> contracts.Recognition:
        asked = msgspec.convert(msgspec.to_builtins(options), self._whisper.DecodingOptions)
        (answer,) = self.engine.recognize([self._whisper.Window(pcm, asked)])
        return msgspec.convert(msgspec.to_builtins(answer), contracts.Recognition)

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        ((probabilities, next_state),) = self._detector.detect([(pcm, state)])
        return probabilities, next_state

    async def deployments(self) -> list[Deployment]:
        return []
