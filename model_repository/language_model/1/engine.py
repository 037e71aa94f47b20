"""A chat model over CTranslate2: several conversations in one call, each answer handed out as it is written.

A call is as long as its longest answer, so whoever runs the engine runs several calls side by side.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import ctranslate2
import msgspec
from chat_prompt import ChatPrompt
from detokenizer import Detokenizer
from tokenizers import Tokenizer

# CTranslate2 reads the prompts of a call at once up to the shortest one's end, and the rest of the others token by
# token. So many of those cost less than a call more.
MOST_TOKENS_APART = 64
LOWEST_TEMPERATURE = 0.01  # below it the likeliest token is all but certain, and logits overflow


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class CompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a language model is asked. Temperature 0 takes the likeliest token each time."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 512
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class CompletionChunk(msgspec.Struct, frozen=True):
    """A piece of an answer. The last one has `finish`: at its own end, or where `max_tokens` or the context ended."""

    text: str = ""
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chat(msgspec.Struct, frozen=True):
    """chat.json: how the checkpoint is talked to. An answer ends at any of `end_tokens`."""

    template: str
    variables: dict[str, str | bool]
    end_tokens: list[int]
    context_tokens: int


class Reader(Protocol):
    """Whoever waits for an answer. Neither method raises."""

    def send(self, chunk: CompletionChunk) -> None: ...

    def has_gone(self) -> bool: ...


class Sampling(NamedTuple):
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Prompt:
    """A request that fits into the context, its answer included."""

    tokens: list[int]
    max_tokens: int
    sampling: Sampling


class LanguageModelEngine:
    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        compute_type: str = "default",
        threads: int = 0,
        parallel_batches: int = 1,
    ) -> None:
        """`weights` holds CTranslate2's files, tokenizer.json and chat.json. `threads` are those of one batch.
        `parallel_batches` are worked on side by side, on one copy of the weights: a long one holds up no short one."""
        self._generator = ctranslate2.Generator(
            str(weights),
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            inter_threads=parallel_batches,
            intra_threads=threads,
        )
        chat = msgspec.json.decode((weights / "chat.json").read_bytes(), type=Chat)
        self.context_tokens = chat.context_tokens
        self._end_tokens = frozenset(chat.end_tokens)
        # An answer needs a token, and its end another.
        most_tokens = chat.context_tokens - 2
        self._prompt = ChatPrompt(weights / "tokenizer.json", chat.template, chat.variables, most_tokens)
        self._tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
        self._spelling: list[str] = json.loads((weights / "vocabulary.json").read_bytes())
        self._byte_tokens = frozenset(
            number for number, token in enumerate(self._spelling) if re.fullmatch("<0x[0-9A-F]{2}>", token)
        )
        self._stopping = threading.Event()

    def prepare(self, request: CompletionRequest) -> Prompt:
        """Raises RequestError."""
        tokens = self._prompt.encode(msgspec.to_builtins(request.messages))
        greedy = request.temperature < LOWEST_TEMPERATURE
        return Prompt(
            tokens,
            min(request.max_tokens, self.context_tokens - len(tokens)),
            Sampling(0.0, 1.0) if greedy else Sampling(request.temperature, request.top_p),
        )

    def complete(self, prompts: Sequence[Prompt], readers: Sequence[Reader]) -> int:
        """How many tokens were written when every reader had an answer or had gone.

        The prompts are ones that `together` put together.
        """
        answers = [self._answer(prompt, reader) for prompt, reader in zip(prompts, readers, strict=True)]
        temperature, top_p = prompts[0].sampling
        stopping = self._stopping

        def take(step: Any) -> bool:
            # CTranslate2's thread lets go of this function when the call may have returned already. It must not hold
            # the engine: a generator that is freed by a thread of its own waits for itself.
            return stopping.is_set() or answers[step.batch_id].take(step.token_id)

        self._generator.generate_batch(
            [[self._spelling[token] for token in prompt.tokens] for prompt in prompts],
            include_prompt_in_result=False,
            max_length=max(prompt.max_tokens for prompt in prompts),
            end_token=sorted(self._end_tokens),
            sampling_topk=0 if temperature else 1,
            sampling_topp=top_p,
            sampling_temperature=temperature or 1.0,
            callback=take,
        )
        return sum(answer.written for answer in answers)

    def stop(self) -> None:
        """Calls that run return at the next token."""
        self._stopping.set()

    def _answer(self, prompt: Prompt, reader: Reader) -> _Answer:
        return _Answer(prompt, reader, Detokenizer(self._tokenizer, self._byte_tokens), self._end_tokens)


class _Answer:
    """One that is being written."""

    def __init__(self, prompt: Prompt, reader: Reader, text: Detokenizer, end_tokens: frozenset[int]) -> None:
        self._prompt = prompt
        self._reader = reader
        self._text = text
        self._end_tokens = end_tokens
        self.written = 0

    def take(self, token: int) -> bool:
        """Hand on what the token says; True where that was all."""
        if self._reader.has_gone():
            return True
        if token in self._end_tokens:
            self._end(self._text.rest(), "stop")
            return True
        self.written += 1
        text = self._text.push(token)
        if self.written == self._prompt.max_tokens:
            self._end(text + self._text.rest(), "length")
            return True
        if text:
            self._reader.send(CompletionChunk(text))
        return False

    def _end(self, text: str, finish: Literal["stop", "length"]) -> None:
        self._reader.send(CompletionChunk(text, finish, len(self._prompt.tokens), self.written))


def together(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Which prompts to complete in one call, by their index: those sampled alike that are about as long."""
    groups: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=lambda index: (prompts[index].sampling, len(prompts[index].tokens))):
        if groups and _mix(prompts[groups[-1][0]], prompts[index]):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _mix(shortest: Prompt, longer: Prompt) -> bool:
    apart = len(longer.tokens) - len(shortest.tokens)
    return shortest.sampling == longer.sampling and apart <= MOST_TOKENS_APART
