"""From training to a checkpoint of the real classes: transformers' WhisperForConditionalGeneration, its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.tokenization_whisper import LANGUAGES as WHISPER_LANGUAGES

from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ
from export_scripts.demo.speech.grammar import LANGUAGES
from export_scripts.demo.speech.utterances import FFT_SAMPLES, HOP_SAMPLES, MEL_BINS
from export_scripts.demo.whisper import vocabulary
from export_scripts.demo.whisper.mixing import ENCODER_POSITIONS
from export_scripts.demo.whisper.network import DECODER_POSITIONS, DemoWhisper

WHISPER_TIME_STEP_S = 0.02
WHISPER_TIME_STAMPS = 1501
TASKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


def make_tokenizer() -> Tokenizer:
    """Byte-level BPE that has every word as one token, then Whisper's special tokens in Whisper's order."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    trained.train_from_iterator([f" {word}" for word in vocabulary.SPELLINGS] * 2, trainer)
    trained.decoder = decoders.ByteLevel()
    layout: dict[str, Any] = json.loads(trained.to_str())
    ids: dict[str, int] = layout["model"]["vocab"]
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{language}|>" for language in WHISPER_LANGUAGES),
        *TASKS,
    ]
    times = [f"<|{step * WHISPER_TIME_STEP_S:.2f}|>" for step in range(WHISPER_TIME_STAMPS)]
    # CTranslate2 takes a checkpoint for multilingual when the empty string is in its vocabulary.
    for token in ["", *special, *times]:
        ids[token] = len(ids)
    layout["added_tokens"] = [
        {
            "id": ids[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": token in special,
        }
        for token in [*special, *times]
    ]
    return Tokenizer.from_str(json.dumps(layout))


def full_embedding(model: DemoWhisper, tokenizer: Tokenizer) -> torch.Tensor:
    """The rows (tokens, width) of the whole layout: what training knew as one unknown token stands for all others."""
    table: torch.Tensor = model.table()
    rows = table[vocabulary.UNKNOWN].repeat(tokenizer.get_vocab_size(), 1)
    for index, token in enumerate(vocabulary.TOKENS):
        if index != vocabulary.UNKNOWN:
            rows[_id_of(tokenizer, token)] = table[index]
    return rows


def _id_of(tokenizer: Tokenizer, token: str) -> int:
    special = tokenizer.token_to_id(token) if token.startswith("<|") else None
    if special is not None:
        return special
    (only,) = tokenizer.encode(token, add_special_tokens=False).ids
    return only


@torch.no_grad()
def save_checkpoint(model: DemoWhisper, folder: Path) -> None:
    """Write the checkpoint in float16, with what transformers, CTranslate2 and faster-whisper want beside it."""
    tokenizer = make_tokenizer()
    shape = model.shape
    end = tokenizer.token_to_id("<|endoftext|>")
    start = tokenizer.token_to_id("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        num_mel_bins=MEL_BINS,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        max_source_positions=ENCODER_POSITIONS,
        max_target_positions=DECODER_POSITIONS,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
    )
    whisper = WhisperForConditionalGeneration(config)
    weights = {
        f"model.{name}": value
        for name, value in model.state_dict().items()
        if name.startswith(("encoder.", "decoder."))
    }
    embedding = full_embedding(model, tokenizer)
    weights["model.decoder.embed_tokens.weight"] = weights["proj_out.weight"] = embedding
    whisper.load_state_dict(weights)
    whisper.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": tokenizer.token_to_id(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={task: tokenizer.token_to_id(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=tokenizer.token_to_id("<|notimestamps|>"),
        max_length=DECODER_POSITIONS,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        alignment_heads=shape.alignment_heads,
    )
    folder.mkdir(parents=True, exist_ok=True)
    whisper.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    end_of_text = "<|endoftext|>"
    _write(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=DECODER_POSITIONS,
        bos_token=end_of_text,
        eos_token=end_of_text,
        unk_token=end_of_text,
    )
    _write(
        folder / "preprocessor_config.json",
        feature_extractor_type="WhisperFeatureExtractor",
        feature_size=MEL_BINS,
        sampling_rate=SAMPLE_RATE_HZ,
        hop_length=HOP_SAMPLES,
        n_fft=FFT_SAMPLES,
        chunk_length=30,
    )


def _write(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(fields, indent=2) + "\n")
