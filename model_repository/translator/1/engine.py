"""A translator over CTranslate2: the texts of many requests, each into the language that it asks for, in shared runs.

Texts of about the same length share a run, whatever they are translated into, because the target language is but a
token of the source. A request is answered with the run that its last text is in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ctranslate2
import msgspec
from translation_tokens import Tokens

MAX_TEXTS = 256
MAX_TEXT_BYTES = 16_384
MAX_REQUEST_BYTES = 1024 * 1024
# Translators are trained on sentences: in longer texts they leave things out, and attention costs the square of it. But
# a sentence of 400 characters, none of which the vocabulary has, is spelt in 1,600 bytes.
MAX_TEXT_TOKENS = 2048
# A model that has lost its way repeats itself for ever. No language needs so many tokens for what was said in one.
TRANSLATION_RATIO = 3
TRANSLATION_ALLOWANCE = 16
# Tokens of one run, padding among them: each has its keys and values in every layer of the decoder.
CPU_RUN_TOKENS = 1024
GPU_RUN_TOKENS = 4096

Tokenised = list[int]


class RequestError(ValueError):
    """One request cannot be answered; the others in its batch can."""


class TranslationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target` is one of the languages in the model's card."""

    target: str


class Place(NamedTuple):
    """Of a text: the request, by its number, and where in it the text stands."""

    request: int
    position: int


class TranslatorEngine:
    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        compute_type: str = "default",
        threads: int = 0,
        parallel_batches: int = 1,
        beam_size: int = 1,
    ) -> None:
        """`weights` holds CTranslate2's files, tokenizer.json and tokens.json. `threads` are those of one batch.
        `parallel_batches` are worked on side by side, on one copy of the weights: a long one holds up no short one."""
        self._translator = ctranslate2.Translator(
            str(weights),
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            inter_threads=parallel_batches,
            intra_threads=threads,
        )
        self._beam_size = beam_size
        self._run_tokens = GPU_RUN_TOKENS if device == "cuda" else CPU_RUN_TOKENS
        self._tokens = Tokens(weights)
        self._spelling: list[str] = json.loads((weights / "shared_vocabulary.json").read_bytes())
        self._numbers = {token: number for number, token in enumerate(self._spelling)}
        self._decoder = msgspec.json.Decoder(TranslationOptions)
        self.languages = self._tokens.languages

    def prepare(self, texts: Sequence[bytes], options: bytes) -> list[Tokenised]:
        """What the model reads of each text, with its target; nothing of an empty one. Raises RequestError."""
        target = self._target(options)
        prepared: list[Tokenised] = []
        for text in _checked(texts):
            tokens = self._tokens.encode(text)
            if len(tokens) > MAX_TEXT_TOKENS:
                raise RequestError(
                    f"A text has at most {MAX_TEXT_TOKENS} tokens; one has {len(tokens)}. Send it sentence by sentence."
                )
            prepared.append(self._tokens.source(tokens, target) if tokens else [])
        return prepared

    def translate(
        self, requests: Sequence[Sequence[Tokenised]], has_gone: Callable[[int], bool] = lambda _: False
    ) -> Iterator[tuple[int, list[str]]]:
        """The number of each request with its translations, as soon as it has all of them.

        Before every run `has_gone` is asked of the requests in it; what nobody waits for any more is not translated.
        """
        translations = [[""] * len(texts) for texts in requests]
        left = [sum(map(bool, texts)) for texts in requests]
        yield from ((number, translations[number]) for number, texts in enumerate(left) if not texts)
        places = [Place(*place) for place in _places(requests)]
        for run in equal_runs([len(requests[request][position]) for request, position in places], self._run_tokens):
            waiting = {request for request in {places[index].request for index in run} if not has_gone(request)}
            asked = [places[index] for index in run if places[index].request in waiting]
            sources = [requests[request][position] for request, position in asked]
            for (request, position), text in zip(asked, self._run(sources), strict=True):
                translations[request][position] = text
                left[request] -= 1
                if not left[request]:
                    yield request, translations[request]

    def _run(self, sources: Sequence[Tokenised]) -> list[str]:
        if not sources:
            return []
        results = self._translator.translate_batch(
            [[self._spelling[token] for token in source] for source in sources],
            beam_size=self._beam_size,
            max_input_length=0,
            min_decoding_length=0,
            max_decoding_length=max(longest_translation(len(source)) for source in sources),
        )
        # The longest text's translation may be the longest; what another one goes on with had it lost its way is cut.
        written = (
            result.hypotheses[0][: longest_translation(len(source))]
            for result, source in zip(results, sources, strict=True)
        )
        return [self._tokens.decode([self._numbers[token] for token in tokens]) for tokens in written]

    def _target(self, options: bytes) -> str:
        try:
            target = self._decoder.decode(options).target
        except msgspec.ValidationError as error:
            raise RequestError(f"OPTIONS: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(f"OPTIONS is not JSON: {error}") from error
        if target not in self.languages:
            raise RequestError(f"The model does not translate into {target!r}.")
        return target


def longest_translation(source_tokens: int) -> int:
    """In tokens."""
    return TRANSLATION_RATIO * source_tokens + TRANSLATION_ALLOWANCE


def equal_runs(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The indices of all lengths, each in one run with others of about its length.

    A run has at most `most_tokens` when all in it are as long as its longest; what is longer by itself runs alone.
    """
    run: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if run and (len(run) + 1) * lengths[index] > most_tokens:
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _places(requests: Sequence[Sequence[Tokenised]]) -> Iterator[tuple[int, int]]:
    for request, texts in enumerate(requests):
        yield from ((request, position) for position, source in enumerate(texts) if source)


def _checked(texts: Sequence[bytes]) -> list[str]:
    """Raises RequestError."""
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise RequestError(f"TEXTS must hold 1 to {MAX_TEXTS} texts; it holds {len(texts)}.")
    if max(map(len, texts)) > MAX_TEXT_BYTES:
        raise RequestError(f"A text has at most {MAX_TEXT_BYTES} bytes; one has {max(map(len, texts))}.")
    if sum(map(len, texts)) > MAX_REQUEST_BYTES:
        raise RequestError(f"TEXTS has at most {MAX_REQUEST_BYTES} bytes in all; it has {sum(map(len, texts))}.")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError as error:
        raise RequestError(f"TEXTS must be UTF-8: {error}.") from error
