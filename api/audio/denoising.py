"""A recording with less noise, block by block, each channel by itself, and nothing of it moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import numpy as np

from api.concurrency import together
from api.errors import InferenceFailed
from api.inference.base import Floats, Pcm, SpeechEnhancer
from api.inference.contracts import SPEECH_ENHANCER, ModelCard
from api.inference.deployments import Deployments

BLOCK_S: Final = 10.0
FOR_RECOGNITION_DB: Final = 12.0
"""Noise that is made weaker by more than this takes words along: chosen by bench/enhancement.py --tune."""
FULL_SCALE: Final = 32768


async def enhancer_card(deployments: Deployments) -> ModelCard:
    """Of the model that removes noise. Raises ModelMissing, InferenceUnavailable, InferenceFailed."""
    card = (await deployments.need(SPEECH_ENHANCER)).card
    if not card.sample_rate:
        raise InferenceFailed(f"The model {SPEECH_ENHANCER} does not say its sample rate; export it once more.")
    return card


async def denoised(
    blocks: AsyncIterator[Pcm], enhancer: SpeechEnhancer, card: ModelCard, at_most_db: float
) -> AsyncGenerator[Floats, None]:
    """As many samples as come, and in the same places: int16 at the card's rate, (samples,) or (samples, channels),
    becomes (samples, channels) of -1 … 1, the noise in it weaker by at most so many dB.

    The blocks of a channel follow each other, since each begins in the state that the one before has left; all channels
    are with the model at the same time. Raises InferenceUnavailable, InferenceFailed.
    """
    channels: list[_Channel] = []
    late, kept = card.delay_samples, np.float32(10 ** (-at_most_db / 20))
    owed = np.zeros((0, 0), dtype=np.float32)  # of the recording, what has not come back yet
    async with aclosing(_steps(blocks, card)) as steps:
        async for samples, real in steps:
            channels = channels or [_Channel(enhancer, card) for _ in samples.T]
            enhanced = np.stack(await together(map(_Channel.enhance, channels, samples.T)), axis=1)
            owed = np.concatenate([owed, samples[:real]]) if len(owed) else samples[:real]
            clean = enhanced[late:][: len(owed)]
            late = max(0, late - len(enhanced))
            noisy, owed = owed[: len(clean)], owed[len(clean) :]
            if len(clean):
                yield await asyncio.to_thread(_mixed, clean, noisy, kept)


def _mixed(clean: Floats, noisy: Floats, kept: np.float32) -> Floats:
    mixed: Floats = clean + kept * (noisy - clean)
    return mixed


class _Channel:
    def __init__(self, enhancer: SpeechEnhancer, card: ModelCard) -> None:
        self._enhancer = enhancer
        self._state = np.zeros(card.state_size, dtype=np.float32)

    async def enhance(self, samples: Floats) -> Floats:
        enhanced, self._state = await self._enhancer.enhance(np.ascontiguousarray(samples), self._state)
        return enhanced


async def _steps(blocks: AsyncIterator[Pcm], card: ModelCard) -> AsyncGenerator[tuple[Floats, int], None]:
    """Whole hops of about BLOCK_S, (samples, channels), and how many of the samples are the recording's: the last ones
    are silence, in which the model says the rest of what it has heard."""
    hop = card.hop_samples
    step = max(1, round(BLOCK_S * card.sample_rate / hop)) * hop
    held: list[Pcm] = []
    size = 0
    async for block in blocks:
        held.append(block if block.ndim == 2 else block[:, None])
        size += len(block)
        while size >= step:
            audio = np.concatenate(held)
            yield to_floats(audio[:step]), step
            held, size = [audio[step:]], size - step
    if held:
        silence = card.delay_samples + -(size + card.delay_samples) % hop
        yield np.pad(to_floats(np.concatenate(held)), ((0, silence), (0, 0))), size


def to_floats(pcm: Pcm) -> Floats:
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)
