"""Any text in the voice of a short recording, piece by piece, and the pieces as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from api.audio.media import DecoderLimits
from api.audio.speech_joining import CROSS_FADE_S, joined
from api.audio.speech_reference import Reference, read_voice
from api.audio.speech_text import pieces
from api.audio.wav import BYTES_PER_SAMPLE, to_pcm, wav_header
from api.concurrency import in_order
from api.errors import InferenceFailed, InvalidRequest
from api.inference.base import Floats, Pcm, VoiceCloner
from api.inference.contracts import VOICE_CLONER, ModelCard, SpeechOptions
from api.inference.deployments import Deployments

GENERATED_S: Final = 22.0
"""The reference and a piece together: what F5-TTS' own inference keeps to. It was trained on at most 30 s."""
LONGEST_PIECE_BYTES: Final = 1000
LONGEST_SPEECH_S: Final = 30 * 60
SEEDS: Final = 2**32
MARK: Final = {
    "ICMT": "Synthetic speech: made by a model that imitates the voice of a recording. Nobody said this.",
    "ISFT": "tritone",
}
"""What the file says of itself, as RIFF INFO has it."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Speech:
    """A WAV of 16 bits, mono, at the model's rate, and how long it is."""

    wav: bytes = field(repr=False)
    seconds: float


class SpeechSynthesizer:
    """The voice cloner of one Triton."""

    def __init__(
        self,
        cloner: VoiceCloner,
        deployments: Deployments,
        limits: DecoderLimits,
        *,
        decoders: asyncio.Semaphore,
        pieces_in_flight: int,
    ) -> None:
        """`decoders` bounds how many decode at a time; `pieces_in_flight` are of one text."""
        self._cloner = cloner
        self._deployments = deployments
        self._limits = limits
        self._decoders = decoders
        self._pieces_in_flight = pieces_in_flight

    async def card(self) -> ModelCard:
        """Of the model that speaks. Raises ModelMissing, InferenceUnavailable, InferenceFailed."""
        card = (await self._deployments.need(VOICE_CLONER)).card
        if not card.sample_rate:
            raise InferenceFailed(f"The model {VOICE_CLONER} does not say its sample rate; export it once more.")
        return card

    async def voice(self, source: int, card: ModelCard) -> Pcm:
        """The voice in the open file `source`. Raises UnreadableMedia."""
        return await read_voice(source, card.sample_rate, self._limits, self._decoders)

    async def speak(self, text: str, language: str, reference: Reference, *, speed: float, seed: int) -> Speech:
        """The same seed gives the same speech. Raises InvalidRequest, InferenceUnavailable, InferenceFailed."""
        bytes_per_s = reference.bytes_per_s() * speed
        expected_s = len(text.encode()) / bytes_per_s
        if expected_s > LONGEST_SPEECH_S:
            raise InvalidRequest(
                f"As fast as the reference is, the text takes {expected_s / 60:.0f} minutes; "
                f"at most {LONGEST_SPEECH_S // 60} can be spoken at once. Send it in parts."
            )
        room = int(bytes_per_s * (GENERATED_S - reference.seconds))
        parts = pieces(text, language, min(room, LONGEST_PIECE_BYTES))
        if not parts:
            raise InvalidRequest("Nothing in the text can be spoken; send words.")

        async def spoken(numbered: tuple[int, str]) -> Floats:
            place, part = numbered
            options = SpeechOptions(reference.text, part, speed, (seed + place) % SEEDS)
            piece = await self._cloner.speak(reference.pcm, options)
            if not piece.size or not np.isfinite(piece).all():
                raise InferenceFailed(f"The model {VOICE_CLONER} answered with something that is no sound.")
            return piece

        fade = round(CROSS_FADE_S * reference.rate_hz)
        async with aclosing(in_order(_each(enumerate(parts)), spoken, self._pieces_in_flight)) as speech:
            pcm = [to_pcm(block).tobytes() async for block in joined(speech, fade)]
        frames = sum(map(len, pcm)) // BYTES_PER_SAMPLE
        header = wav_header(reference.rate_hz, 1, frames, MARK)
        return Speech(b"".join([header, *pcm]), frames / reference.rate_hz)


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
