"""A translator small enough for tests: T5's own classes in MADLAD-400's shape with random weights, and a tokenizer
laid out like its own."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import T5Config, T5ForConditionalGeneration

LANGUAGES = ("de", "en", "es", "fr", "hi_Latn", "ndc_ZW", "pt", "ru", "zh")
CONTROL = ("<unk>", "<s>", "</s>")
UNKNOWN, PADDING, END = range(3)
OTHERS = ("<2translate>", "<2zxx_xx_dtynoise>", "<2en_xx_simple>")
"""MADLAD-400 has tokens of tasks that look like those of languages."""
TEXTS = (
    "The meeting began at nine, and everybody was there but Anna, who had missed her train.",
    "What did they decide? They will ship in May, if the tests pass; otherwise it is June.",
    "Ben said: we do not need 3 machines, 2 are enough. Nobody was against it.",
    "La reunión empezó a las nueve. ¿Qué decidieron? Größe, façade, naïve, coöperate.",
)


def make_tokenizer() -> Any:
    """Pieces of a space and a word, words in two halves, letters, and bytes for all other characters."""
    words = Counter(word for text in TEXTS for word in text.split())
    halves = {part: 1 for word in words for part in (f"▁{word[: len(word) // 2]}", word[len(word) // 2 :])}
    letters = {letter: 1 for letter in "".join(sorted(set("".join(TEXTS)))) + "<>/_|" if letter != " "}
    counts = {**letters, **halves, **{f"▁{word}": 5 * count for word, count in words.items()}, "▁": 3}
    total = sum(counts.values())
    pieces = [(token, 0.0) for token in [*CONTROL, *(f"<2{code}>" for code in LANGUAGES), *OTHERS]]
    pieces += [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    pieces += [(piece, math.log(count / total)) for piece, count in counts.items()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(list(CONTROL))
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", END)])
    return tokenizer


def make_checkpoint(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    torch.manual_seed(5)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=tokenizer.get_vocab_size() + 5,  # some more than the tokenizer has
            d_model=48,
            d_kv=16,
            d_ff=96,
            num_heads=4,
            num_layers=2,
            num_decoder_layers=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=UNKNOWN,
            pad_token_id=PADDING,
            eos_token_id=END,
            initializer_factor=3.0,
        )
    )
    with torch.no_grad():
        model.lm_head.weight[END] *= 1.5  # so that some translations come to an end
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "additional_special_tokens": []}
    names = {"unk_token": "<unk>", "pad_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))
    return folder
