"""Words with times, from the alignment of text tokens to audio frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from faster_whisper.tokenizer import Tokenizer

FRAME_S = 0.02  # the encoder halves the mel frames' 10 ms
OPENING = "\"'“¿([{-«‹„"
CLOSING = "\"'.。,，!！?？:：”)]}、»›%"
SENTENCE_ENDS = ".。!！?？"
# An alignment stretches a word over a pause beside it; no word lasts longer than this many times the usual one.
LONGEST_OVER_MEDIAN = 2.0
USUAL_WORD_MAX_S = 0.7


@dataclass(frozen=True)
class TextSpan:
    """Text tokens between two of Whisper's time stamps, in seconds from the window's start."""

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class TimedWord:
    """Times in seconds from the window's start; `text` carries the space and punctuation that came with it."""

    text: str
    start: float
    end: float
    probability: float


def align_words(
    tokenizer: Tokenizer,
    spans: Sequence[TextSpan],
    alignment: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    *,
    window_s: float,
) -> list[list[TimedWord]]:
    """The words of each span.

    `alignment` pairs token indices, counted over all spans, with encoder frames, as dynamic time warping found them;
    `probabilities` has one entry per token.
    """
    starts = _token_starts(alignment, sum(len(span.tokens) for span in spans), window_s)
    words: list[list[TimedWord]] = []
    position = 0
    for span in spans:
        texts, tokens_of_words = tokenizer.split_to_word_tokens(span.tokens)
        timed = []
        for text, of_word in zip(texts, tokens_of_words, strict=True):
            after = position + len(of_word)
            probability = float(np.mean(probabilities[position:after]))
            timed.append(TimedWord(text, starts[position], starts[after], probability))
            position = after
        words.append(within(span, join_punctuation(timed)))
    return limit_durations(words)


def _token_starts(alignment: Sequence[tuple[int, int]], tokens: int, window_s: float) -> list[float]:
    """When each token begins, and after the last one when the text ends."""
    starts = [window_s] * (tokens + 1)
    for token, frame in reversed(alignment):
        if token <= tokens:
            starts[token] = min(frame * FRAME_S, window_s)
    for token in range(tokens - 1, -1, -1):
        starts[token] = min(starts[token], starts[token + 1])
    return starts


def join_punctuation(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Closing marks join the word before them, opening ones the word after; times stay those of the word proper."""
    joined: list[TimedWord] = []
    opening = ""
    for word in words:
        mark = word.text.strip()
        closes = all(character in CLOSING for character in mark) and not (mark and word.text.startswith(" "))
        if closes and joined and not opening:
            joined[-1] = replace(joined[-1], text=joined[-1].text + word.text)
        elif mark and all(character in OPENING for character in mark):
            opening += word.text
        else:
            joined.append(replace(word, text=opening + word.text))
            opening = ""
    if opening and joined:
        joined[-1] = replace(joined[-1], text=joined[-1].text + opening)
    elif opening:
        joined.append(replace(words[-1], text=opening, start=words[0].start))
    return joined


def within(span: TextSpan, words: list[TimedWord]) -> list[TimedWord]:
    """The alignment gives the silence around a phrase to its first and last word; the time stamps know better."""
    if words and words[0].start < span.start < words[0].end:
        words[0] = replace(words[0], start=span.start)
    if words and words[-1].start < span.end < words[-1].end:
        words[-1] = replace(words[-1], end=span.end)
    return words


def limit_durations(spans: Sequence[Sequence[TimedWord]]) -> list[list[TimedWord]]:
    """Overlong words give up the pause they cover: the one before a first word, the one after a sentence's end."""
    durations = [word.end - word.start for span in spans for word in span if word.end > word.start]
    if not durations:
        return [list(span) for span in spans]
    longest = LONGEST_OVER_MEDIAN * min(float(np.median(durations)), USUAL_WORD_MAX_S)
    limited = []
    for span in spans:
        words = list(span)
        for index, word in enumerate(words):
            if word.end - word.start <= longest:
                continue
            begins = index == 0 or words[index - 1].text.rstrip()[-1:] in SENTENCE_ENDS
            ends = index == len(words) - 1 or word.text.rstrip()[-1:] in SENTENCE_ENDS
            if begins and not ends:
                words[index] = replace(word, start=word.end - longest)
            elif ends:
                words[index] = replace(word, end=word.start + longest)
        limited.append(words)
    return limited
