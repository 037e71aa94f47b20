"""Silero VAD v6, from the ONNX file that faster-whisper installs, as a model that batches streams.

The published graph steps one stream: its frames are the LSTM's time axis, with a batch of one. The frames are encoded
independently of each other, so a gather in between turns (all frames) into (steps, streams), and the LSTM is told each
stream's length. Weights stay untouched; every export is compared with the original graph, stream by stream.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from faster_whisper.utils import get_assets_path
from onnx import TensorProto, helper

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version

FRAME_INPUT = 576  # 64 samples of context and a frame of 512
HIDDEN = 128
BATCH_SIZE = 64
# Larger batches save nothing there, and live speech would wait for the one that is being worked on.
CPU_BATCH_SIZE = 4


def published_graph() -> Path:
    return Path(get_assets_path()) / "silero_vad_v6.onnx"


def batched_graph(original: onnx.ModelProto) -> onnx.ModelProto:
    """The same network over `frames` (n, 576), `steps` (longest, streams), `lengths` (streams) and the LSTM's state."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    lstm = next(node for node in graph.node if node.op_type == "LSTM")
    last = graph.node[-1]
    encoded, hidden, cell = lstm.input[0], lstm.input[5], lstm.input[6]
    if (lstm.output[1], lstm.output[2], last.op_type, graph.input[0].name) != ("hn", "cn", "Reshape", "input"):
        raise ExportError("This is not the graph of Silero VAD v6: its recurrent part or its output looks different.")

    # The encoder gives (n, 1, 128); drop the 1, gather, and the LSTM sees (steps, streams, 128).
    graph.initializer.append(helper.make_tensor("middle_axis", TensorProto.INT64, [1], [1]))
    where = list(graph.node).index(lstm)
    graph.node.insert(where, helper.make_node("Squeeze", [encoded, "middle_axis"], ["encoded_frames"]))
    graph.node.insert(where + 1, helper.make_node("Gather", ["encoded_frames", "steps"], ["encoded_steps"], axis=0))
    lstm.input[0], lstm.input[4] = "encoded_steps", "lengths"
    # At the end stands (streams, 1, steps): drop the middle axis instead of flattening all streams into one.
    graph.node.remove(last)
    graph.node.append(helper.make_node("Squeeze", [last.input[0], "middle_axis"], ["probabilities"]))
    used = {name for node in graph.node for name in node.input}
    for initializer in [weights for weights in graph.initializer if weights.name not in used]:
        graph.initializer.remove(initializer)

    names = {"input": "frames", hidden: "hidden", cell: "cell", "hn": "next_hidden", "cn": "next_cell"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    state = [1, "streams", HIDDEN]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(
        [
            helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["frames", FRAME_INPUT]),
            helper.make_tensor_value_info("steps", TensorProto.INT64, ["steps", "streams"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["streams"]),
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("cell", TensorProto.FLOAT, state),
        ]
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["streams", "steps"]),
            helper.make_tensor_value_info("next_hidden", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("next_cell", TensorProto.FLOAT, state),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def largest_difference(original: Path, batched: Path) -> float:
    """The largest difference of any probability or state between the two graphs, over streams of unequal length."""
    generator = np.random.default_rng(6)
    lengths = np.array([40, 1, 17], dtype=np.int32)
    noise = [generator.normal(0, 0.1, (length, FRAME_INPUT)).astype(np.float32) for length in lengths]
    state = generator.normal(0, 0.1, (2, 1, len(lengths), HIDDEN)).astype(np.float32)
    steps = np.minimum(np.arange(lengths.max())[:, None] + np.cumsum(lengths) - lengths, lengths.sum() - 1)
    many = onnxruntime.InferenceSession(str(batched), providers=["CPUExecutionProvider"]).run(
        ["probabilities", "next_hidden", "next_cell"],
        {
            "frames": np.concatenate(noise),
            "steps": steps.astype(np.int64),
            "lengths": lengths,
            "hidden": state[0],
            "cell": state[1],
        },
    )
    single = onnxruntime.InferenceSession(str(original), providers=["CPUExecutionProvider"])
    worst = 0.0
    for stream, frames in enumerate(noise):
        one = slice(stream, stream + 1)
        expected = single.run(None, {"input": frames, "h": state[0][:, one], "c": state[1][:, one]})
        got = (many[0][stream, : len(frames)], many[1][:, one], many[2][:, one])
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True)))
    return worst


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="tritone export voice_activity", description=__doc__)
    add_target_arguments(parser, name="voice_activity", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    to = target(parser.parse_args(argv))
    source = published_graph()
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        onnx.save(batched_graph(onnx.load(source)), weights / "silero_vad.onnx")
        difference = largest_difference(source, weights / "silero_vad.onnx")
        if difference > 1e-4:
            raise ExportError(f"The batched graph differs from the published one by {difference:.1e}.")
        version = write_version(
            "voice_activity",
            to,
            weights,
            instances=place(to, weights, threads=1).instances,
            card={"name": "Silero VAD v6"},
            source={"package": "faster-whisper", "file": source.name, "largest_difference": difference},
            packages=("faster-whisper", "onnx", "onnxruntime"),
        )
    print(f"{to.name} version {to.version}: {version}")
