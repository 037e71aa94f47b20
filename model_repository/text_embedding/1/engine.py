"""What texts mean, as vectors of length 1: a sentence encoder over ONNX Runtime.

The graph (see export_scripts/text_embedding.py) takes tokens and their mask and gives vectors; weights/tokenizer.json
cuts a text at what the checkpoint reads. Each run of the graph is padded to its own longest text, and texts of about
the same length share one, so that hardly any padding is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

MAX_TEXTS = 256
MAX_TEXT_BYTES = 65_536
MAX_REQUEST_BYTES = 1024 * 1024
# Tokens of one run of the graph, padding among them. A CPU computes no faster in larger runs, whose numbers do not stay
# in its cache; a GPU needs them.
CPU_RUN_TOKENS = 256
GPU_RUN_TOKENS = 16_384

Floats = npt.NDArray[np.float32]


class TextError(ValueError):
    """The texts of one request cannot be processed; those of the others in its batch can."""


class TextEmbeddingEngine:
    def __init__(self, weights: Path, *, device: str = "cpu", device_index: int = 0, threads: int = 1) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads take the CPU from the other instances.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(device_index)}))
        self._session = onnxruntime.InferenceSession(str(weights / "embedding.onnx"), options, providers=providers)
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        self._run_tokens = GPU_RUN_TOKENS if on_gpu else CPU_RUN_TOKENS
        self._tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))

    def embed(self, requests: Sequence[Sequence[bytes]]) -> list[Floats | TextError]:
        """Of each request's texts, in UTF-8, a row each (texts, dimension), or that request's own error."""
        answers: list[Floats | TextError] = []
        texts: list[str] = []
        good: list[tuple[int, int]] = []
        for request in requests:
            try:
                texts += _checked(request)
                good.append((len(answers), len(texts)))
                answers.append(TextError("not processed"))
            except TextError as error:
                answers.append(error)
        if texts:
            embeddings = self._embed(texts)
            start = 0
            for index, end in good:
                answers[index] = embeddings[start:end]
                start = end
        return answers

    def _embed(self, texts: Sequence[str]) -> Floats:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        runs = list(equal_runs([len(of_text) for of_text in tokens], self._run_tokens))
        computed = np.concatenate([self._run([tokens[index] for index in run]) for run in runs])
        embeddings = np.empty_like(computed)
        embeddings[np.concatenate(runs)] = computed
        return embeddings

    def _run(self, tokens: Sequence[Sequence[int]]) -> Floats:
        padded = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
        mask = np.zeros_like(padded)
        for row, of_text in enumerate(tokens):
            padded[row, : len(of_text)] = of_text
            mask[row, : len(of_text)] = 1
        (embeddings,) = self._session.run(["embeddings"], {"tokens": padded, "mask": mask})
        of_run: Floats = embeddings
        return of_run


def equal_runs(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The indices of all lengths, each in one run with others of about its length.

    A run has at most `most_tokens` when all in it are as long as its longest; what is longer by itself runs alone.
    """
    run: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if run and (len(run) + 1) * lengths[index] > most_tokens:
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _checked(texts: Sequence[bytes]) -> list[str]:
    """Raises TextError."""
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise TextError(f"TEXTS must hold 1 to {MAX_TEXTS} texts; it holds {len(texts)}.")
    if max(map(len, texts)) > MAX_TEXT_BYTES:
        raise TextError(f"A text has at most {MAX_TEXT_BYTES} bytes; one has {max(map(len, texts))}.")
    if sum(map(len, texts)) > MAX_REQUEST_BYTES:
        raise TextError(f"TEXTS has at most {MAX_REQUEST_BYTES} bytes in all; it has {sum(map(len, texts))}.")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError as error:
        raise TextError(f"TEXTS must be UTF-8: {error}.") from error
