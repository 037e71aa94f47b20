"""How right a transcript is."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer

# Case and punctuation are not counted.
WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),  # type: ignore[no-untyped-call]
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Substituted, missing and added words, over the words of all references together."""
    return float(jiwer.wer(list(references), list(hypotheses), reference_transform=WORDS, hypothesis_transform=WORDS))
