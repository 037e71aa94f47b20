"""The three ONNX graphs of a DeepFilterNet3 as one, whose memory is an input and an output.

The published graphs start every run from nothing: their recurrent layers from zeros, their convolutions with zeros in
place of the frames before the first. In the graph that is served both come in as `state` and go out as `next_state`,
and its batch is of any size. No weight is touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from export_scripts.artifact import ExportError

ENCODER, GAINS, FILTER = "enc", "erb_dec", "df_dec"
PARTS = (ENCODER, GAINS, FILTER)
# What the parts hand each other, and what the graph's own inputs and outputs are called.
HANDED_ON = {name: name for name in ("e0", "e1", "e2", "e3", "emb", "c0")}
NAMES = {**HANDED_ON, "feat_erb": "levels", "feat_spec": "low_bins", "m": "gains", "coefs": "coefficients"}
TIME_AXIS = 2


@dataclass(frozen=True)
class Joined:
    """`sizes` are those of the last axis of levels, of low_bins and of coefficients."""

    model: ModelProto
    sizes: tuple[int, int, int]


class Memory:
    """Collects what the graph remembers: for each piece a node that hands it in and one that takes it out."""

    def __init__(self) -> None:
        self.before: list[NodeProto] = []
        self.after: list[NodeProto] = []
        self.sizes: list[int] = []

    def hidden(self, gru: NodeProto) -> None:
        size = next(attribute.i for attribute in gru.attribute if attribute.name == "hidden_size")
        piece = self._piece(size)
        self.before.append(helper.make_node("Unsqueeze", [piece], [f"{piece}/hidden"], axes=[0]))
        gru.input[5] = f"{piece}/hidden"
        self.after.append(helper.make_node("Squeeze", [gru.output[1]], [f"{piece}/next"], axes=[0]))

    def frames(self, pad: NodeProto, channels: int, width: int, kernel: int) -> NodeProto:
        """What stands in place of `pad`: the frames before, and then its input."""
        count = kernel - 1
        piece = self._piece(channels * count * width)
        self.before += [
            _constant(f"{piece}/shape", [0, channels, count, width]),
            helper.make_node("Reshape", [piece, f"{piece}/shape"], [f"{piece}/frames"]),
        ]
        self.after += [
            *(
                _constant(f"{piece}/{name}", [at])
                for name, at in (("start", -count), ("end", 2**31), ("axis", TIME_AXIS))
            ),
            helper.make_node(
                "Slice", [pad.output[0], f"{piece}/start", f"{piece}/end", f"{piece}/axis"], [f"{piece}/last"]
            ),
            helper.make_node("Flatten", [f"{piece}/last"], [f"{piece}/next"], axis=1),
        ]
        return helper.make_node("Concat", [f"{piece}/frames", pad.input[0]], [pad.output[0]], axis=TIME_AXIS)

    def nodes(self, inner: Iterable[NodeProto]) -> list[NodeProto]:
        pieces = [f"piece{index}" for index in range(len(self.sizes))]
        split = helper.make_node("Split", ["state"], pieces, axis=1, split=self.sizes)
        joined = helper.make_node("Concat", [f"{piece}/next" for piece in pieces], ["next_state"], axis=1)
        return [split, *self.before, *inner, *self.after, joined]

    def _piece(self, size: int) -> str:
        self.sizes.append(size)
        return f"piece{len(self.sizes) - 1}"


def joined_graph(parts: Mapping[str, ModelProto]) -> Joined:
    """`levels` (streams, 1, frames, bands), `low_bins` (streams, 2, frames, bins), `state` (streams, size) → `gains`
    (streams, 1, frames, bands), `coefficients` (streams, frames, bins, 2 taps) and `next_state`. Raises ExportError."""
    opsets = {opset.version for part in parts.values() for opset in part.opset_import}
    if len(opsets) != 1 or max(opsets) > 12:  # from 13 on, Squeeze and Split take what are attributes here as inputs
        raise ExportError(
            f"The graphs are of the ONNX operator sets {sorted(opsets)}; only one, up to 12, can be joined."
        )
    memory = Memory()
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    for name in PARTS:
        graph = parts[name].graph
        shapes = {value.name: _shape(value) for value in graph.input}
        own = {tensor.name: f"{name}/{tensor.name}" for tensor in graph.initializer}
        own |= {output: f"{name}/{output}" for node in graph.node for output in node.output}
        own |= {tensor: NAMES[tensor] for tensor in (*shapes, *own) if tensor in NAMES}
        kernels = {
            node.input[0]: next(
                list(attribute.ints) for attribute in node.attribute if attribute.name == "kernel_shape"
            )
            for node in graph.node
            if node.op_type == "Conv"
        }
        for original in graph.node:
            node = NodeProto()
            node.CopyFrom(original)
            node.name = f"{name}/{original.name}"
            node.input[:] = [own.get(tensor, tensor) for tensor in original.input]
            node.output[:] = [own.get(tensor, tensor) for tensor in original.output]
            if node.op_type == "GRU":
                memory.hidden(node)
            elif node.op_type == "Pad":
                try:
                    _, channels, _, width = shapes[original.input[0]]
                    node = memory.frames(node, channels, width, kernels[original.output[0]][0])
                except (KeyError, ValueError) as error:
                    raise ExportError(f"{name}.onnx pads what is no input of a convolution over frames.") from error
            nodes.append(node)
        for tensor in graph.initializer:
            weight = TensorProto()
            weight.CopyFrom(tensor)
            weight.name = own[tensor.name]
            weights.append(weight)
    ends = {value.name: _shape(value) for part in parts.values() for value in (*part.graph.input, *part.graph.output)}
    sizes = (ends["feat_erb"][3], ends["feat_spec"][3], ends["coefs"][3])
    return Joined(_model(memory, nodes, weights, sizes, opsets.pop()), sizes)


def _model(
    memory: Memory, nodes: list[NodeProto], weights: list[TensorProto], sizes: tuple[int, int, int], opset: int
) -> ModelProto:
    bands, bins, taps = sizes
    kept = _reached(memory.nodes(nodes), {"gains", "coefficients", "next_state"})
    used = {tensor for node in kept for tensor in node.input}
    size = sum(memory.sizes)

    def tensor(name: str, *shape: str | int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        kept,
        "deep_filter",
        [
            tensor("levels", "streams", 1, "frames", bands),
            tensor("low_bins", "streams", 2, "frames", bins),
            tensor("state", "streams", size),
        ],
        [
            tensor("gains", "streams", 1, "frames", bands),
            tensor("coefficients", "streams", "frames", bins, taps),
            tensor("next_state", "streams", size),
        ],
        [weight for weight in weights if weight.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model)
    return model


def _reached(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Those that the outputs need, in their order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _constant(name: str, values: list[int]) -> NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    )


def _shape(value: ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def largest_difference(parts: Mapping[str, bytes], joined: Path) -> float:
    """Of the gains and coefficients between the published graphs over whole streams and the joined one in blocks."""
    network = onnxruntime.InferenceSession(str(joined), providers=["CPUExecutionProvider"])
    inputs = {tensor.name: tensor.shape for tensor in network.get_inputs()}
    generator = np.random.default_rng(7)
    streams, frames = 3, 60
    levels, low_bins = (
        generator.normal(0, 0.5, (streams, *shape[1:2], frames, shape[3])).astype(np.float32)
        for shape in (inputs["levels"], inputs["low_bins"])
    )
    state = np.zeros((streams, inputs["state"][1]), dtype=np.float32)
    blocks = []
    for block in np.split(np.arange(frames), [1, 3, 40]):
        gains, coefficients, state = network.run(
            ["gains", "coefficients", "next_state"],
            {"levels": levels[:, :, block], "low_bins": low_bins[:, :, block], "state": state},
        )
        blocks.append((gains, coefficients))
    got = [np.concatenate(of_all, axis=axis) for of_all, axis in zip(zip(*blocks, strict=True), (2, 1), strict=True)]
    sessions = {
        name: onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"]) for name, part in parts.items()
    }
    worst = 0.0
    for stream in range(streams):
        one = slice(stream, stream + 1)
        known = {"feat_erb": levels[one], "feat_spec": low_bins[one]}
        for name in PARTS:
            session = sessions[name]
            made = session.run(None, {tensor.name: known[tensor.name] for tensor in session.get_inputs()})
            known |= {tensor.name: value for tensor, value in zip(session.get_outputs(), made, strict=True)}
        for of_joined, published in zip(got, (known["m"], known["coefs"]), strict=True):
            worst = max(worst, float(np.abs(of_joined[one] - published).max()))
    return worst if math.isfinite(worst) else math.inf
