"""A MADLAD-400's checkpoint as a version that Triton serves through CTranslate2.

Takes a T5 of Hugging Face's layout that translates into the language whose token stands before a text, such as
google/madlad400-3b-mt with its "<2es> Good morning.", from a local folder or by its hub id. What the converted model
writes is compared with what the checkpoint itself does.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from ctranslate2.converters import TransformersConverter
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders
from transformers import AutoConfig, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.checkpoint import Checkpoint, find_checkpoint
from export_scripts.engines import load_engine

COMPUTE_TYPES = ("float32", "float16", "bfloat16", "int8", "int8_float16", "int8_bfloat16")
# T5's activations leave float16's range; MADLAD-400 was trained in bfloat16.
GPU_COMPUTE_TYPE = "bfloat16"
BATCH_SIZE = 32
CPU_BATCH_SIZE = 8  # a lone sentence would wait for the batch that is being worked on
PARALLEL_BATCHES = 2
LANGUAGE_TOKEN = re.compile(r"<2([a-z]{2,3}(?:[_-][A-Za-z0-9]+)*)>")
# MADLAD-400 has tokens for noise and for simplified English, too: zxx_xx_dtynoise, en_xx_simple.
NO_LANGUAGE = re.compile(r"^zxx|[_-]xx(?:[_-]|$)")
CONTROL_TOKEN = re.compile(r"<2[^<>\s]+>|<extra_id_\d+>")
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
# What the conversion is tried on: few words and more, marks, numbers, letters of other scripts, and space.
TRIALS = (
    "Good morning everyone.",
    "The budget is twenty one and the price is forty six.",
    "We ship on 12 May — São Paulo first, then Zürich: 3.5 % more, or 1,200 €?",
    "  Спасибо,\n東京で会いましょう。 नमस्ते 🎉  ",
)
TRIAL_LANGUAGES = 3
TRIAL_TOKENS = 48


@dataclass(frozen=True)
class Agreement:
    """How many tokens that the converted model writes are the checkpoint's choice as well, behind those before them."""

    agreeing_tokens: int
    tokens: int


@dataclass(frozen=True)
class Reading:
    """How a checkpoint reads a text: its own tokenizer, and what tokens.json says (see Layout in the engine)."""

    tokenizer: Any
    layout: dict[str, Any]


def read(checkpoint: Path) -> Reading:
    """Raises ExportError."""
    file = checkpoint / "tokenizer.json"
    if not file.exists():
        raise ExportError(
            f"{checkpoint} has no tokenizer.json. With transformers, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it."
        )
    try:
        config = AutoConfig.from_pretrained(checkpoint)
        # Not AutoTokenizer: transformers 5 makes a T5's anew, with <unk> where T5 has it and MADLAD-400 has </s>, and
        # without its bytes for rare characters.
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ExportError(f"{checkpoint} is not a checkpoint of a translator: {error}") from error
    if config.model_type != "t5":
        raise ExportError(f"{checkpoint} is a {config.model_type}; T5 alone, as MADLAD-400 is, can be served.")
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    languages = {found[1]: number for token, number in vocabulary.items() if (found := LANGUAGE_TOKEN.fullmatch(token))}
    languages = {code: number for code, number in languages.items() if not NO_LANGUAGE.search(code)}
    if not languages:
        raise ExportError(
            f"{checkpoint} has no token of a language such as <2en>, so it was not made to translate: "
            "take a checkpoint such as google/madlad400-3b-mt."
        )
    added = {token["content"]: int(token["id"]) for token in json.loads(tokenizer.to_str())["added_tokens"]}
    control = {number for token, number in vocabulary.items() if CONTROL_TOKEN.fullmatch(token)}
    control |= {*added.values(), config.eos_token_id, config.pad_token_id, config.decoder_start_token_id}
    layout = {
        "languages": dict(sorted(languages.items())),
        "lead": _lead(tokenizer, languages),
        "end": config.eos_token_id,
        "control": sorted(control - {None}),
    }
    return Reading(tokenizer, layout)


def _lead(tokenizer: Any, languages: dict[str, int]) -> list[int]:
    """The tokens before that of a language; MADLAD-400 has that of a space there."""
    language, number = next(iter(languages.items()))
    tokens: list[int] = tokenizer.encode(f"<2{language}> word").ids
    if number not in tokens:
        raise ExportError(f"The checkpoint's tokenizer does not read its own token <2{language}>.")
    return tokens[: tokens.index(number)]


def plain_tokenizer(reading: Reading) -> Any:
    """One that reads every control token as the characters that it is written with.

    It has the same numbers; of the control tokens the spelling has a space in it, and no piece of a text has that.
    """
    description = json.loads(reading.tokenizer.to_str())
    model = description["model"]
    if model["type"] != "Unigram":
        raise ExportError(
            f"The checkpoint's tokenizer is a {model['type']}; only SentencePiece's Unigram can be served."
        )
    control = set(reading.layout["control"])
    model["vocab"] = [
        [f"control {number}", score] if number in control else [piece, score]
        for number, (piece, score) in enumerate(model["vocab"])
    ]
    # As SentencePiece does; tokenizers' converter for T5 leaves it out.
    model["byte_fallback"] = set(BYTE_TOKENS) <= {piece for piece, _ in model["vocab"]}
    tokenizer: Any = Tokenizer.from_str(json.dumps({**description, "added_tokens": [], "post_processor": None}))
    if model["byte_fallback"]:
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), tokenizer.decoder])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def convert(checkpoint: Checkpoint, weights: Path, compute_type: str) -> Reading:
    """Write CTranslate2 weights with tokenizer.json and tokens.json into the new folder `weights`."""
    reading = read(checkpoint.folder)
    plain = plain_tokenizer(reading)
    disable_progress_bar()
    try:
        TransformersConverter(str(checkpoint.folder)).convert(str(weights), quantization=compute_type)
    except (ValueError, OSError, KeyError, AttributeError, NotImplementedError, SafetensorError) as error:
        raise ExportError(f"{checkpoint.folder} is not a checkpoint that CTranslate2 converts: {error}") from error
    vocabulary = json.loads((weights / "shared_vocabulary.json").read_bytes())
    own = reading.tokenizer.get_vocab()
    if len(set(vocabulary)) < len(vocabulary) or any(vocabulary[number] != token for token, number in own.items()):
        raise ExportError(f"{checkpoint.folder} has several tokens with one spelling, or tokens without a number.")
    plain.save(str(weights / "tokenizer.json"), pretty=False)
    (weights / "tokens.json").write_text(json.dumps(reading.layout) + "\n")
    return reading


def compare(checkpoint: Path, weights: Path, reading: Reading, compute_type: str) -> Agreement:
    """Raises ExportError where the engine reads a text otherwise than the checkpoint does."""
    sources = trial_sources(weights, reading)
    spelling = json.loads((weights / "shared_vocabulary.json").read_bytes())
    numbers = {token: number for number, token in enumerate(spelling)}
    # What is for GPUs alone runs as float32 here, rounded as it is.
    here = compute_type if compute_type in ctranslate2.get_supported_compute_types("cpu") else "default"
    converted = ctranslate2.Translator(str(weights), device="cpu", compute_type=here)
    results = converted.translate_batch(
        [[spelling[token] for token in source] for source in sources],
        beam_size=1,
        min_decoding_length=0,
        max_decoding_length=TRIAL_TOKENS,
        return_end_token=True,
    )
    del converted
    # In its own precision where the converted one has another anyway: the full one may not fit into memory.
    dtype = torch.float32 if compute_type == "float32" else "auto"
    original = T5ForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()
    agreeing = tokens = 0
    for source, result in zip(sources, results, strict=True):
        written = [numbers[token] for token in result.hypotheses[0]]
        choices = _likeliest(original, source, written)
        agreeing += sum(choice == token for choice, token in zip(choices, written, strict=True))
        tokens += len(written)
    return Agreement(agreeing, tokens)


def trial_sources(weights: Path, reading: Reading) -> list[list[int]]:
    """What the engine reads of the trials. Raises ExportError where that is not what the checkpoint reads."""
    tokens = load_engine("translator").Tokens(weights)
    own = Tokenizer.from_str(_with_bytes(reading.tokenizer))
    sources: list[list[int]] = []
    for language in list(reading.layout["languages"])[:TRIAL_LANGUAGES]:
        for text in TRIALS:
            sources.append(tokens.source(tokens.encode(text), language))
            if sources[-1] != own.encode(f"<2{language}> {text}").ids:
                raise ExportError(
                    "The checkpoint has a tokenizer that this engine reads otherwise than tokenizers does."
                )
    control = set(reading.layout["control"])
    for number, token in _spellings(reading, control).items():
        # A character that is not known is read as <unk> whatever it is part of.
        unknown = tokens.encode("\ue000")
        if number in tokens.encode(f"a {token} b {token}") and number not in unknown:
            raise ExportError(f"The token {token} can be written in a text.")
    return sources


def _with_bytes(tokenizer: Any) -> str:
    description = json.loads(tokenizer.to_str())
    pieces = {piece for piece, _ in description["model"]["vocab"]}
    description["model"]["byte_fallback"] = set(BYTE_TOKENS) <= pieces
    return json.dumps(description)


def _spellings(reading: Reading, numbers: set[int]) -> dict[int, str]:
    spelled = ((number, reading.tokenizer.id_to_token(number)) for number in sorted(numbers))
    return {number: token for number, token in spelled if token is not None}


def _likeliest(original: Any, source: list[int], written: list[int]) -> list[int]:
    """The token that the checkpoint would write at each place of what the converted model wrote."""
    before = [original.config.decoder_start_token_id, *written[:-1]]
    with torch.inference_mode():
        logits = original(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([before])).logits
    likeliest: list[int] = logits[0].argmax(dim=-1).tolist()
    return likeliest


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export translator", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder, or a hub id such as google/madlad400-3b-mt")
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument(
        "--compute-type", choices=COMPUTE_TYPES, help=f"int8 for CPU and {GPU_COMPUTE_TYPE} for GPU by default"
    )
    parser.add_argument("--beam-size", type=int, default=1, help="hypotheses that are followed (%(default)s: greedy)")
    parser.add_argument("--cpu-threads", type=int, help="of each batch on a CPU; by default what suits this machine")
    parser.add_argument(
        "--parallel-batches",
        type=int,
        default=PARALLEL_BATCHES,
        help="batches that an instance works on at the same time (%(default)s)",
    )
    parser.add_argument("--display-name", help="the name that is shown; the checkpoint's own by default")
    add_target_arguments(parser, name="translator", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    for option in ("beam_size", "cpu_threads", "parallel_batches"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise ExportError(f"--{option.replace('_', '-')} must be at least 1.")
    compute_type = arguments.compute_type or (GPU_COMPUTE_TYPE if to.device == "gpu" else "int8")
    if to.device == "cpu" and compute_type not in ctranslate2.get_supported_compute_types("cpu"):
        raise ExportError(f"--compute-type {compute_type} is for GPUs: add --device gpu, or take float32 or int8.")
    checkpoint = find_checkpoint(arguments.checkpoint, arguments.revision)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        reading = convert(checkpoint, weights, compute_type)
        agreement = compare(checkpoint.folder, weights, reading, compute_type)
        if compute_type == "float32" and agreement.agreeing_tokens < agreement.tokens:
            raise ExportError(
                f"The converted model writes otherwise than the checkpoint: of {agreement.tokens} tokens "
                f"{agreement.agreeing_tokens} are the same."
            )
        # Batches side by side share an instance's weights, so one instance is enough, with all processors.
        placement = place(replace(to, instances=to.instances or 1), weights, threads=arguments.cpu_threads)
        version = write_version(
            "translator",
            to,
            weights,
            instances=placement.instances,
            card={
                "name": arguments.display_name or checkpoint.origin.rsplit("/", 1)[-1],
                "languages": list(reading.layout["languages"]),
            },
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "greedy_agreement": asdict(agreement),
            },
            packages=("ctranslate2", "transformers", "torch", "tokenizers"),
            parameters={
                "compute_type": compute_type,
                "beam_size": arguments.beam_size,
                "cpu_threads": placement.threads,
                "parallel_batches": arguments.parallel_batches,
            },
        )
    print(f"{to.name} version {to.version}: {version}")
    print(f"Of {agreement.tokens} tokens that it writes, {agreement.agreeing_tokens} are the checkpoint's as well.")
