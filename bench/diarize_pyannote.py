"""The part of bench/diarize.py that needs the environment of `make pyannote`: pyannote's pipeline, and its metric.

    .venv-pyannote/bin/python -m bench.diarize_pyannote diarize RECORDING … --repository DIR --to MEASURED.json
    .venv-pyannote/bin/python -m bench.diarize_pyannote score PAIRS.json --to SCORES.json

The pipeline is pyannote.audio's own class with the clustering of speaker-diarization-3.1, over the two ONNX files that
the service serves, as its cards want them to be used. Turns are lists of [start, end, speaker], in seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import soundfile

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 10 * SAMPLE_RATE_HZ
FRAMES, FRAME_SAMPLES, RECEPTIVE_FIELD_SAMPLES = 589, 270, 991
SPEAKERS, SPEAKERS_AT_ONCE = 3, 2
BATCH_SIZE = 32  # as in speaker-diarization-3.1
FEWEST_SAMPLES = 400
"""One frame of the filterbank: with less, a ResNet of pyannote's fails, by which its pipeline finds its limit."""

Turns = list[tuple[float, float, int]]


class Measured(TypedDict):
    """Of a process: the turns of each recording, and what all of them took, from opening the files on."""

    turns: list[Turns]
    wall_s: float
    cpu_s: float
    peak_bytes: int


class Pair(TypedDict):
    reference: Turns
    hypothesis: Turns
    seconds: float


class Score(TypedDict):
    """Of a pair: how long people speak, and how much of that is wrong in which way; in seconds."""

    total: float
    miss: float
    false_alarm: float
    confusion: float


def measured(recordings: Iterable[Path], diarize: Callable[[Path], Turns]) -> Measured:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    turns = [diarize(recording) for recording in recordings]
    return Measured(
        turns=turns,
        wall_s=time.perf_counter() - wall_s,
        cpu_s=time.process_time() - cpu_s,
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int:
    """Not by getrusage, where a process begins with the peak of the one that started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def diarize(repository: Path, recordings: Sequence[Path]) -> Measured:
    import torch

    torch.set_num_threads(1)
    pipeline = load_pipeline(repository)

    def turns_of(recording: Path) -> Turns:
        samples, rate_hz = soundfile.read(recording, dtype="float32")
        output = pipeline({"waveform": torch.from_numpy(samples)[None], "sample_rate": rate_hz})
        diarization = output.speaker_diarization
        numbers = {label: number for number, label in enumerate(diarization.labels())}
        return [
            (segment.start, segment.end, numbers[label])
            for segment, _, label in diarization.itertracks(yield_label=True)
        ]

    return measured(recordings, turns_of)


def load_pipeline(repository: Path) -> Any:
    segmentation, embedding = _models(repository)
    clustering = _card(repository, "speaker_embedding")["clustering"]
    if clustering["method"] != "centroid" or clustering.get("constrained"):
        raise SystemExit("Only what is clustered as in pyannote/speaker-diarization-3.1 can be compared here.")
    plda = import_module("pyannote.audio.core.plda").PLDA
    pipeline = import_module("pyannote.audio.pipelines").SpeakerDiarization(
        segmentation=segmentation,
        segmentation_step=_card(repository, "speaker_segmentation")["step_s"] * SAMPLE_RATE_HZ / WINDOW_SAMPLES,
        segmentation_batch_size=BATCH_SIZE,
        embedding=embedding,
        embedding_batch_size=BATCH_SIZE,
        embedding_exclude_overlap=True,
        clustering="AgglomerativeClustering",
        plda=object.__new__(plda),  # unused; without one the pipeline goes and fetches one
    )
    pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {key: clustering[key] for key in ("method", "threshold", "min_cluster_size")},
        }
    )
    assert pipeline._embedding.min_num_samples == FEWEST_SAMPLES  # tried out once, now
    return pipeline


def _models(repository: Path) -> tuple[Any, Any]:
    """The served networks as models of pyannote's."""
    import torch

    from export_scripts.pyannote import pyannote_audio

    audio = pyannote_audio()
    task = import_module("pyannote.audio.core.task")
    core = import_module("pyannote.core")

    class Segmentation(audio.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.session = _session(repository / "speaker_segmentation" / "1" / "weights" / "segmentation.onnx")
            self.specifications = task.Specifications(
                problem=task.Problem.MONO_LABEL_CLASSIFICATION,
                resolution=task.Resolution.FRAME,
                duration=WINDOW_SAMPLES / SAMPLE_RATE_HZ,
                classes=[f"speaker {number}" for number in range(SPEAKERS)],
                powerset_max_classes=SPEAKERS_AT_ONCE,
                permutation_invariant=True,
            )

        @property
        def receptive_field(self) -> Any:
            return core.SlidingWindow(
                duration=RECEPTIVE_FIELD_SAMPLES / SAMPLE_RATE_HZ, step=FRAME_SAMPLES / SAMPLE_RATE_HZ, start=0.0
            )

        def forward(self, waveforms: Any) -> Any:
            (scores,) = self.session.run(["scores"], {"waveforms": waveforms.numpy()})
            return torch.from_numpy(scores)

    class Embedding(audio.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.session = _session(repository / "speaker_embedding" / "1" / "weights" / "embedding.onnx")

        @property
        def dimension(self) -> int:
            size: int = self.session.get_outputs()[0].shape[-1]
            return size

        def forward(self, waveforms: Any, weights: Any = None) -> Any:
            """One voice in each waveform, as pyannote asks; the graph has room for three."""
            windows, _, samples = waveforms.shape
            if samples < FEWEST_SAMPLES:
                raise ValueError("too short for a voice")
            whole = torch.nn.functional.pad(waveforms, (0, WINDOW_SAMPLES - samples))
            masks = torch.zeros(windows, SPEAKERS, FRAMES)
            masks[:, 0] = 1.0 if weights is None else weights
            (embeddings,) = self.session.run(["embeddings"], {"waveforms": whole.numpy(), "masks": masks.numpy()})
            return torch.from_numpy(embeddings[:, 0])

    return Segmentation(), Embedding()


def _session(file: Path) -> Any:
    """As the engines of model_repository have it, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _card(repository: Path, model: str) -> Mapping[str, Any]:
    card: Mapping[str, Any] = json.loads((repository / model / "1" / "manifest.json").read_bytes())["card"]
    return card


def score(pairs: Iterable[Pair]) -> list[Score]:
    """Strictly: without a collar around the turns' ends, and with overlapped speech."""
    metric = import_module("pyannote.metrics.diarization").DiarizationErrorRate(collar=0.0, skip_overlap=False)
    core = import_module("pyannote.core")

    def annotation(turns: Turns) -> Any:
        found = core.Annotation()
        for track, (start, end, speaker) in enumerate(turns):
            found[core.Segment(start, end), track] = str(speaker)
        return found

    scores = []
    for pair in pairs:
        detail = metric(
            annotation(pair["reference"]),
            annotation(pair["hypothesis"]),
            uem=core.Timeline([core.Segment(0, pair["seconds"])]),
            detailed=True,
        )
        scores.append(
            Score(
                total=detail["total"],
                miss=detail["missed detection"],
                false_alarm=detail["false alarm"],
                confusion=detail["confusion"],
            )
        )
    return scores


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    diarizing = commands.add_parser("diarize")
    diarizing.add_argument("recordings", type=Path, nargs="+")
    diarizing.add_argument("--repository", type=Path, required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("pairs", type=Path)
    for command in (diarizing, scoring):
        command.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args(argv)
    result: object
    if arguments.command == "diarize":
        result = diarize(arguments.repository, arguments.recordings)
    else:
        result = score(json.loads(arguments.pairs.read_bytes()))
    arguments.to.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
