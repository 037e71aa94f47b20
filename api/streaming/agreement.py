"""Which words of a growing phrase will stay: LocalAgreement-2.

Macháček, Dabre and Bojar 2023, "Turning Whisper into Real-Time Transcription System", section 3: a word is committed
once two hypotheses in a row agree on it and on all before it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from api.speech import Word, is_spoken, text_of


class LocalAgreement:
    """Takes each new hypothesis of the whole phrase. What is `committed` only ever grows, and so does its text."""

    def __init__(self, committed: Sequence[Word] = ()) -> None:
        self._committed = list(committed)
        self._tail: Sequence[Word] = ()

    @property
    def committed(self) -> tuple[Word, ...]:
        return tuple(self._committed)

    @property
    def committed_text(self) -> str:
        """Without the punctuation at its end: a full stop, say, which is often only due to the end of the audio."""
        return _bare(text_of(self._committed))

    @property
    def text(self) -> str:
        """With what the newest hypothesis says after what is committed."""
        return text_of([*self._committed, *self._tail])

    def add(self, hypothesis: Sequence[Word]) -> None:
        end = end_of(self._committed, hypothesis)
        if end and self._committed and hypothesis[end - 1].key == self._committed[-1].key:
            self._committed[-1] = _punctuated(self._committed[-1], hypothesis[end - 1])
        tail = hypothesis[end:]
        pairs = zip(self._tail, tail, strict=False)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0].key == pair[1].key, pairs))
        self._committed += tail[:agreed]
        self._tail = tail[agreed:]


def end_of(beginning: Sequence[Word], words: Sequence[Word]) -> int:
    """How many of the words say what `beginning` says: the prefix with the least edit distance to it, or the longest
    such, since a word that differs was more likely heard differently than left out."""
    expected = [word.key for word in beginning]
    if [word.key for word in words[: len(expected)]] == expected:
        return len(expected)
    # Row by row of the Levenshtein matrix: distances of all of `beginning` to each prefix of `words`.
    column = list(range(len(expected) + 1))
    distances = [column[-1]]
    for word in words:
        previous, column = column, [column[0] + 1]
        for index, key in enumerate(expected):
            column.append(min(previous[index] + (key != word.key), previous[index + 1] + 1, column[index] + 1))
        distances.append(column[-1])
    least = min(distances)
    return max(length for length, distance in enumerate(distances) if distance == least)


def _bare(text: str) -> str:
    end = next((index for index in range(len(text), 0, -1) if is_spoken(text[index - 1])), 0)
    return text[:end]


def _punctuated(word: Word, newer: Word) -> Word:
    """The word with the punctuation that the newer one has behind it."""
    return replace(newer, text=_bare(word.text) + newer.text[len(_bare(newer.text)) :])
