"""F5-TTS and Vocos as three ONNX graphs, of the packages' own modules.

text.onnx      tokens (batch, frames), counted from 1 and 0 behind them → embeddings (batch, 2, frames, dimension): of
               the text and of none. Run once for an utterance.
velocity.onnx  where the noise flows to, under classifier-free guidance: with and without text and voice are one batch
               of twice the size. Run once for a step.
vocoder.onnx   log-mel spectra (batch, mels, frames) → spectra (batch, 2, bins, frames): the real and imaginary parts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from export_scripts.onnx_export import write_onnx

engine = load_engine("voice_cloner")
# Between a graph and its module, as a share of the largest number.
TOLERANCE = 1e-3
TRIAL_FRAMES = 40


class TextGraph(nn.Module):
    """The steps of f5_tts' TextEmbedding.forward for utterances of one length, whose sizes it reads as numbers."""

    positions: Tensor

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.embedding = embedding
        if embedding.extra_modeling:
            self.register_buffer("positions", embedding.freqs_cis[: engine.MAX_FRAMES].clone())

    def forward(self, tokens: Tensor) -> Tensor:
        beyond = (tokens == engine.FILLER)[:, :, None]
        return torch.stack([self._embed(text, beyond) for text in (tokens, torch.zeros_like(tokens))], dim=1)

    def _embed(self, tokens: Tensor, beyond: Tensor) -> Tensor:
        embedded: Tensor = self.embedding.text_embed(tokens)
        if not self.embedding.extra_modeling:
            return embedded
        embedded = self._masked(embedded + self.positions[: tokens.shape[1]], beyond)
        for block in self.embedding.text_blocks:
            embedded = self._masked(block(embedded), beyond)
        return embedded

    def _masked(self, embedded: Tensor, beyond: Tensor) -> Tensor:
        return embedded.masked_fill(beyond, 0.0) if self.embedding.mask_padding else embedded


class VelocityGraph(nn.Module):
    """The steps of f5_tts' DiT.forward, with attention that leaves out the padding behind each utterance."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, dit: Any) -> None:
        super().__init__()
        # A copy, because its attention is another, but of the same numbers, which are many.
        self.dit = copy.deepcopy(dit, {id(tensor): tensor for tensor in chain(dit.parameters(), dit.buffers())})
        for block in self.dit.transformer_blocks:
            block.attn.processor = MaskedAttention(block.attn.processor.pe_attn_head)
            for norm in (block.attn.q_norm, block.attn.k_norm):
                if norm is not None:
                    norm.native_rms_norm = False  # ONNX has none yet; the same in elementary operations
        angles = dit.rotary_embed.forward_from_seq_len(engine.MAX_FRAMES)[0][0]
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(
        self,
        flowing: Tensor,
        condition: Tensor,
        text: Tensor,
        no_text: Tensor,
        mask: Tensor,
        time: Tensor,
        guidance: Tensor,
    ) -> Tensor:
        dit = self.dit
        guided = dit.input_embed(flowing, condition, text, audio_mask=mask)
        free = dit.input_embed(flowing, torch.zeros_like(condition), no_text, audio_mask=mask)
        states = inputs = torch.cat([guided, free])
        times = dit.time_embed(time).repeat(2, 1)
        twice = mask.repeat(2, 1)
        frames = flowing.shape[1]
        rotation = (self.cosines[:frames], self.sines[:frames])
        for block in dit.transformer_blocks:
            states = block(states, times, mask=twice, rope=rotation)
        if dit.long_skip_connection is not None:
            states = dit.long_skip_connection(torch.cat((states, inputs), dim=-1))
        velocity, without = dit.proj_out(dit.norm_out(states, times)).chunk(2)
        velocity = velocity + (velocity - without) * guidance[:, None, None]
        masked: Tensor = velocity * mask[:, :, None].to(velocity.dtype)
        return masked


class MaskedAttention:
    """f5_tts' AttnProcessor in operations that ONNX has; `rope` are the cosines and sines (frames, head dimension)."""

    def __init__(self, rotated_heads: int | None) -> None:
        self._rotated_heads = rotated_heads

    def __call__(self, attention: Any, states: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        query, key, value = (
            projection(states).view(states.shape[0], states.shape[1], attention.heads, -1).transpose(1, 2)
            for projection in (attention.to_q, attention.to_k, attention.to_v)
        )
        if attention.q_norm is not None:
            query, key = attention.q_norm(query), attention.k_norm(key)
        query, key = self._rotated(query, *rope), self._rotated(key, *rope)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        attended: Tensor = attention.to_out[0](mixed)
        return attended.masked_fill(~mask[:, :, None], 0.0)

    def _rotated(self, heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        rotated = heads[:, : self._rotated_heads]
        pairs = rotated.view(*rotated.shape[:3], -1, 2)
        turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
        rotated = rotated * cosines + turned * sines
        if self._rotated_heads is None:
            return rotated
        return torch.cat([rotated, heads[:, self._rotated_heads :]], dim=1)


class VocoderGraph(nn.Module):
    """Vocos up to the inverse Fourier transform, which the engine does."""

    def __init__(self, vocos: Any) -> None:
        super().__init__()
        self.backbone = vocos.backbone
        self.out = vocos.head.out

    def forward(self, mels: Tensor) -> Tensor:
        magnitudes, phases = self.out(self.backbone(mels)).transpose(1, 2).chunk(2, dim=1)
        magnitudes = magnitudes.exp().clip(max=100.0)  # as vocos' ISTFTHead
        return torch.stack([magnitudes * phases.cos(), magnitudes * phases.sin()], dim=1)


def write_graphs(dit: Any, vocos: Any, weights: Path) -> float:
    """The largest difference of a graph from its module. Raises ExportError."""
    vocabulary, dimension = dit.text_embed.text_embed.weight.shape
    generator = torch.Generator().manual_seed(5)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def tokens(batch: int, frames: int) -> Mapping[str, Tensor]:
        rows = torch.randint(1, vocabulary, (batch, frames), generator=generator)
        rows[:, frames // 3 :] = engine.FILLER
        return {"tokens": rows}

    def step(batch: int, frames: int) -> Mapping[str, Tensor]:
        lengths = frames - 7 * torch.arange(batch)
        return {
            "flowing": some(batch, frames, engine.MELS),
            "condition": some(batch, frames, engine.MELS),
            "text": some(batch, frames, dimension),
            "no_text": some(batch, frames, dimension),
            "mask": torch.arange(frames)[None] < lengths[:, None],
            "time": torch.rand(batch, generator=generator),
            "guidance": torch.full((batch,), 2.0),
        }

    sizes = ((1, TRIAL_FRAMES), (3, TRIAL_FRAMES + 9), (2, TRIAL_FRAMES + 5))
    frames_axis = dict.fromkeys(("flowing", "condition", "text", "no_text", "mask", "velocity"), 1)
    try:
        return max(
            write_onnx(
                TextGraph(dit.text_embed),
                weights / "text.onnx",
                [tokens(*size) for size in sizes],
                "embeddings",
                (2, None, dimension),
                lengths={"tokens": 1, "embeddings": 2},
                tolerance=TOLERANCE,
            ),
            write_onnx(
                VelocityGraph(dit),
                weights / "velocity.onnx",
                [step(*size) for size in sizes],
                "velocity",
                (None, engine.MELS),
                lengths=frames_axis,
                tolerance=TOLERANCE,
            ),
            write_onnx(
                VocoderGraph(vocos),
                weights / "vocoder.onnx",
                [{"mels": some(batch, engine.MELS, frames)} for batch, frames in sizes],
                "spectrum",
                (2, None, None),
                lengths={"mels": 2, "spectrum": 3},
                tolerance=TOLERANCE,
            ),
        )
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"The checkpoint cannot be made a graph of: {error}") from error
