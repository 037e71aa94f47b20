"""Inference by the engines in this process: what the models say, without a server and its queues in between."""

from __future__ import annotations

from pathlib import Path

import msgspec

from api.inference import contracts
from api.inference.base import Deployment, Floats, Inference, Pcm
from export_scripts.engines import load_engine


class InProcess:
    """The models of a repository that `tritone export` wrote. Calls block; one at a time is what it is for."""

    def __init__(self, repository: Path, model: str, *, threads: int = 0, min_window_frames: int | None = None) -> None:
        self._whisper = load_engine("whisper")
        manifest = msgspec.json.decode((repository / model / "1" / "manifest.json").read_bytes())
        card = msgspec.convert(manifest["card"], contracts.ModelCard)
        self.card = msgspec.structs.replace(card, min_window_frames=min_window_frames or card.min_window_frames)
        self.engine = self._whisper.WhisperEngine(
            repository / model / "1" / "weights",
            threads=threads,
            min_window_frames=self.card.min_window_frames,
        )
        activity = load_engine("voice_activity")
        self._detector = activity.VoiceActivityEngine(
            repository / "voice_activity" / "1" / "weights" / "silero_vad.onnx"
        )

    def inference(self) -> Inference:
        return Inference(self, self, self)

    async def recognize(self, model: str, pcm: Pcm, options: contracts.DecodingOptions) -> contracts.Recognition:
        asked = msgspec.convert(msgspec.to_builtins(options), self._whisper.DecodingOptions)
        (answer,) = self.engine.recognize([self._whisper.Window(pcm, asked)])
        return msgspec.convert(msgspec.to_builtins(answer), contracts.Recognition)

    async def detect(self, pcm: Pcm, state: Floats) -> tuple[Floats, Floats]:
        ((probabilities, next_state),) = self._detector.detect([(pcm, state)])
        return probabilities, next_state

    async def deployments(self) -> list[Deployment]:
        return []
