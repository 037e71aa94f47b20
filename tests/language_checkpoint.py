"""A chat model small enough for tests: Qwen2's own classes with random weights, and a tokenizer trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

START, END, NOTHING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTROL = (START, END, NOTHING, "<tool_call>", "</tool_call>")
VOCABULARY = 700
CONTEXT_TOKENS = 8192
# How Qwen's models are talked to, in ChatML.
TEMPLATE = """
{%- if messages[0].role != "system" -%}
    {{ "<|im_start|>system\\nYou write minutes.<|im_end|>\\n" }}
{%- endif -%}
{%- for message in messages -%}
    {{ "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\\n" }}
{%- endif -%}
"""
TEXTS = (
    "The meeting began at nine, and everybody was there but Anna, who had missed her train.",
    "What did they decide? They'll ship in May, if the tests pass; otherwise it's June.",
    'Ben said: "We don\'t need 3 machines, 2 are enough." Nobody was against it.',
    "La reunión empezó a las nueve. ¿Qué decidieron? Größe, façade, naïve, coöperate.",
    "会議は九時に始まりました。 Встреча началась в девять. 🎉🎉 ok 👍",
)


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def byte_level_tokenizer() -> Any:
    """As Qwen's: byte-level BPE, with tokens for control and others for tools."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r"'\w+|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens([NOTHING, START, END])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "    "])
    return tokenizer


def byte_fallback_tokenizer() -> Any:
    """As Llama's and Mistral's: words with their space before them, and rare characters in bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:4], trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(description))


def make_checkpoint(folder: Path) -> Path:
    """One whose answers have no end of their own: the rows of the end tokens are zero, and others are larger."""
    tokenizer = byte_level_tokenizer()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=NOTHING)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    ends = [tokenizer.token_to_id(END), tokenizer.token_to_id(NOTHING)]
    torch.manual_seed(7)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,  # some more than the tokenizer has, as in Qwen's
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=False,
            initializer_range=0.4,
            eos_token_id=ends[0],
            bos_token_id=ends[1],
        )
    )
    with torch.no_grad():
        model.lm_head.weight[ends] = 0
    model.generation_config = GenerationConfig(eos_token_id=ends, repetition_penalty=1.1)
    model.save_pretrained(folder)
    return folder
