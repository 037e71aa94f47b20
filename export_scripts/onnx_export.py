"""A torch module over windows of 10 s as an ONNX file that gives the same numbers; one that does not is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from torch import Tensor, nn

from export_scripts.artifact import ExportError

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 10
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE_HZ
FRAMES = 589  # of 270 samples each
SPEAKERS = 3
BATCH_SIZE = 32
# Larger batches save nothing there, and live speech would wait for the one that is being worked on.
CPU_BATCH_SIZE = 4
OPSET = 17
# What is taken for rounding, as a share of the largest number that the module gives.
TOLERANCE = 1e-3


def write_onnx(
    module: nn.Module,
    file: Path,
    batches: Sequence[Mapping[str, Tensor]],
    output: str,
    shape: tuple[int | None, ...],
    reference: Callable[..., Tensor] | None = None,
    *,
    lengths: Mapping[str, int] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write `module` to `file` and return its largest difference from `reference`, by default the module itself.

    `batches` are what they are compared on: the inputs by name, of any number of windows; the last one is what the
    module is traced with. `shape` is what a window's `output` must have, None standing for any size. The difference is
    a share of the largest number in the reference's output. Raises ExportError where the shape is another, where the
    graph takes but one size of batch, and where the difference exceeds `tolerance`. `lengths` names an axis of inputs
    and outputs that may have any size, as the first, the batch, always may.
    """
    module.eval()
    names = list(batches[-1])
    with torch.inference_mode():
        expected = [(reference or module)(*batch.values()).numpy() for batch in batches]
    for numbers in expected:
        if len(numbers.shape) != len(shape) + 1 or any(
            wanted not in (None, size) for wanted, size in zip(shape, numbers.shape[1:], strict=True)
        ):
            raise ExportError(f"The {output} of a window have the shape {numbers.shape[1:]}; it must be {shape}.")
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns of all that it cannot be sure of; whether the graph is right is measured below.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(batches[-1].values()),
            str(file),
            input_names=names,
            output_names=[output],
            dynamic_axes={name: {0: "batch"} | _free(lengths, name) for name in [*names, output]},
            opset_version=OPSET,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    difference = 0.0
    for batch, numbers in zip(batches, expected, strict=True):
        try:
            (got,) = session.run([output], {name: tensor.numpy() for name, tensor in batch.items()})
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise ExportError(f"The ONNX graph does not take a batch of {len(numbers)}: {error}") from error
        share = float(np.abs(got - numbers).max() / np.abs(numbers).max()) if got.shape == numbers.shape else np.inf
        # Not a number is a difference as well, and neither larger nor smaller than any.
        if not share <= tolerance:
            raise ExportError(f"The ONNX graph's {output} differ from the module's by {share:.1e} of the largest.")
        difference = max(difference, share)
    return difference


def _free(lengths: Mapping[str, int] | None, name: str) -> dict[int, str]:
    return {lengths[name]: f"{name}_length"} if lengths and name in lengths else {}


def some_waveforms(windows: int) -> Tensor:
    """(windows, 1, 160000) of 16-bit audio in -1..1: noise and buzz that breaks off, and silence."""
    generator = np.random.default_rng(windows)
    time_s = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ
    rows = []
    for row in range(windows):
        noise = generator.normal(0, 0.05, WINDOW_SAMPLES)
        buzz = 0.2 * np.sign(np.sin(2 * np.pi * (100 + 80 * row) * time_s)) * np.sin(2 * np.pi * 2 * time_s)
        rows.append((noise + buzz) * (time_s < WINDOW_S - 3 * row))
    if windows > 1:
        rows[-1] = np.zeros(WINDOW_SAMPLES)
    samples = np.clip(np.round(32768 * np.stack(rows)), -32768, 32767)
    return torch.from_numpy((samples / 32768).astype(np.float32))[:, None]


def some_masks(windows: int) -> Tensor:
    """(windows, 3, 589) of 0 and 1: one turn, scattered frames, and all of the window."""
    generator = np.random.default_rng(windows)
    masks = np.ones((windows, SPEAKERS, FRAMES), dtype=np.float32)
    masks[:, 1] = generator.random((windows, FRAMES)) < 0.3
    for row in range(windows):
        first, last = sorted(generator.integers(0, FRAMES + 1, 2))
        masks[row, 0] = (np.arange(FRAMES) >= first) & (np.arange(FRAMES) < max(last, first + 20))
    return torch.from_numpy(masks)
