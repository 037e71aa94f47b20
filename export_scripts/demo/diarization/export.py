"""The demo checkpoint as versions of the two speaker models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export_scripts import speaker_embedding, speaker_segmentation
from export_scripts.artifact import Target, place, write_version
from export_scripts.demo.diarization.checkpoint import load_embedding, load_segmentation
from export_scripts.onnx_export import CPU_BATCH_SIZE

CHECKPOINT = Path(__file__).resolve().parent / "checkpoint"
# Found by `bench/diarize.py --tune` on dialogues of their own: how often to look, and how far apart two voices are.
STEP_S = 2.5
THRESHOLD = 0.8
MIN_CLUSTER_SIZE = 8
SHORTEST_WINDOW_SAMPLES = 5 * 16_000  # as in training


def export_segmentation(repository: Path, checkpoint: Path = CHECKPOINT) -> None:
    network = load_segmentation(checkpoint)
    _export(
        repository,
        "speaker_segmentation",
        {"name": "Speaker segmentation demo (synthetic voices)", "step_s": STEP_S},
        lambda weights: speaker_segmentation.export_module(network, weights, shortest=SHORTEST_WINDOW_SAMPLES),
        {"shortest_window_samples": SHORTEST_WINDOW_SAMPLES},
    )


def export_embedding(repository: Path, checkpoint: Path = CHECKPOINT) -> None:
    network = load_embedding(checkpoint)
    clustering = {"method": "centroid", "threshold": THRESHOLD, "min_cluster_size": MIN_CLUSTER_SIZE}
    _export(
        repository,
        "speaker_embedding",
        {"name": "Speaker embedding demo (synthetic voices)", "clustering": clustering},
        lambda weights: speaker_embedding.export_module(network, weights),
        {},
    )


def _export(
    repository: Path,
    kind: str,
    card: Mapping[str, Any],
    write: Callable[[Path], float],
    parameters: Mapping[str, int],
) -> None:
    to = Target(repository, kind, version=1, device="cpu", instances=None, max_batch_size=CPU_BATCH_SIZE)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        difference = write(weights)
        placement = place(to, weights)
        version = write_version(
            kind,
            to,
            weights,
            instances=placement.instances,
            card=card,
            source={"checkpoint": "demo", "largest_difference": difference},
            packages=("torch", "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads, **parameters},
        )
    print(f"{kind} version 1: {version}")
