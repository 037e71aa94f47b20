"""A pyannote speaker embedding checkpoint as a version that turns the voices in a window into vectors.

Runs in the environment of `make pyannote`. The graph is compared with pyannote's own module, number by number. From a
pipeline come also the clustering that goes with the embeddings, and its PLDA.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.engines import load_engine
from export_scripts.filterbank import FRAME_SAMPLES, MEL_BINS, SHIFT_SAMPLES, Filterbank
from export_scripts.onnx_export import (
    BATCH_SIZE,
    CPU_BATCH_SIZE,
    SAMPLE_RATE_HZ,
    SPEAKERS,
    TOLERANCE,
    some_masks,
    some_waveforms,
    write_onnx,
)
from export_scripts.pyannote import (
    CHECKPOINT_HELP,
    Pipeline,
    Source,
    fetch,
    load_model,
    pyannote_audio,
    read_pipeline,
    run,
)

# What pyannote/speaker-diarization-3.1 uses.
CENTROID = {"method": "centroid", "threshold": 0.7045654963945799, "min_cluster_size": 12, "constrained": False}
# What `Filterbank` computes, in the names of pyannote's hyper-parameters.
FILTERBANK = {
    "sample_rate": SAMPLE_RATE_HZ,
    "num_channels": 1,
    "num_mel_bins": MEL_BINS,
    "frame_length": 1000 * FRAME_SAMPLES / SAMPLE_RATE_HZ,
    "frame_shift": 1000 * SHIFT_SAMPLES / SAMPLE_RATE_HZ,
    "dither": 0.0,
    "window_type": "hamming",
    "use_energy": False,
    "round_to_power_of_two": True,
    "snip_edges": True,
    "fbank_centering_span": None,
}


class WaveformsToEmbeddings(nn.Module):
    """A pyannote ResNet behind a filterbank that ONNX can hold; its trunk runs once for all the masks of a window.

    The steps are those of the ResNet's own `forward`, less the einops in between, which fix the batch when traced.
    """

    def __init__(self, resnet: Any) -> None:
        super().__init__()
        self.filterbank = Filterbank()
        self.resnet = resnet

    def forward(self, waveforms: Tensor, masks: Tensor) -> Tensor:
        frames = self.resnet.forward_frames(self.filterbank(waveforms[:, 0])).flatten(1, 2)
        embeddings: Tensor = self.resnet.seg_1(self.resnet.pool.stats_pool(frames, weights=masks))
        return embeddings


def export_module(module: nn.Module, weights: Path, reference: Callable[..., Tensor] | None = None) -> float:
    """Write weights/embedding.onnx and return its largest difference from `reference`, the module by default.

    The module takes `waveforms` (batch, 1, 160000) in -1..1 and `masks` (batch, 3, 589) of 0 and 1 to `embeddings`
    (batch, 3, dimension). Raises ExportError; see `write_onnx`.
    """
    batches = [{"waveforms": some_waveforms(windows), "masks": some_masks(windows)} for windows in (1, 3)]
    return write_onnx(module, weights / "embedding.onnx", batches, "embeddings", (SPEAKERS, None), reference)


def with_filterbank(model: Any) -> WaveformsToEmbeddings:
    """What to export of a pyannote model. Raises ExportError where it is not a WeSpeaker ResNet with our filterbank."""
    if not hasattr(model, "resnet") or model.resnet.two_emb_layer:
        raise ExportError(f"The checkpoint is a {type(model).__name__}; embeddings come from a WeSpeaker ResNet.")
    for name, wanted in FILTERBANK.items():
        found = model.hparams.get(name, wanted)
        if found != wanted:
            raise ExportError(f"The checkpoint's filterbank has {name} {found!r}; what is served has {wanted!r}.")
    return WaveformsToEmbeddings(model.resnet)


def export_plda(source: Source, weights: Path) -> tuple[list[float], float]:
    """Write weights/plda.npz; returns the variance between speakers per dimension and the difference from pyannote's.

    The difference is a share of the largest number. Raises ExportError.
    """
    from scipy.linalg import eigh

    pyannote_audio()
    from pyannote.audio.core.plda import PLDA

    transform_file, plda_file = source.path / "xvec_transform.npz", source.path / "plda.npz"
    try:
        theirs = PLDA(transform_file, plda_file)
        transform, plda = np.load(transform_file), np.load(plda_file)
        # As vbx_setup in pyannote.audio.utils.vbx: the axes on which speakers vary most against themselves, first.
        within = np.linalg.inv(plda["tr"].T @ plda["tr"])
        between = np.linalg.inv((plda["tr"].T / plda["psi"]) @ plda["tr"])
        _, axes = eigh(between, within)
        mean = transform["mean1"]
        np.savez(
            weights / "plda.npz",
            mean=mean,
            lda=transform["lda"],
            lda_mean=transform["mean2"],
            plda_mean=plda["mu"],
            plda=axes[:, ::-1][:, : theirs.lda_dimension],
        )
    except (OSError, KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise ExportError(f"{source.path} holds no PLDA: {error}") from error
    embeddings = np.random.default_rng(7).normal(mean, 1.0, (100, len(mean))).astype(np.float32)
    expected = theirs(embeddings)
    got = load_engine("speaker_embedding").Plda(weights / "plda.npz")(embeddings)
    difference = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise ExportError(f"The PLDA differs from pyannote's by {difference:.1e} of the largest number.")
    return [float(variance) for variance in theirs.phi], difference


def clustering(pipeline: Pipeline | None, threshold: float | None) -> dict[str, Any]:
    """How to tell speakers apart by these embeddings: what the pipeline says, or 3.1's way. Raises ExportError."""
    card: dict[str, Any] = dict(CENTROID)
    if pipeline is not None:
        tuned: Mapping[str, Any] = (pipeline.config.get("params") or {}).get("clustering") or {}
        kind = pipeline.parameters.get("clustering")
        try:
            if kind == "VBxClustering":
                # pyannote starts VBx from every cluster that the threshold makes, however small, and gives the speakers
                # of a window to different clusters.
                card = {
                    "method": "vbx",
                    "threshold": float(tuned["threshold"]),
                    "min_cluster_size": 1,
                    "constrained": True,
                    "fa": float(tuned["Fa"]),
                    "fb": float(tuned["Fb"]),
                }
            elif kind == "AgglomerativeClustering" and tuned["method"] == "centroid":
                card["threshold"] = float(tuned["threshold"])
                card["min_cluster_size"] = int(tuned["min_cluster_size"])
            else:
                raise ExportError(f"The pipeline clusters by {kind} {tuned.get('method', '')}, which is not served.")
        except KeyError as error:
            raise ExportError(f"The pipeline's params.clustering has no {error}.") from error
    if threshold is not None:
        card["threshold"] = threshold
    if not 0 < card["threshold"] <= 2:
        raise ExportError("The threshold is a distance between vectors of length 1: it must lie between 0 and 2.")
    return card


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export_scripts.speaker_embedding", description=__doc__)
    known = "pyannote/wespeaker-voxceleb-resnet34-LM or pyannote/speaker-diarization-community-1"
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT_HELP % known)
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", help="how the checkpoint is called; its id or its folder's name by default")
    parser.add_argument(
        "--threshold",
        type=float,
        help="the distance at which two voices are two speakers; by default the pipeline's, or else that of 3.1",
    )
    add_target_arguments(parser, name="speaker_embedding", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    if arguments.cpu_threads is not None and arguments.cpu_threads < 1:
        raise ExportError("--cpu-threads must be at least 1.")
    source = fetch(arguments.checkpoint, arguments.revision)
    pipeline = read_pipeline(source)
    card = clustering(pipeline, arguments.threshold)
    checkpoint = source if pipeline is None else pipeline.part("embedding")
    model = load_model(checkpoint)
    graph = with_filterbank(model)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        differences = {"largest_difference": export_module(graph, weights, reference=model)}
        if pipeline is not None and card["method"] == "vbx":
            card["plda_variances"], differences["plda_difference"] = export_plda(pipeline.part("plda"), weights)
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "speaker_embedding",
            to,
            weights,
            instances=placement.instances,
            card={"name": arguments.display_name or source.origin, "clustering": card},
            source={"checkpoint": checkpoint.origin, "revision": checkpoint.revision, **differences},
            packages=("pyannote.audio", "torch", "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads},
        )
    print(f"{to.name} version {to.version}: {version}")


if __name__ == "__main__":
    run(main)
