"""A pyannote segmentation checkpoint as a version that tells the speakers of a window apart.

Runs in the environment of `make pyannote`. The graph is compared with pyannote's own module, number by number.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.onnx_export import (
    BATCH_SIZE,
    CPU_BATCH_SIZE,
    FRAMES,
    SAMPLE_RATE_HZ,
    SPEAKERS,
    WINDOW_S,
    WINDOW_SAMPLES,
    some_waveforms,
    write_onnx,
)
from export_scripts.pyannote import CHECKPOINT_HELP, fetch, load_model, read_pipeline, run

SPEAKERS_AT_ONCE = 2
CLASSES = 7  # nobody, three speakers alone, three pairs
# pyannote's own default, 0.1 of a window.
STEP_S = 1.0
# Windows must share some frames.
SHORTEST_STEP_S, LONGEST_STEP_S = 0.1, 9.0


def export_module(module: nn.Module, weights: Path, *, shortest: int = WINDOW_SAMPLES) -> float:
    """Write weights/segmentation.onnx and return its largest difference from the module.

    The module takes `waveforms` (batch, 1, 160000) in -1..1 to `scores` (batch, 589, 7), the log-probabilities of the
    classes ∅, 0, 1, 2, 01, 02, 12; where `shortest` is less, windows of so many samples and their frames as well.
    Raises ExportError; see `write_onnx`.
    """
    file = weights / "segmentation.onnx"
    batches = [{"waveforms": some_waveforms(windows)} for windows in (1, 3)]
    if shortest == WINDOW_SAMPLES:
        return write_onnx(module, file, batches, "scores", (FRAMES, CLASSES))
    batches.insert(0, {"waveforms": some_waveforms(2)[..., :shortest]})
    return write_onnx(module, file, batches, "scores", (None, CLASSES), lengths={"waveforms": 2, "scores": 1})


def check_geometry(model: Any) -> None:
    """Raises ExportError where a checkpoint's windows, frames or classes are not those that are served."""
    specifications = model.specifications
    if isinstance(specifications, Sequence) or not specifications.powerset:
        raise ExportError("The checkpoint gives no powerset classes: it is not a segmentation for diarization.")
    geometry = {
        "sample rate": (model.hparams.sample_rate, SAMPLE_RATE_HZ),
        "window in seconds": (specifications.duration, WINDOW_S),
        "frames in a window": (model.num_frames(WINDOW_SAMPLES), FRAMES),
        "speakers in a window": (len(specifications.classes), SPEAKERS),
        "speakers at once": (specifications.powerset_max_classes, SPEAKERS_AT_ONCE),
    }
    for what, (found, wanted) in geometry.items():
        if found != wanted:
            raise ExportError(f"The checkpoint's {what}: {found}. What is served has {wanted}.")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export_scripts.speaker_segmentation", description=__doc__)
    known = "pyannote/segmentation-3.0 or pyannote/speaker-diarization-community-1"
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT_HELP % known)
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", help="how the checkpoint is called; its id or its folder's name by default")
    parser.add_argument(
        "--step-s", type=float, help=f"from one window to the next; by default the pipeline's, or else {STEP_S}"
    )
    add_target_arguments(parser, name="speaker_segmentation", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    if arguments.cpu_threads is not None and arguments.cpu_threads < 1:
        raise ExportError("--cpu-threads must be at least 1.")
    source = fetch(arguments.checkpoint, arguments.revision)
    pipeline = read_pipeline(source)
    step_s = arguments.step_s
    if step_s is None and pipeline is not None:
        step_s = round(pipeline.parameters.get("segmentation_step", STEP_S / WINDOW_S) * WINDOW_S, 6)
    step_s = STEP_S if step_s is None else step_s
    if not SHORTEST_STEP_S <= step_s <= LONGEST_STEP_S:
        raise ExportError(f"--step-s must lie between {SHORTEST_STEP_S} and {LONGEST_STEP_S}.")
    checkpoint = source if pipeline is None else pipeline.part("segmentation")
    model = load_model(checkpoint)
    check_geometry(model)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        difference = export_module(model, weights)
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "speaker_segmentation",
            to,
            weights,
            instances=placement.instances,
            card={"name": arguments.display_name or source.origin, "step_s": step_s},
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "largest_difference": difference,
            },
            packages=("pyannote.audio", "torch", "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads, "shortest_window_samples": WINDOW_SAMPLES},
        )
    print(f"{to.name} version {to.version}: {version}")


if __name__ == "__main__":
    run(main)
