"""The speaker engines on small networks that keep the contract of the real ones; no pyannote is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export_scripts import speaker_embedding, speaker_segmentation
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from export_scripts.filterbank import Filterbank

segmentation = load_engine("speaker_segmentation")
embedding = load_engine("speaker_embedding")
DIMENSION = 24
PLDA_DIMENSION = 5


class SmallSegmentation(nn.Module):
    """A frame sees 991 samples and is 270 on from the one before, as in PyanNet."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 7, kernel_size=991, stride=270)

    def forward(self, waveforms: Tensor) -> Tensor:
        return torch.log_softmax(10 * self.frames(waveforms).transpose(1, 2), dim=-1)


class SmallEmbedding(nn.Module):
    """The mean of the filterbank over each mask, turned."""

    def __init__(self) -> None:
        super().__init__()
        self.filterbank = Filterbank()
        self.turn = nn.Linear(80, DIMENSION)

    def forward(self, waveforms: Tensor, masks: Tensor) -> Tensor:
        features = self.filterbank(waveforms[:, 0])
        weights = nn.functional.interpolate(masks, size=features.shape[1], mode="nearest")
        means = torch.matmul(weights, features) / (weights.sum(dim=2, keepdim=True) + 1e-8)
        turned: Tensor = self.turn(means)
        return turned


def noise(samples: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 4000, samples).astype(np.int16)


def masks(speakers: int, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).random((speakers, 589)) < 0.5).astype(np.uint8)


@pytest.fixture(scope="module")
def segmentation_module() -> nn.Module:
    torch.manual_seed(1)
    return SmallSegmentation()


@pytest.fixture(scope="module")
def segmenter(segmentation_module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Any:
    weights = tmp_path_factory.mktemp("segmentation")
    assert speaker_segmentation.export_module(segmentation_module, weights) < 1e-5
    return segmentation.SpeakerSegmentationEngine(weights)


@pytest.fixture(scope="module")
def embedding_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    weights = tmp_path_factory.mktemp("embedding")
    assert speaker_embedding.export_module(SmallEmbedding(), weights) < 3e-4
    return weights


@pytest.fixture(scope="module", params=["one by one", "as a batch"])
def embedder(embedding_weights: Path, request: pytest.FixtureRequest) -> Any:
    """As on a CPU, and as on a GPU."""
    engine = embedding.SpeakerEmbeddingEngine(embedding_weights)
    engine._run_windows = 1 if request.param == "one by one" else None
    return engine


def test_the_classes_are_the_powerset() -> None:
    speakers = [[], [0], [1], [2], [0, 1], [0, 2], [1, 2]]
    assert [np.flatnonzero(row).tolist() for row in segmentation.CLASSES] == speakers


def test_activity_is_the_likeliest_class_of_each_frame(segmenter: Any, segmentation_module: nn.Module) -> None:
    audio = noise(160_000)
    (activity,) = segmenter.segment([audio])
    with torch.inference_mode():
        scores = segmentation_module(torch.from_numpy(audio / np.float32(32768))[None, None])
    assert activity.dtype == np.uint8
    np.testing.assert_array_equal(activity, segmentation.CLASSES[scores[0].argmax(dim=-1).numpy()])
    assert len(np.unique(activity, axis=0)) > 3


def test_a_short_window_is_looked_at_for_what_it_is(segmentation_module: nn.Module, tmp_path: Path) -> None:
    """Where the checkpoint takes it: padded to the shortest length, with nobody active behind that."""
    speaker_segmentation.export_module(segmentation_module, tmp_path, shortest=80_000)
    engine = segmentation.SpeakerSegmentationEngine(tmp_path, shortest_window_samples=80_000)
    windows = [noise(n, seed=n) for n in (80_001, 30_000, 160_000, 0, 80_000)]
    answers = engine.segment(windows)
    assert isinstance(answers[3], segmentation.WindowError)
    for index, length in ((0, 160_000), (1, 80_000), (2, 160_000), (4, 80_000)):
        padded = np.pad(windows[index], (0, length - windows[index].size)) / np.float32(32768)
        with torch.inference_mode():
            classes = segmentation_module(torch.from_numpy(padded)[None, None])[0].argmax(dim=-1).numpy()
        np.testing.assert_array_equal(answers[index][: len(classes)], segmentation.CLASSES[classes])
        assert answers[index].shape == (589, 3)
        assert not answers[index][len(classes) :].any()


def test_an_activity_does_not_depend_on_its_batch(segmenter: Any) -> None:
    windows = [noise(n, seed=n) for n in (160_000, 0, 1, 70_001, 160_001, 160_000)]
    together = segmenter.segment(windows)
    for window, answer in zip(windows, together, strict=True):
        (alone,) = segmenter.segment([window])
        if 1 <= window.size <= 160_000:
            assert answer.shape == (589, 3)
            np.testing.assert_array_equal(answer, alone)
        else:
            assert isinstance(answer, segmentation.WindowError)
            assert str(answer) == f"PCM must hold 1 to 160000 samples; it holds {window.size}."
    assert segmenter.segment([]) == []


def test_a_short_window_is_followed_by_silence(segmenter: Any, embedder: Any) -> None:
    short = noise(50_000)
    padded = np.concatenate([short, np.zeros(110_000, dtype=np.int16)])
    np.testing.assert_array_equal(*segmenter.segment([short, padded]))
    one, other = embedder.embed([embedding.Window(audio, masks(2)) for audio in (short, padded)])
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-4)


def test_voices_do_not_depend_on_their_batch(embedder: Any) -> None:
    window = embedding.Window
    empty_row, large, wide = masks(3), masks(2), np.ones((1, 590), dtype=np.uint8)
    empty_row[1] = 0
    large[0, 0] = 2
    cases = [
        (window(noise(160_000), masks(3)), None),
        (window(noise(160_001), masks(1)), "160000 samples"),
        (window(noise(1), masks(1)), None),
        (window(noise(9), empty_row), "must have a frame"),
        (window(noise(9), masks(4)), "1 to 3 rows"),
        (window(noise(9), masks(0)), "1 to 3 rows"),
        (window(noise(80_000, 1), masks(2, 1)), None),
        (window(noise(9), wide), "589 frames"),
        (window(noise(9), large), "0 and 1 alone"),
        (window(noise(9), masks(1), plda=True), "no PLDA"),
        (window(noise(0), masks(1)), "160000 samples"),
        (window(noise(160_000), masks(3)), None),
    ]
    together = embedder.embed([one for one, _ in cases])
    for (one, problem), answer in zip(cases, together, strict=True):
        (alone,) = embedder.embed([one])
        if problem is None:
            assert answer.plda is None
            assert answer.embeddings.shape == (len(one.masks), DIMENSION)
            np.testing.assert_allclose(answer.embeddings, alone.embeddings, atol=1e-4)
        else:
            assert isinstance(answer, embedding.WindowError)
            assert problem in str(answer)
            assert str(answer) == str(alone)
    assert embedder.embed([]) == []


def test_a_voice_does_not_depend_on_the_other_masks(embedder: Any) -> None:
    audio, all_masks = noise(160_000), masks(3)
    (together,) = embedder.embed([embedding.Window(audio, all_masks)])
    alone = embedder.embed([embedding.Window(audio, all_masks[row : row + 1]) for row in range(3)])
    np.testing.assert_allclose(together.embeddings, np.concatenate([one.embeddings for one in alone]), atol=1e-4)
    assert np.abs(together.embeddings[0] - together.embeddings[1]).max() > 1e-3


def test_plda_comes_where_it_is_asked_for(embedding_weights: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    (tmp_path / "embedding.onnx").symlink_to(embedding_weights / "embedding.onnx")
    np.savez(
        tmp_path / "plda.npz",
        mean=generator.normal(size=DIMENSION),
        lda=generator.normal(size=(DIMENSION, PLDA_DIMENSION + 2)),
        lda_mean=generator.normal(size=PLDA_DIMENSION + 2),
        plda_mean=np.zeros(PLDA_DIMENSION + 2),
        plda=np.eye(PLDA_DIMENSION + 2, PLDA_DIMENSION),
    )
    engine = embedding.SpeakerEmbeddingEngine(tmp_path)
    audio = noise(160_000)
    windows = [embedding.Window(audio, masks(speakers), plda=plda) for speakers, plda in ((3, True), (2, False))]
    asked, not_asked = engine.embed(windows)
    assert not_asked.plda is None
    assert (asked.plda.shape, asked.plda.dtype) == ((3, PLDA_DIMENSION), np.float32)
    # With no further turn, what is left is a vector of length sqrt(7), less the two axes that were dropped.
    assert np.all(np.linalg.norm(asked.plda, axis=1) <= np.sqrt(PLDA_DIMENSION + 2))


class Spoiled(nn.Module):
    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.module = SmallSegmentation()
        self.spoil = spoil

    def forward(self, waveforms: Tensor) -> Tensor:
        spoiled: Tensor = self.spoil(self.module(waveforms))
        return spoiled


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda scores: scores[:, 1:], r"shape \(588, 7\); it must be \(589, 7\)"),
        (lambda scores: scores * torch.nan, "differ from the module's by nan"),
        # What a trace makes of a size that Python code looked at: a constant.
        (lambda scores: scores.reshape(scores.numpy().shape[0] * 7, 589).reshape(-1, 589, 7), "a batch of 1"),
    ],
    ids=["shape", "no numbers", "fixed batch"],
)
def test_a_module_that_breaks_the_contract_is_refused(spoil: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        speaker_segmentation.export_module(Spoiled(spoil), tmp_path)


def test_a_graph_that_differs_from_its_reference_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(5)
    module = SmallEmbedding()
    with pytest.raises(ExportError, match="embeddings differ from the module's"):
        speaker_embedding.export_module(module, tmp_path, reference=lambda *inputs: 1.01 * module(*inputs))
