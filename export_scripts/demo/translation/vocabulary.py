"""A tokenizer in the manner of MADLAD-400's: unigram pieces, and one for each language to translate into."""

from __future__ import annotations

import math
import random
import string
from collections import Counter

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from export_scripts.demo.translation.parallel import training_pair

CONTROL = UNKNOWN, PADDING, END = "<unk>", "<s>", "</s>"
"""In the order of their numbers."""
LANGUAGES = ("en", "es")
SPACE = "▁"
SENTENCES = 100_000
MARKS = ".?"
LETTERS = string.ascii_letters + string.digits + string.punctuation + "áéíóúñüÁÉÍÓÚÑÜ¿¡"
LETTER_SCORE = -20.0
"""Of a letter by itself: a word is spelled out only where it is not known."""


def language_token(language: str) -> str:
    return f"<2{language}>"


def make_tokenizer(seed: int) -> Tokenizer:
    """The vocabulary is closed, so its words are the pieces, as likely as they are frequent."""
    words = _word_counts(seed)
    total = words.total()
    pieces = [(token, 0.0) for token in [*CONTROL, *map(language_token, LANGUAGES)]]
    pieces += [(f"{SPACE}{word}", math.log(count / total)) for word, count in words.most_common()]
    pieces += [(mark, -1.0) for mark in MARKS] + [(SPACE, -1.0)]
    pieces += [(letter, LETTER_SCORE) for letter in LETTERS if letter not in MARKS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens(list(CONTROL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", END], special_tokens=[(END, CONTROL.index(END))]
    )
    return tokenizer


def _word_counts(seed: int) -> Counter[str]:
    rng = random.Random(f"{seed}/vocabulary")
    words: Counter[str] = Counter()
    for _ in range(SENTENCES):
        pair = training_pair(rng)
        for text in (pair.source, pair.target):
            bare = text.translate({ord(mark): " " for mark in MARKS})
            words.update([*bare.split(), bare.split()[0].lower()])
    return words
