"""Checkpoints of sentence-transformers become versions; what is none, or is made otherwise, is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from export_scripts import text_embedding
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from export_scripts.text_embedding import PACKAGE, PACKAGED

embedding = load_engine("text_embedding")
WORDS = ("we", "ship", "on", "friday", "the", "minutes", "are", "here", "##s", "##ing", "We", ".")
WINDOW_TOKENS = 16


def small_tokenizer() -> Any:
    vocabulary = {word: index for index, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As sentence-transformers saves one, with random weights; its settings ask for lower case, its tokenizer not."""
    torch.manual_seed(3)
    network = tmp_path_factory.mktemp("network")
    config = BertConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(network)
    PreTrainedTokenizerFast(
        tokenizer_object=small_tokenizer(), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(network)
    folder = tmp_path_factory.mktemp("checkpoint") / "my-encoder"
    transformer = Transformer(str(network), max_seq_length=WINDOW_TOKENS)
    SentenceTransformer(modules=[transformer, Pooling(32, "mean"), Normalize()], device="cpu").save(str(folder))
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({**settings, "max_seq_length": WINDOW_TOKENS, "do_lower_case": True})
    )
    return folder


def export(checkpoint: Path, to: Path, *more: str) -> Path:
    text_embedding.main(["--checkpoint", str(checkpoint), "--to", str(to), *more])
    return to / "text_embedding" / "1"


def test_a_checkpoint_is_served_as_sentence_transformers_does(checkpoint: Path, tmp_path: Path) -> None:
    version = export(checkpoint, tmp_path, "--instances", "3", "--cpu-threads", "2")
    texts = ["We ship on Friday.", "", "THE MINUTES ARE HERE", "shipping the minutes " * 9, "unknown"]
    (answer,) = embedding.TextEmbeddingEngine(version / "weights").embed([[text.encode() for text in texts]])
    expected = SentenceTransformer(str(checkpoint), device="cpu").encode(texts)
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    assert np.abs(answer[0] - answer[2]).max() > 0.01  # the weights are large enough to tell texts apart
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["card"] == {"kind": "text_embedding", "name": "my-encoder"}
    source = manifest["source"]
    assert (source["checkpoint"], source["window_tokens"]) == ("my-encoder", WINDOW_TOKENS)
    assert 0 < source["largest_difference"] < 1e-4
    config = (version / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert json.loads((version / "parameters.json").read_text()) == {"cpu_threads": 2}


def test_the_packages_checkpoint_is_the_default(sentence_encoder: Path) -> None:
    manifest = json.loads((sentence_encoder / "manifest.json").read_text())
    assert (manifest["card"]["name"], manifest["source"]["checkpoint"]) == (PACKAGED, PACKAGE)
    assert manifest["source"]["window_tokens"] == 256
    assert 0 < manifest["source"]["largest_difference"] < 1e-4


def changed(file: str, **values: Any) -> Callable[[Path], None]:
    """The settings in `file` with other values."""

    def change(folder: Path) -> None:
        before = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**before, **values}))

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def rewritten(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def another_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))


def weights_missing(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def bare_tokenizer(folder: Path) -> None:
    """One that puts nothing before and after a text."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed("1_Pooling/config.json", pooling_mode="cls"), "pooled by cls; only mean"),
        (changed("1_Pooling/config.json", pooling_mode=["mean", "max"]), "pooled by mean, max; only mean"),
        (
            rewritten("1_Pooling/config.json", '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'),
            "pooled by cls; only mean",
        ),
        (without("tokenizer.json"), "has no tokenizer.json"),
        (rewritten("tokenizer.json", "{}"), "no tokenizer that loads"),
        (bare_tokenizer, "makes nothing of an empty text"),
        (without("modules.json"), "no checkpoint of sentence-transformers"),
        (rewritten("modules.json", "{"), "cannot be read"),
        (rewritten("modules.json", '{"0": 1}'), "is no list of modules"),
        (another_module, "made by Transformer, Pooling, Normalize, Dense; only"),
        (changed("config_sentence_transformers.json", default_prompt_name="query"), "puts its prompt 'query'"),
        (weights_missing, "lacks weights, encoder.layer.1.output.dense.weight"),
        (without("model.safetensors"), "not a checkpoint that loads"),
        (rewritten("model.safetensors", "no weights"), "not a checkpoint that loads"),
        (changed("config.json", model_type="nonsense", architectures=["Nonsense"]), "not a checkpoint that loads"),
    ],
)
def test_what_cannot_be_served_is_refused(
    spoil: Callable[[Path], object], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(checkpoint, spoiled)
    spoil(spoiled)
    with pytest.raises(ExportError, match=message):
        export(spoiled, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Network(nn.Module):
    """Says of each token what `states` makes of all."""

    def __init__(self, states: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.tokens = nn.Embedding(4 + len(WORDS), 8)
        self.states = states

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        return BaseModelOutput(self.states(self.tokens(input_ids), attention_mask))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (lambda states, mask: states + states.mean(dim=1, keepdim=True), "embeddings differ from the module's"),
        (lambda states, mask: states[:, :, 0], "cannot be exported as a sentence encoder"),
        # What a trace makes of a size that Python code looked at: a constant.
        (lambda states, mask: states.reshape(states.numpy().shape), "does not take a batch"),
    ],
    ids=["looks at padding", "no states of tokens", "fixed size"],
)
def test_a_network_that_breaks_the_contract_is_refused(states: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        text_embedding.export_graph(Network(states), small_tokenizer(), tmp_path / "embedding.onnx")


def test_a_network_that_keeps_it_is_exported(tmp_path: Path) -> None:
    network = Network(lambda states, mask: torch.tanh(states))
    assert text_embedding.export_graph(network, small_tokenizer(), tmp_path / "embedding.onnx") < 1e-5
