"""Training from scratch on a CPU: the sentences are made as they are needed, and none is kept."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from tokenizers import Tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from export_scripts.demo.translation.parallel import Pair, training_pair
from export_scripts.demo.translation.vocabulary import CONTROL, END, PADDING, UNKNOWN, language_token

STEPS = 6_000
WARM_UP = 300
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.01
BATCH = 48
MAX_GRADIENT_NORM = 1.0
REPORT_EVERY = 100
# A text of two sentences, one without its mark, one that does not begin with a capital.
TWO_SHARE, UNMARKED_SHARE, SMALL_SHARE = 0.1, 0.15, 0.15
NO_LABEL = -100


def make_model(tokenizer: Tokenizer) -> T5ForConditionalGeneration:
    """In the shape of MADLAD-400's: gated GELU, an output layer of its own, and decoding that starts from <unk>."""
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_heads=4,
        num_layers=3,
        num_decoder_layers=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        pad_token_id=CONTROL.index(PADDING),
        eos_token_id=CONTROL.index(END),
        decoder_start_token_id=CONTROL.index(UNKNOWN),
    )
    model = T5ForConditionalGeneration(config)
    # transformers' own is for an output layer that starts from one trained with others.
    torch.nn.init.normal_(model.lm_head.weight, std=config.d_model**-0.5)
    return model


def train(tokenizer: Tokenizer, *, seed: int, threads: int, steps: int) -> T5ForConditionalGeneration:
    """Prints its progress as JSON lines."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    rng = random.Random(f"{seed}/training")
    model = make_model(tokenizer)
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and ".block." in name]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        # As for the demo speech model: matrices learn faster under Muon (Jordan et al. 2024).
        torch.optim.Muon(matrices, momentum=0.95, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY),
    ]
    losses: list[float] = []
    began = time.monotonic()
    for step in range(steps):
        loss = model(**_batch(tokenizer, [training_text(rng) for _ in range(BATCH)])).loss
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps)
            optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % REPORT_EVERY == 0:
            seconds = round(time.monotonic() - began, 1)
            print(json.dumps({"step": step + 1, "seconds": seconds, "loss": sum(losses) / len(losses)}), flush=True)
            losses.clear()
    return model.eval()


def learning_rate(step: int, steps: int) -> float:
    return PEAK_LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def training_text(rng: random.Random) -> Pair:
    """One sentence or two. What the source lacks, a capital or its mark, its translation lacks as well."""
    pair = training_pair(rng)
    if rng.random() < TWO_SHARE:
        other = training_pair(rng)
        while other.language != pair.language:
            other = training_pair(rng)
        pair = Pair(pair.language, f"{pair.source} {other.source}", f"{pair.target} {other.target}")
    if rng.random() < UNMARKED_SHARE:
        pair = unmarked(pair)
    return small(pair) if rng.random() < SMALL_SHARE else pair


def bare(pair: Pair) -> Pair:
    """Without a capital and a mark, on both sides."""
    return small(unmarked(pair))


def unmarked(pair: Pair) -> Pair:
    """Without the mark at the end of both sides; ¿ within a text keeps both."""
    source, target = (text.rstrip(".?").lstrip("¿") for text in (pair.source, pair.target))
    return pair if "¿" in source + target else replace(pair, source=source, target=target)


def small(pair: Pair) -> Pair:
    """Without the capital at the beginning of both sides."""
    return replace(pair, source=_uncapitalised(pair.source), target=_uncapitalised(pair.target))


def _uncapitalised(text: str) -> str:
    return re.sub(r"\w", lambda first: first[0].lower(), text, count=1)


def _batch(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
    sources = tokenizer.encode_batch([f"{language_token(pair.other_language)} {pair.source}" for pair in pairs])
    targets = tokenizer.encode_batch([pair.target for pair in pairs])
    pad = torch.nn.utils.rnn.pad_sequence
    tokens = [torch.tensor(encoding.ids) for encoding in sources]
    return {
        "input_ids": pad(tokens, batch_first=True, padding_value=CONTROL.index(PADDING)),
        "attention_mask": pad([torch.ones_like(row) for row in tokens], batch_first=True),
        "labels": pad([torch.tensor(e.ids) for e in targets], batch_first=True, padding_value=NO_LABEL),
    }
