"""A text in the voice of a recording: F5-TTS and its vocoder over ONNX Runtime.

The spectrum of the reference is carried on by that of what is to be said: a network says where noise has to flow to
become it, step by step. See export_scripts/voice_cloner_graphs.py for the three graphs, and f5_tts.infer.utils_infer
for the rules about texts, durations and loudness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import onnxruntime
from pinyin import NoPinyinError, spell
from spectra import HOP_SAMPLES, MELS, SAMPLE_RATE_HZ, Floats, Pcm, log_mel, waveform, without_silent_edges

SHORTEST_REFERENCE_S = 1
LONGEST_REFERENCE_S = 12
LEAST_SPEECH_S = 0.5
LONGEST_S = 30  # the reference and what is said, as in F5-TTS's training
MAX_FRAMES = LONGEST_S * SAMPLE_RATE_HZ // HOP_SAMPLES
SILENCE_BEHIND_REFERENCE_S = 0.05
REFERENCE_RMS = 0.1  # a quieter one is made so loud, and what is said in its voice as quiet again
SHORT_TEXT_BYTES = 10  # a shorter one is spoken slowly, whatever its speed
SHORT_TEXT_SPEED = 0.3
UNKNOWN = 0  # of the vocabulary: the space
FILLER = 0  # of the text's network, which counts the vocabulary from 1
# Frames of one run of the network, padding among them. What a CPU gains from a larger one is nothing.
CPU_RUN_FRAMES = MAX_FRAMES
GPU_RUN_FRAMES = 8 * MAX_FRAMES
# How much longer the longest of a run may be than the shortest: so much is computed for nothing.
LIKE_LENGTHS = 1.25
# Where few steps go best, in 32nds: f5_tts.model.utils.get_epss_timesteps.
FEW_STEPS = {
    5: (0, 2, 4, 8, 16, 32),
    6: (0, 2, 4, 6, 8, 16, 32),
    7: (0, 2, 4, 6, 8, 16, 24, 32),
    10: (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
    12: (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32),
    16: (*range(8), 8, 10, 12, 14, 16, 20, 24, 28, 32),
}


class SpeechOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cloned voice says. The same `seed` gives the same speech."""

    reference_text: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    speed: Annotated[float, msgspec.Meta(ge=0.5, le=2)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0


class SpeechError(ValueError):
    """One request cannot be spoken; the others in its batch can."""


class AbandonedError(Exception):
    """Nobody waits for this speech any more."""


class NoNumbersError(ArithmeticError):
    """What the networks gave is no sound."""


Answer = Floats | SpeechError | AbandonedError | NoNumbersError


class Sampling(NamedTuple):
    """How the flow is followed: Euler steps, classifier-free guidance's strength, sway sampling's coefficient."""

    steps: int = 32
    guidance: float = 2.0
    sway: float = -1.0

    def times(self) -> Floats:
        """From 0, where all is noise, to 1."""
        if self.steps in FEW_STEPS:
            times = np.array(FEW_STEPS[self.steps], dtype=np.float32) / 32
        else:
            times = np.linspace(0, 1, self.steps + 1, dtype=np.float32)
        swayed: Floats = times + np.float32(self.sway) * (np.cos(np.float32(np.pi / 2) * times) - 1 + times)
        return swayed


USUAL = Sampling()


@dataclass(frozen=True)
class Utterance:
    """A request, ready to be spoken."""

    reference: Floats
    """The log-mel spectrum (frames, mels) of the reference."""
    tokens: list[int]
    """Both texts, one behind the other."""
    noise: Floats
    """(frames, mels), of the reference and what is said."""
    gain: float
    """What the reference was multiplied with."""

    @property
    def frames(self) -> int:
        return len(self.noise)


class VoiceClonerEngine:
    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        threads: int = 1,
        sampling: Sampling = USUAL,
    ) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena keeps the largest run ever seen, and spinning threads take the CPU from the other instances.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            # Trying every algorithm, the default, would hold up the first run of every length.
            cuda = {"device_id": str(device_index), "cudnn_conv_algo_search": "HEURISTIC"}
            providers.insert(0, ("CUDAExecutionProvider", cuda))
        self._text, self._velocity, self._vocoder = (
            onnxruntime.InferenceSession(str(weights / f"{graph}.onnx"), options, providers=providers)
            for graph in ("text", "velocity", "vocoder")
        )
        on_gpu = self._velocity.get_providers()[0] == "CUDAExecutionProvider"
        self._run_frames = GPU_RUN_FRAMES if on_gpu else CPU_RUN_FRAMES
        self._filterbank: Floats = np.load(weights / "filterbank.npy")
        self._vocabulary: dict[str, int] = json.loads((weights / "vocabulary.json").read_bytes())
        self._sampling = sampling

    def speak(
        self,
        requests: Sequence[tuple[Pcm, SpeechOptions]],
        has_gone: Callable[[int], bool] = lambda index: False,
    ) -> list[Answer]:
        """Of each request the speech (samples,) at 24 kHz within -1..1, or its own error.

        `has_gone` tells by a request's index whether anybody still waits for it; it is asked before every step.
        """
        answers: list[Answer] = []
        utterances: dict[int, Utterance] = {}
        for index, (reference, options) in enumerate(requests):
            try:
                utterances[index] = self.prepare(reference, options)
                answers.append(SpeechError("not processed"))
            except SpeechError as error:
                answers.append(error)
        for run in like_runs({index: utterance.frames for index, utterance in utterances.items()}, self._run_frames):
            for index, answer in zip(run, self._say(run, utterances, has_gone), strict=True):
                answers[index] = answer
        return answers

    def prepare(self, reference: Pcm, options: SpeechOptions) -> Utterance:
        """Raises SpeechError."""
        samples, gain = loud(heard(reference))
        reference_text, text = sentence(options.reference_text), options.text.strip()
        if not text:
            raise SpeechError("text says nothing.")
        try:
            characters = spell(reference_text + text)
        except NoPinyinError as error:
            raise SpeechError(str(error)) from error
        reference_frames = samples.size // HOP_SAMPLES
        frames_a_byte = reference_frames / len(reference_text.encode())
        text_bytes = len(text.encode())
        speed = SHORT_TEXT_SPEED if text_bytes < SHORT_TEXT_BYTES else options.speed
        frames = reference_frames + int(frames_a_byte * text_bytes / speed)
        # At least one frame for what is said, and no fewer than there are characters.
        frames = max(frames, reference_frames + 2, len(characters) + 1)
        if frames > MAX_FRAMES:
            raise SpeechError(
                f"The reference and what is said have at most {LONGEST_S} s together; "
                f"at the pace of the reference they have {frames * HOP_SAMPLES / SAMPLE_RATE_HZ:.1f}."
            )
        return Utterance(
            reference=log_mel(samples, self._filterbank),
            tokens=[self._vocabulary.get(character, UNKNOWN) for character in characters],
            noise=np.random.default_rng(options.seed).standard_normal((frames, MELS), dtype=np.float32),
            gain=gain,
        )

    def _say(
        self, run: Sequence[int], utterances: Mapping[int, Utterance], has_gone: Callable[[int], bool]
    ) -> list[Answer]:
        of_run = [utterances[index] for index in run]
        try:
            spectra = self.spectra(of_run, lambda: all(has_gone(index) for index in run))
        except AbandonedError as error:
            return [error] * len(run)
        sounds = [self.sound(mels, utterance.gain) for mels, utterance in zip(spectra, of_run, strict=True)]
        return [sound if np.isfinite(sound).all() else NoNumbersError("This is no sound.") for sound in sounds]

    def spectra(self, utterances: Sequence[Utterance], has_gone: Callable[[], bool] = lambda: False) -> list[Floats]:
        """The log-mel spectra (frames, mels) of what is said, in one run. They begin with the reference's last frame.

        Raises AbandonedError where everybody has gone.
        """
        count, longest = len(utterances), max(utterance.frames for utterance in utterances)
        flowing = np.zeros((count, longest, MELS), dtype=np.float32)
        condition = np.zeros_like(flowing)
        mask = np.zeros((count, longest), dtype=np.bool_)
        texts: list[Floats] = []
        for row, utterance in enumerate(utterances):
            flowing[row, : utterance.frames] = utterance.noise
            condition[row, : len(utterance.reference)] = utterance.reference
            mask[row, : utterance.frames] = True
            texts.append(self._embedded(utterance, longest))
        inputs = {
            "condition": condition,
            "text": np.stack([with_text for with_text, _ in texts]),
            "no_text": np.stack([without for _, without in texts]),
            "mask": mask,
            "guidance": np.full(count, self._sampling.guidance, dtype=np.float32),
        }
        for now, then in pairwise(self._sampling.times()):
            if has_gone():
                raise AbandonedError
            inputs |= {"flowing": flowing, "time": np.full(count, now, dtype=np.float32)}
            (velocity,) = self._velocity.run(["velocity"], inputs)
            flowing = flowing + (then - now) * velocity
        return [
            np.concatenate([of.reference[-1:], flowing[row, len(of.reference) : of.frames]])
            for row, of in enumerate(utterances)
        ]

    def _embedded(self, utterance: Utterance, longest: int) -> Floats:
        """(2, longest, dimension): the text for each frame, and no text. Its network looks at an utterance as a whole,
        padding among it, so it sees one at a time."""
        tokens = np.full((1, utterance.frames), FILLER, dtype=np.int64)
        tokens[0, : len(utterance.tokens)] = np.array(utterance.tokens) + 1
        (embedded,) = self._text.run(["embeddings"], {"tokens": tokens})
        padded: Floats = np.pad(embedded[0], ((0, 0), (0, longest - utterance.frames), (0, 0)))
        return padded

    def sound(self, mels: Floats, gain: float) -> Floats:
        """(samples,) of a spectrum, as quiet as the reference was, and quieter where it would exceed -1..1.

        One at a time as well: at the end of a sound the vocoder looks at what is behind it.
        """
        (spectrum,) = self._vocoder.run(["spectrum"], {"mels": mels.T[None]})
        samples = waveform(spectrum[0]) / np.float32(gain)
        bounded: Floats = samples / np.maximum(np.float32(1), np.abs(samples).max())
        return bounded


def like_runs(frames: Mapping[int, int], most_frames: int) -> Iterator[list[int]]:
    """All of them, each with others of about its length.

    A run has at most `most_frames` when all in it are as long as its longest; what is longer by itself runs alone.
    """
    run: list[int] = []
    for index in sorted(frames, key=frames.__getitem__):
        length = frames[index]
        if run and ((len(run) + 1) * length > most_frames or length > LIKE_LENGTHS * frames[run[0]]):
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def heard(reference: Pcm) -> Pcm:
    """What F5-TTS looks at: without silence but for a moment at the end. Raises SpeechError."""
    seconds = reference.size / SAMPLE_RATE_HZ
    if not SHORTEST_REFERENCE_S <= seconds <= LONGEST_REFERENCE_S:
        raise SpeechError(
            f"REFERENCE must have {SHORTEST_REFERENCE_S} to {LONGEST_REFERENCE_S} s; it has {seconds:.2f}."
        )
    heard = without_silent_edges(reference)
    if heard.size < LEAST_SPEECH_S * SAMPLE_RATE_HZ:
        raise SpeechError(f"REFERENCE is silent but for {heard.size / SAMPLE_RATE_HZ:.2f} s.")
    return np.pad(heard, (0, int(SILENCE_BEHIND_REFERENCE_S * SAMPLE_RATE_HZ)))


def loud(pcm: Pcm) -> tuple[Floats, float]:
    """In -1..1 and loud enough, and what it was multiplied with for that."""
    samples = pcm.astype(np.float32) / np.float32(32768)
    gain = max(1.0, REFERENCE_RMS / float(np.sqrt(np.square(samples).mean())))
    return samples * np.float32(gain), gain


def sentence(text: str) -> str:
    """With an end that F5-TTS hears as one: of Latin text a full stop and two spaces. Raises SpeechError."""
    text = text.strip()
    if not text:
        raise SpeechError("reference_text says nothing.")
    if text.endswith("。"):
        return text
    return text.removesuffix(".") + ".  "
