"""What a decoder is told before it begins: terms that may well be said, and what was said just before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PROMPT_TOKENS = (
    223  # half of the decoder's 448 positions less one, which Whisper leaves to the text before a window
)


def fitting(terms: Sequence[Sequence[int]], earlier: Sequence[int], room: int = MAX_PROMPT_TOKENS) -> list[int]:
    """The terms, as tokens, that fit, each of them whole and in their order; then the latest of what was said earlier,
    in the room that is left."""
    prompt: list[int] = []
    for term in terms:
        if len(prompt) + len(term) <= room:
            prompt += term
    room -= len(prompt)
    return prompt + list(earlier[-room:] if room else [])
