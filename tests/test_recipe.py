"""The demo model's recipe: what it trains on, and that it comes to a checkpoint. Small, so the model learns nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_scripts import whisper
from export_scripts.demo.speech import grammar, music
from export_scripts.demo.whisper import corpus, held_out, mixing, training, vocabulary
from export_scripts.demo.whisper.checkpoint import make_tokenizer, save_checkpoint
from export_scripts.demo.whisper.network import DemoWhisper, Shape
from export_scripts.engines import load_engine
from tests.test_exporters import CHECKPOINT, RECORDINGS


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    corpus.make_corpus(folder, utterances=40, seed=1, processes=1)
    return folder


def test_a_corpus_follows_its_seed(speech: Path, tmp_path: Path) -> None:
    corpus.make_corpus(tmp_path, utterances=40, seed=1, processes=1)
    entries, again = corpus.Corpus(speech).entries, corpus.Corpus(tmp_path).entries
    assert len(entries) == 40
    for entry, other in zip(entries, again, strict=True):
        assert (entry.text, entry.language) == (other.text, other.language)
        # eSpeak NG's own noise, and so where the silence around speech ends, is not the seed's.
        assert abs(entry.frames - other.frames) <= 2
        assert not grammar.is_held_out(entry.text)
        assert len(entry.word_starts) == len(entry.text.split())
        assert entry.word_starts == sorted(entry.word_starts)
        assert entry.word_starts[-1] < entry.frames


@given(st.integers())
def test_what_is_measured_on_is_not_trained_on(seed: int) -> None:
    rng = random.Random(seed)
    for language in grammar.LANGUAGES:
        held, trained = grammar.held_out_sentence(language, rng), grammar.training_text(language, rng)
        assert grammar.is_held_out(held)
        assert not grammar.is_held_out(trained)
        for text in (held, trained):
            vocabulary.word_tokens(text)  # of known words alone


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), frames=st.sampled_from([100, 250, 400, 1000, 3000]), offset=st.integers(0, 300))
def test_a_window_asks_for_what_is_heard_in_it(speech: Path, seed: int, frames: int, offset: int) -> None:
    offset = 5 * (offset % ((mixing.ENCODER_POSITIONS - frames // 2) // 5 + 1))
    spoken = corpus.Corpus(speech)
    quiet = [np.full((3000, 80), -10, dtype=np.float32)]
    example = mixing.make_example(spoken, quiet, np.random.default_rng(seed), frames=frames, offset=offset)
    assert example.features.shape == (80, frames)
    assert np.isfinite(example.features).all()
    assert example.position_words.shape == (frames // 2,)
    assert len(example.inputs) == len(example.targets) == len(example.spans)
    for given_, wanted in zip(example.inputs[1:], example.targets, strict=False):
        assert wanted in (given_, mixing.IGNORED, vocabulary.TOKEN_IDS["<|nospeech|>"])
    times = [token for token in example.inputs if token >= vocabulary.FIRST_TIME]
    assert times == sorted(times)
    sounds = {f" {word}": sound for word, sound in vocabulary.SOUNDS.items()}
    for target, (start, end) in zip(example.targets, example.spans, strict=True):
        assert 0 <= start <= end <= frames // 2
        token = vocabulary.TOKENS[target] if target != mixing.IGNORED else ""
        if token.startswith(" ") and end - start > 4:
            assert sounds[token.lower()] in example.position_words[start:end]


def test_training_goes_on_where_it_left_off_and_ends_in_a_checkpoint(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(music, "PIECES", 1)
    monkeypatch.setattr(music, "PIECE_S", 2)
    monkeypatch.setattr(training, "FRAMES_PER_BATCH", 400)
    monkeypatch.setattr(training, "MIN_WINDOWS", 1)
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    shape = Shape(width=32, heads=4, encoder_layers=1, decoder_layers=1)
    stages = (training.Stage(1.0, (200,), 0.5),)
    schedule = (training.Cycle(2, 1, 1e-3, stages), training.Cycle(2, 1, 1e-4, stages))

    def train(state: Path, cycles: int) -> DemoWhisper:
        return training.train(speech, state, seed=5, threads=1, shape=shape, schedule=schedule[:cycles])

    whole = train(tmp_path / "whole.pt", 2)
    train(tmp_path / "part.pt", 1)
    resumed = train(tmp_path / "part.pt", 2)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), atol=1e-5)

    save_checkpoint(whole, tmp_path / "checkpoint")
    whisper.main(["--checkpoint", str(tmp_path / "checkpoint"), "--to", str(tmp_path), "--name", "whisper-untrained"])
    engine = load_engine("whisper")
    model = engine.WhisperEngine(tmp_path / "whisper-untrained" / "1" / "weights")
    assert model.recognize([engine.Window(np.zeros(16_000, dtype=np.int16), engine.DecodingOptions())])


def test_what_is_committed_is_what_the_recipe_makes(tmp_path: Path) -> None:
    """All but the weights, which take hours."""
    assert json.loads(make_tokenizer().to_str()) == json.loads((CHECKPOINT / "tokenizer.json").read_text())
    held_out.write_recordings(tmp_path, seed=0)
    assert (tmp_path / "references.json").read_text() == (RECORDINGS / "references.json").read_text()
    for file in tmp_path.glob("*.flac"):
        made, committed = (soundfile.info(folder / file.name).duration for folder in (tmp_path, RECORDINGS))
        assert abs(made - committed) < 0.06  # eSpeak NG's own noise moves where silence is trimmed
