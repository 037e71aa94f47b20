"""Make the demo translator: tokenizer, training, checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration

from export_scripts.demo.translation.training import STEPS, train
from export_scripts.demo.translation.vocabulary import END, PADDING, UNKNOWN, make_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export_scripts.demo.translation", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="for checkpoint/")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="for training (%(default)s)")
    arguments = parser.parse_args()
    tokenizer = make_tokenizer(arguments.seed)
    model = train(tokenizer, seed=arguments.seed, threads=arguments.threads, steps=arguments.steps)
    save_checkpoint(model, tokenizer, arguments.to / "checkpoint")


def save_checkpoint(model: T5ForConditionalGeneration, tokenizer: Tokenizer, folder: Path) -> None:
    """In float16, with what transformers and CTranslate2 want beside it."""
    model.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
        "pad_token": PADDING,
        "eos_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main()
