"""The model in training: Whisper's architecture over the compact vocabulary, and what it is taught.

Parameters have the names that transformers' WhisperForConditionalGeneration gives them under `model.`, so a checkpoint
is a copy. Three things are learnt at once: the next token; the word in each position of the encoder, without which so
small a model does not learn to listen from so little speech; and, by half of the decoder's cross-attention heads, to
look where the token is spoken, which is what word times are read from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from export_scripts.demo.speech.utterances import MEL_BINS
from export_scripts.demo.whisper import vocabulary
from export_scripts.demo.whisper.mixing import ENCODER_POSITIONS, IGNORED, Batch

DECODER_POSITIONS = 448
# The checkpoint has about so many tokens that no training text uses. They all share one embedding, and the softmax
# must know how many they are.
UNUSED_TOKENS = 2500
# How far, in positions of 20 ms, the heads of each encoder layer first look back and ahead.
FIRST_LOOKS = ((1, 3), (2, 6), (4, 10), (6, 16))


@dataclass(frozen=True)
class Shape:
    width: int = 128
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2

    @property
    def alignment_heads(self) -> list[list[int]]:
        """(layer, head) pairs of the decoder whose attention follows the speech."""
        return [[self.decoder_layers - 1, head] for head in range(self.heads // 2)]


@dataclass(frozen=True)
class Losses:
    tokens: Tensor
    words: Tensor
    attention: Tensor
    accuracy: Tensor


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)
        return split

    def _join(self, x: Tensor) -> Tensor:
        joined: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return joined

    def forward(self, x: Tensor, *, causal: bool = False) -> Tensor:
        query, key, value = self._split(self.q_proj(x)), self._split(self.k_proj(x)), self._split(self.v_proj(x))
        return self._join(functional.scaled_dot_product_attention(query, key, value, is_causal=causal))

    def across(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The answer and the log of the attention (batch, heads, tokens, positions)."""
        query, key, value = (
            self._split(self.q_proj(x)),
            self._split(self.k_proj(memory)),
            self._split(self.v_proj(memory)),
        )
        scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
        log_attention = scores.log_softmax(-1)
        return self._join(log_attention.exp().to(value.dtype) @ value), log_attention


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        raised: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + raised


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        heard, log_attention = self.encoder_attn.across(self.encoder_attn_layer_norm(x), memory)
        x = x + heard
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x)))), log_attention


class Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MEL_BINS, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.embed_positions = _positions(sinusoids(ENCODER_POSITIONS, shape.width), learnt=False)
        self.layers = nn.ModuleList(EncoderLayer(shape.width, shape.heads) for _ in range(shape.encoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)

    def forward(self, features: Tensor, offset: int = 0) -> Tensor:
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(features)))).transpose(1, 2)
        x = x + self.embed_positions.weight[offset : offset + x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.layer_norm(x)
        return normed


class TokenTable(nn.Module):
    """The embedding of each token: a capital is a step away from its word, a time stamp starts from its sinusoid."""

    base: Tensor
    is_capital: Tensor
    clock: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(vocabulary.FIRST_TIME, width) * 0.05)
        self.capital = nn.Parameter(torch.zeros(width))
        self.time = nn.Linear(width, width)
        self.time_detail = nn.Parameter(torch.zeros(vocabulary.TIME_STAMPS, width))
        nn.init.normal_(self.time.weight, std=0.1 / math.sqrt(width / 2))
        base = torch.arange(vocabulary.FIRST_TIME)
        for index, token in enumerate(vocabulary.TEXT_TOKENS):
            base[index] = vocabulary.TOKEN_IDS.get(token.lower(), index) if token.startswith(" ") else index
        step = ENCODER_POSITIONS // (vocabulary.TIME_STAMPS - 1)
        self.register_buffer("base", base, persistent=False)
        self.register_buffer("is_capital", (base != torch.arange(base.numel())).float()[:, None], persistent=False)
        self.register_buffer("clock", sinusoids(ENCODER_POSITIONS + step, width)[::step], persistent=False)

    def forward(self) -> Tensor:
        words = self.words[self.base] + self.is_capital * self.capital
        return torch.cat([words, self.time(self.clock) + self.time_detail])


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_positions = _positions(sinusoids(DECODER_POSITIONS, shape.width) * 0.3, learnt=True)
        self.layers = nn.ModuleList(DecoderLayer(shape.width, shape.heads) for _ in range(shape.decoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)

    def forward(self, inputs: Tensor, memory: Tensor, table: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = table[inputs] + self.embed_positions.weight[: inputs.shape[1]]
        attentions = []
        for layer in self.layers:
            x, log_attention = layer(x, memory)
            attentions.append(log_attention)
        logits = (self.layer_norm(x) @ table.T.to(x.dtype)).float()
        unused = logits[..., :1] + math.log(UNUSED_TOKENS)
        return torch.cat([unused, logits[..., 1:]], -1), attentions


class DemoWhisper(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)
        self.table = TokenTable(shape.width)
        self.word_of_position = nn.Linear(shape.width, len(vocabulary.SOUNDS) + 1)
        with torch.no_grad():
            self.encoder.conv1.weight.mul_(2)
            self.encoder.conv2.weight.mul_(5)
            for layer, looks in zip(self.encoder.layers, FIRST_LOOKS, strict=False):
                assert isinstance(layer, EncoderLayer)
                _look_around(layer.self_attn, looks)

    def forward(self, batch: Batch) -> Losses:
        memory = self.encoder(batch.features, batch.offset)
        words = self.word_of_position(memory).float()
        logits, attentions = self.decoder(batch.inputs, memory, self.table())
        with torch.no_grad():
            counted = batch.targets != IGNORED
            accuracy = (logits.argmax(-1) == batch.targets)[counted].float().mean()
        # The last layer looks at the token to come, the first at the one just read.
        read = torch.cat([torch.zeros_like(batch.spans[:, :1]), batch.spans[:, :-1]], 1)
        return Losses(
            tokens=functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED),
            words=functional.cross_entropy(words.flatten(0, 1), batch.position_words.flatten()),
            attention=self._guidance(attentions[-1], batch.spans) + self._guidance(attentions[0], read),
            accuracy=accuracy,
        )

    def _guidance(self, log_attention: Tensor, spans: Tensor) -> Tensor:
        """Minus the mean log attention inside each token's span, over the guided half of the heads."""
        guided = log_attention[:, : self.shape.heads // 2]
        summed = functional.pad(guided, (1, 0)).cumsum(-1)
        bounds = summed.gather(-1, spans[:, None].expand(-1, guided.shape[1], -1, -1))
        length = spans[..., 1] - spans[..., 0]
        inside = (bounds[..., 1] - bounds[..., 0]) / length.clamp(min=1)[:, None]
        counted = (length > 0)[:, None].expand_as(inside)
        return -inside[counted].mean() if bool(counted.any()) else log_attention.sum() * 0


def _positions(table: Tensor, *, learnt: bool) -> nn.Embedding:
    embedding = nn.Embedding(*table.shape)
    embedding.weight = nn.Parameter(table, requires_grad=learnt)
    return embedding


def sinusoids(positions: int, width: int) -> Tensor:
    """Whisper's position table (positions, width): sines, then cosines, of falling frequencies."""
    frequencies = _frequencies(width)
    angles = torch.arange(positions)[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def _frequencies(width: int) -> Tensor:
    return torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))


def _look_around(attention: Attention, distances: tuple[int, int]) -> None:
    """Start the heads looking at positions a fixed distance away, two back and two ahead.

    Keys read the fastest sines and cosines of a position, queries the same turned by the distance, so their product
    peaks there. Sound is local; from random weights this takes most of a short training to be found.
    """
    width = attention.q_proj.weight.shape[1]
    size = width // attention.heads
    frequencies = _frequencies(width)
    for head in range(attention.heads):
        distance = distances[head // 2 % 2] * (1 if head % 2 == 0 else -1)
        key, query = torch.zeros(size, width), torch.zeros(size, width)
        for index in range(size // 2):
            sine, cosine = index, width // 2 + index
            angle = float(frequencies[index]) * distance
            key[2 * index, sine] = key[2 * index + 1, cosine] = 1
            query[2 * index, sine], query[2 * index, cosine] = math.cos(angle), math.sin(angle)
            query[2 * index + 1, sine], query[2 * index + 1, cosine] = -math.sin(angle), math.cos(angle)
        rows = slice(head * size, (head + 1) * size)
        for projection, start in ((attention.k_proj, key), (attention.q_proj, query)):
            projection.weight[rows] = projection.weight[rows] * 0.1 + 1.5 * start
