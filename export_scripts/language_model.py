"""A chat model's checkpoint as a version that Triton serves through CTranslate2.

Takes a Hugging Face checkpoint with a chat template, such as Qwen/Qwen2.5-1.5B-Instruct, from a local folder or by its
hub id. What the converted model answers is compared with what the checkpoint itself does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters import TransformersConverter
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.checkpoint import Checkpoint, find_checkpoint
from export_scripts.engines import load_engine

COMPUTE_TYPES = ("float32", "float16", "int8", "int8_float16")
CONTEXT_TOKENS = 8192
SHORTEST_CONTEXT_TOKENS = 256
BATCH_SIZE = 16
CPU_BATCH_SIZE = 4  # each conversation in a batch keeps its keys and values: of 8192 tokens, some hundred MB
PARALLEL_BATCHES = 2
# What the conversion is tried on: with and without a system message, a longer conversation, letters of other scripts.
TRIALS = (
    [{"role": "user", "content": "Name three colours."}],
    [{"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": "What is a meeting for?"}],
    [
        {"role": "system", "content": "Summarise what was said.\n\nKeep names and numbers."},
        {"role": "user", "content": "Anna: We ship on 12 May — São Paulo first, then 東京.\nBen: I will tell Zoë. 🎉"},
        {"role": "assistant", "content": "They ship on 12 May."},
        {"role": "user", "content": "  Who tells whom?  "},
    ],
)
TRIAL_TOKENS = 32


@dataclass(frozen=True)
class Agreement:
    """How many tokens that the checkpoint writes are the converted model's choice as well, behind those before them."""

    agreeing_tokens: int
    tokens: int


def read_chat(checkpoint: Path, context_tokens: int) -> dict[str, Any]:
    """What chat.json says of a checkpoint: see Chat in the engine."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    except (ValueError, OSError, KeyError, StrictDataclassError) as error:
        raise ExportError(f"{checkpoint} is not a checkpoint of a language model: {error}") from error
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise ExportError(
            f"{checkpoint} has no chat template, so it was not made to be talked to: "
            "take the checkpoint whose name ends in Instruct, Chat or it."
        ) from error
    ends = [tokenizer.eos_token_id, config.eos_token_id]
    if (checkpoint / "generation_config.json").exists():
        ends.append(GenerationConfig.from_pretrained(checkpoint).eos_token_id)
    end_tokens = {end for of in ends for end in (of if isinstance(of, list) else [of]) if end is not None}
    if not end_tokens:
        raise ExportError(f"{checkpoint} names no token that ends an answer.")
    return {
        "template": template,
        # Models that would think aloud first are asked not to: whoever reads the answer waits.
        "variables": {**_special_tokens(tokenizer), "enable_thinking": False},
        "end_tokens": sorted(end_tokens),
        "context_tokens": min(getattr(config, "max_position_embeddings", context_tokens), context_tokens),
    }


def _special_tokens(tokenizer: Any) -> dict[str, str]:
    """bos_token, eos_token, …, as templates call them."""
    return {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def convert(checkpoint: Checkpoint, weights: Path, compute_type: str, context_tokens: int) -> dict[str, Any]:
    """Write CTranslate2 weights with tokenizer.json and chat.json into the new folder `weights`; gives chat.json."""
    if not (checkpoint.folder / "tokenizer.json").exists():
        raise ExportError(
            f"{checkpoint.folder} has no tokenizer.json. With transformers, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it."
        )
    chat = read_chat(checkpoint.folder, context_tokens)
    disable_progress_bar()
    try:
        TransformersConverter(str(checkpoint.folder)).convert(str(weights), quantization=compute_type)
    except (ValueError, OSError, KeyError, AttributeError, NotImplementedError) as error:
        raise ExportError(f"{checkpoint.folder} is not a checkpoint that CTranslate2 converts: {error}") from error
    vocabulary = json.loads((weights / "vocabulary.json").read_bytes())
    if len(set(vocabulary)) < len(vocabulary):
        raise ExportError(f"{checkpoint.folder} has several tokens with one spelling.")
    shutil.copy(checkpoint.folder / "tokenizer.json", weights)
    (weights / "chat.json").write_text(json.dumps(chat, indent=2) + "\n")
    return chat


def compare(checkpoint: Path, weights: Path, compute_type: str) -> Agreement:
    """Raises ExportError where the engine reads a conversation otherwise than the checkpoint does."""
    chat = json.loads((weights / "chat.json").read_bytes())
    chat_prompt = load_engine("language_model").ChatPrompt(
        weights / "tokenizer.json", chat["template"], chat["variables"], CONTEXT_TOKENS
    )
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    # In its own precision where the converted one has another anyway: the full one may not fit into memory.
    dtype = torch.float32 if compute_type == "float32" else "auto"
    original = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    converted = ctranslate2.Generator(str(weights), device="cpu")  # float16 as float32 here, rounded as it is
    spelling = json.loads((weights / "vocabulary.json").read_bytes())
    agreeing = tokens = 0
    for messages in TRIALS:
        try:
            prompt = chat_prompt.encode(messages)
        except ValueError as error:
            raise ExportError(f"{checkpoint} does not take every conversation: {error}") from error
        if prompt != tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, enable_thinking=False
        ):
            raise ExportError(f"{checkpoint} has a tokenizer that this engine reads otherwise than transformers does.")
        expected = _original_answer(original, prompt, chat["end_tokens"])
        spelled = [spelling[token] for token in [*prompt, *expected[:-1]]]
        choices = _likeliest(converted, spelled, after=len(prompt) - 1)
        agreeing += sum(choice == token for choice, token in zip(choices, expected, strict=True))
        tokens += len(expected)
    return Agreement(agreeing, tokens)


def _original_answer(model: Any, prompt: list[int], end_tokens: list[int]) -> list[int]:
    greedy = GenerationConfig(
        do_sample=False,
        repetition_penalty=1.0,  # CTranslate2's would leave out the prompt
        max_new_tokens=TRIAL_TOKENS,
        eos_token_id=end_tokens,
        pad_token_id=end_tokens[0],
    )
    tokens = torch.tensor([prompt])
    with torch.inference_mode():
        (answer,) = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=greedy)
    written: list[int] = answer[len(prompt) :].tolist()
    return written


def _likeliest(converted: Any, spelled: list[str], after: int) -> list[int]:
    """The token that the model would write behind each, from the one at `after` on."""
    logits = np.asarray(converted.forward_batch([spelled]))[0]
    likeliest: list[int] = logits[after:].argmax(axis=-1).tolist()
    return likeliest


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export language_model", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder, or a hub id such as Qwen/Qwen2.5-1.5B-Instruct")
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--compute-type", choices=COMPUTE_TYPES, help="int8 for CPU and float16 for GPU by default")
    parser.add_argument("--cpu-threads", type=int, help="of each batch on a CPU; by default what suits this machine")
    parser.add_argument(
        "--parallel-batches",
        type=int,
        default=PARALLEL_BATCHES,
        help="batches that an instance works on at the same time (%(default)s)",
    )
    parser.add_argument(
        "--context-tokens",
        type=int,
        default=CONTEXT_TOKENS,
        help="the most that a conversation and its answer may have, if the checkpoint takes so many (%(default)s)",
    )
    parser.add_argument("--display-name", help="the name that is shown; the checkpoint's own by default")
    add_target_arguments(parser, name="language_model", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    for option in ("cpu_threads", "parallel_batches"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise ExportError(f"--{option.replace('_', '-')} must be at least 1.")
    if arguments.context_tokens < SHORTEST_CONTEXT_TOKENS:
        raise ExportError(f"--context-tokens must be at least {SHORTEST_CONTEXT_TOKENS}.")
    compute_type = arguments.compute_type or ("float16" if to.device == "gpu" else "int8")
    if to.device == "cpu" and compute_type not in ctranslate2.get_supported_compute_types("cpu"):
        raise ExportError(f"--compute-type {compute_type} is for GPUs: add --device gpu, or take float32 or int8.")
    checkpoint = find_checkpoint(arguments.checkpoint, arguments.revision)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        chat = convert(checkpoint, weights, compute_type, arguments.context_tokens)
        agreement = compare(checkpoint.folder, weights, compute_type)
        if compute_type == "float32" and agreement.agreeing_tokens < agreement.tokens:
            raise ExportError(
                f"The converted model writes otherwise than the checkpoint: of {agreement.tokens} tokens "
                f"{agreement.agreeing_tokens} are the same."
            )
        # Batches side by side share an instance's weights, so one instance is enough, with all processors.
        placement = place(replace(to, instances=to.instances or 1), weights, threads=arguments.cpu_threads)
        version = write_version(
            "language_model",
            to,
            weights,
            instances=placement.instances,
            card={
                "name": arguments.display_name or checkpoint.origin.rsplit("/", 1)[-1],
                "context_tokens": chat["context_tokens"],
            },
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "greedy_agreement": asdict(agreement),
            },
            packages=("ctranslate2", "transformers", "torch", "tokenizers", "jinja2"),
            parameters={
                "compute_type": compute_type,
                "cpu_threads": placement.threads,
                "parallel_batches": arguments.parallel_batches,
            },
        )
    print(f"{to.name} version {to.version}: {version}")
    print(
        f"Of {agreement.tokens} tokens that the checkpoint writes, {agreement.agreeing_tokens} are its choice as well."
    )
