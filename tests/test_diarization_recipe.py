"""The recipe of the demo diarization models, in small."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from export_scripts.demo.diarization import held_out, mixing, training
from export_scripts.demo.diarization.checkpoint import EMBEDDING, SEGMENTATION, save_checkpoint
from export_scripts.demo.diarization.corpus import Speakers, make_corpus
from export_scripts.demo.diarization.export import export_embedding, export_segmentation
from export_scripts.demo.speech import grammar, music, voices
from export_scripts.demo.speech.utterances import MEL_BINS, QUIETEST_LOG_POWER
from export_scripts.engines import load_engine

SMALL = training.Course(steps=4, peak=1e-3, frames=(250,), frames_per_batch=1000)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speakers")
    make_corpus(folder, shards=1, seed=0, processes=1, utterances=1)
    return folder


def test_from_speech_to_models_that_run(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that was stopped goes on, and what comes out is exported and looks at a window."""
    monkeypatch.setattr(music, "PIECES", 1)
    monkeypatch.setattr(music, "PIECE_S", 2)
    for steps in (2, 4):
        course = training.Course(steps, SMALL.peak, SMALL.frames, SMALL.frames_per_batch)
        embedding = training.train_embedding(speech, tmp_path / "embedding.pt", seed=0, course=course)
        segmentation = training.train_segmentation(
            speech, embedding, tmp_path / "segmentation.pt", seed=0, course=course
        )
        assert torch.load(tmp_path / "segmentation.pt")["step"] == steps
    save_checkpoint(segmentation, tmp_path / "checkpoint" / SEGMENTATION)
    save_checkpoint(embedding, tmp_path / "checkpoint" / EMBEDDING)
    repository = tmp_path / "repository"
    export_segmentation(repository, tmp_path / "checkpoint")
    export_embedding(repository, tmp_path / "checkpoint")
    weights = repository / "speaker_segmentation" / "1" / "weights"
    engine = load_engine("speaker_segmentation").SpeakerSegmentationEngine(weights, shortest_window_samples=80_000)
    noise = np.random.default_rng(0).normal(0, 3000, 160_000).astype(np.int16)
    for pcm in (noise, noise[:30_000]):
        (active,) = engine.segment([pcm])
        assert active.shape == (589, 3)
    voices_engine = load_engine("speaker_embedding")
    embedder = voices_engine.SpeakerEmbeddingEngine(repository / "speaker_embedding" / "1" / "weights")
    (found,) = embedder.embed([voices_engine.Window(noise, np.ones((2, 589), dtype=np.uint8))])
    assert found.embeddings.shape == (2, 192)
    assert np.isfinite(found.embeddings).all()


def test_a_window_holds_whom_its_labels_say(speech: Path) -> None:
    speakers = Speakers(speech)
    music = [np.full((3000, MEL_BINS), -2.0, dtype=np.float32)]
    people = set()
    for seed in range(60):
        one = mixing.make_dialogue(speakers, music, np.random.default_rng(seed), 250)
        assert one.log_power.shape == (250, MEL_BINS)
        assert np.isfinite(one.log_power).all()
        assert one.log_power.min() >= QUIETEST_LOG_POWER - 1e-5
        assert not one.active[len(one.identities) :].any()
        assert all(0 <= identity < len(speakers) for identity in one.identities)
        people.add(len(one.identities))
    assert people == {0, 1, 2, 3}


@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=30))
def test_classes_are_those_of_the_powerset_in_any_order(frames: list[tuple[bool, ...]]) -> None:
    active = torch.tensor(frames).T
    classes = mixing.powerset_classes(active).tolist()
    for members, class_ in zip(frames, classes, strict=True):
        if sum(members) <= 2:
            assert [number in mixing.POWERSET[class_] for number in range(3)] == list(members)
    for order in mixing.permutations().tolist():
        assert sorted(order) == list(range(len(mixing.POWERSET)))
        assert [len(mixing.POWERSET[class_]) for class_ in order] == [len(members) for members in mixing.POWERSET]


def test_dialogues_to_measure_on_are_of_people_that_no_training_heard() -> None:
    with held_out.speech() as espeak:
        calm = held_out.dialogue(espeak, random.Random(1), speakers=3, seconds=30, overlap=0.0)
        lively = held_out.dialogue(espeak, random.Random(1), speakers=5, seconds=60, overlap=0.5)
    assert {turn.speaker for turn in calm.turns} == {0, 1, 2}
    assert all(before.end <= after.start for before, after in pairwise(calm.turns))
    assert any(before.end > after.start for before, after in pairwise(lively.turns))
    for dialogue in (calm, lively):
        assert dialogue.duration_s >= 30
        assert np.abs(dialogue.samples).max() <= 1
        for turn in dialogue.turns:
            assert 0 <= turn.start < turn.end <= dialogue.duration_s
            assert grammar.is_held_out(turn.text)
    heard = {person.variant for seed in range(20) for person in held_out.people(random.Random(seed), 5)}
    assert not heard & set(voices.SEEN)
