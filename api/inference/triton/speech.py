"""Audio: speech as text, who speaks and when, speech without noise, and text as speech."""

from __future__ import annotations

import msgspec
import numpy as np

from api.errors import InferenceFailed
from api.inference.base import Flags, Floats, ModelVersion, Pcm, Voices
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    LOCAL_SPEAKERS,
    SPEAKER_EMBEDDING,
    SPEAKER_FRAMES,
    SPEAKER_SEGMENTATION,
    SPEECH_ENHANCER,
    VOICE_ACTIVITY,
    VOICE_CLONER,
    DecodingOptions,
    Recognition,
    SpeechOptions,
)
from api.inference.triton.channel import Channel, strings, tensor
from api.inference.triton.places import Precedence

LIVE_PRIORITY, DEFAULT_PRIORITY = 1, 0  # the highest of a model's priority levels, and the one it says itself


class TritonSpeech:
    def __init__(self, channel: Channel, max_windows: int) -> None:
        self._channel = channel
        self._precedence = Precedence(channel.fleet, max_windows)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Recognition)

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        inputs = [
            tensor("PCM", pcm[None], "INT16"),
            strings("OPTIONS", [self._encoder.encode(options)]),
        ]
        result = await self._channel.infer(
            model.name,
            inputs,
            ["RECOGNITION"],
            version=model.version,
            priority=_priority(live),
            place=self._precedence.place(model, live=live),
        )
        try:
            return self._decoder.decode(result.as_numpy("RECOGNITION").item())
        except msgspec.MsgspecError as error:
            raise InferenceFailed(
                f"The model {model.name} answered with something that is no recognition: {error}"
            ) from error

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        inputs = [tensor("PCM", pcm[None], "INT16"), tensor("STATE", state[None], "FP32")]
        result = await self._channel.infer(
            VOICE_ACTIVITY,
            inputs,
            ["PROBABILITIES", "NEXT_STATE"],
            priority=_priority(live),
            place=self._precedence.place(ModelVersion(VOICE_ACTIVITY, ""), live=live, brief=True),
        )
        probabilities, next_state = result.as_numpy("PROBABILITIES"), result.as_numpy("NEXT_STATE")
        if probabilities.shape != (1, pcm.size // ACTIVITY_FRAME_SAMPLES) or next_state.shape != (1, state.size):
            raise InferenceFailed(f"The model {VOICE_ACTIVITY} answered with tensors of the wrong size.")
        return probabilities[0], next_state[0]

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        inputs = [tensor("PCM", pcm[None], "INT16")]
        result = await self._channel.infer(
            SPEAKER_SEGMENTATION,
            inputs,
            ["ACTIVITY"],
            version=version,
            priority=_priority(live),
            place=self._precedence.place(ModelVersion(SPEAKER_SEGMENTATION, version), live=live),
        )
        active = result.as_numpy("ACTIVITY")
        if active.shape != (1, SPEAKER_FRAMES, LOCAL_SPEAKERS):
            raise InferenceFailed(f"The model {SPEAKER_SEGMENTATION} answered with a tensor of the wrong size.")
        of_window: Flags = active[0]
        return of_window

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        inputs = [tensor("PCM", pcm[None], "INT16"), tensor("MASKS", masks[None], "UINT8")]
        outputs = ["EMBEDDINGS", "PLDA"] if features else ["EMBEDDINGS"]
        result = await self._channel.infer(
            SPEAKER_EMBEDDING,
            inputs,
            outputs,
            version=version,
            priority=_priority(live),
            place=self._precedence.place(ModelVersion(SPEAKER_EMBEDDING, version), live=live),
        )
        found: list[Floats] = [result.as_numpy(name)[0] for name in outputs]
        if not all(of.ndim == 2 and len(of) == len(masks) and np.isfinite(of).all() for of in found):
            raise InferenceFailed(
                f"The model {SPEAKER_EMBEDDING} answered with tensors of the wrong size, or no numbers."
            )
        return Voices(result.get_response().model_version, found[0], found[1] if features else None)

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        inputs = [tensor("PCM", samples[None], "FP32"), tensor("STATE", state[None], "FP32")]
        result = await self._channel.infer(
            SPEECH_ENHANCER, inputs, ["ENHANCED", "NEXT_STATE"], place=self._precedence.windows
        )
        enhanced, next_state = result.as_numpy("ENHANCED"), result.as_numpy("NEXT_STATE")
        if enhanced.shape != (1, samples.size) or next_state.shape != (1, state.size):
            raise InferenceFailed(f"The model {SPEECH_ENHANCER} answered with tensors of the wrong size.")
        if not np.isfinite(enhanced).all():
            raise InferenceFailed(f"The model {SPEECH_ENHANCER} answered with something that is no sound.")
        return enhanced[0], next_state[0]

    async def speak(self, reference: Pcm, options: SpeechOptions) -> Floats:
        inputs = [tensor("REFERENCE", reference[None], "INT16"), strings("OPTIONS", [self._encoder.encode(options)])]
        result = await self._channel.infer(VOICE_CLONER, inputs, ["SPEECH"], place=self._precedence.windows)
        speech = result.as_numpy("SPEECH")
        if speech.ndim != 2 or len(speech) != 1 or not np.isfinite(speech).all():
            raise InferenceFailed(f"The model {VOICE_CLONER} answered with something that is no sound.")
        spoken: Floats = speech[0]
        return spoken


def _priority(live: bool) -> int:
    return LIVE_PRIORITY if live else DEFAULT_PRIORITY
