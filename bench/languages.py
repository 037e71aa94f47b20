"""How well the languages of a recording are told apart, and what that costs: the tables of docs/performance.md.

    .venv/bin/python -m bench.languages

Sentences that no training saw, in voices that none heard, English and Spanish in turn or all in one language, with and
without noise; through the whole pipeline, with the engines in this process on one thread. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, pairwise
from pathlib import Path

import numpy as np
import soundfile

from api.recognition.catalog import SpeechModel
from api.recognition.languages import SwitchPolicy
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.speech import Transcript
from bench.accuracy import LIMITS, pcm
from bench.in_process import InProcess
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech import voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats
from export_scripts.demo.whisper import held_out
from export_scripts.scoring import word_error_rate

LANGUAGES = ("en", "es")
PAUSES_S = ((0.2, 0.3), (0.3, 0.6), (0.6, 1.5))
NOISE_DB: tuple[int | None, ...] = (None, 20, 10, 5, 0)
LEVEL_DB = -23


@dataclass(frozen=True)
class Said:
    """A sentence, and from when to when in the recording, in s."""

    language: str
    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Mixed:
    samples: Floats
    said: list[Said]

    @property
    def text(self) -> str:
        return " ".join(one.text for one in self.said)


@dataclass(frozen=True)
class Measured:
    transcripts: list[Transcript]
    seconds: float

    @property
    def calls(self) -> int:
        return sum(one.detection.calls for one in self.transcripts if one.detection is not None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--min-window-frames", type=int, help="3000 pads every window to 30 s; by default the model's")
    parser.add_argument("--minutes", type=float, default=3, help="of each recording (%(default)s)")
    parser.add_argument("--probability", type=float, default=SwitchPolicy().probability, help="(%(default)s)")
    parser.add_argument("--speech", type=float, default=SwitchPolicy().speech_s, help="seconds (%(default)s)")
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    seconds = 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        espeak = Espeak(Path(folder), {})
        mixed = {pauses: recording(espeak, LANGUAGES, pauses, rng, seconds) for pauses in PAUSES_S}
        single = {
            (language, noise): with_noise(recording(espeak, (language,), PAUSES_S[1], rng, seconds), noise)
            for language in LANGUAGES
            for noise in NOISE_DB
        }
    inference = InProcess(arguments.models, SPEECH_MODEL, threads=1, min_window_frames=arguments.min_window_frames)
    policy = SwitchPolicy(arguments.probability, arguments.speech)
    asyncio.run(print_tables(inference, policy, mixed, single))


async def print_tables(
    inference: InProcess,
    policy: SwitchPolicy,
    mixed: dict[tuple[float, float], Mixed],
    single: dict[tuple[str, int | None], Mixed],
) -> None:
    print("| English and Spanish in turn | candidates | right language | WER | calls per minute | time |")
    print("|---|---|---|---|---|---|")
    for pauses, one in mixed.items():
        given = await measure(inference, policy, [one], "en", ())
        minutes = one.samples.size / SAMPLE_RATE_HZ / 60
        for candidates in ((), LANGUAGES):
            found = await measure(inference, policy, [one], None, candidates)
            (transcript,) = found.transcripts
            print(
                f"| pauses of {pauses[0]:g} to {pauses[1]:g} s | {', '.join(candidates) or 'none'} "
                f"| {right_share(one.said, transcript):.1%} | {word_error_rate([one.text], [transcript.text]):.1%} "
                f"| {found.calls / minutes:.1f} | {found.seconds / given.seconds:.2f} |",
                flush=True,
            )
    print()
    print("| one language | noise | candidates | switches | calls per minute | time |")
    print("|---|---|---|---|---|---|")
    for (language, noise), one in single.items():
        given = await measure(inference, policy, [one], language, ())
        minutes = one.samples.size / SAMPLE_RATE_HZ / 60
        for candidates in ((), LANGUAGES):
            found = await measure(inference, policy, [one], None, candidates)
            (transcript,) = found.transcripts
            print(
                f"| {language} | {'none' if noise is None else f'{noise} dB'} | {', '.join(candidates) or 'none'} "
                f"| {switches(transcript)} | {found.calls / minutes:.1f} | {found.seconds / given.seconds:.2f} |",
                flush=True,
            )


async def measure(
    inference: InProcess,
    policy: SwitchPolicy,
    recordings: Sequence[Mixed],
    language: str | None,
    candidates: tuple[str, ...],
) -> Measured:
    transcriber = Transcriber(
        inference.inference(),
        LIMITS,
        decoders=asyncio.Semaphore(1),
        windows_in_flight=6,
        beam_size=5,
        switches=policy,
    )
    options = TranscriptionOptions(SpeechModel("demo", "demo", "1", inference.card), language, candidates)
    transcripts, spent_s = [], 0.0
    for one in recordings:
        with tempfile.TemporaryFile() as file:
            soundfile.write(file, pcm(one.samples), SAMPLE_RATE_HZ, format="WAV")
            file.flush()
            started = time.process_time()
            transcripts.append(await transcriber.transcribe(file.fileno(), options))
            spent_s += time.process_time() - started
    return Measured(transcripts, spent_s)


def recording(
    espeak: Espeak, languages: Sequence[str], pauses_s: tuple[float, float], rng: random.Random, seconds: float
) -> Mixed:
    """Sentences in these languages in turn, all equally loud."""
    parts: list[Floats] = []
    said: list[Said] = []
    size = 0
    for language in cycle(languages):
        if size >= seconds * SAMPLE_RATE_HZ:
            return Mixed(np.concatenate(parts), said)
        sentence = held_out.sentence(espeak, language, voices.unseen_voice, rng)
        first, last = (round(s * SAMPLE_RATE_HZ) for s in (sentence.word_starts[0], sentence.word_ends[-1]))
        spoken = levelled(sentence.samples[first:last])
        pause = np.zeros(round(rng.uniform(*pauses_s) * SAMPLE_RATE_HZ), dtype=np.float32)
        start, end = size + pause.size, size + pause.size + spoken.size
        said.append(Said(language, sentence.text, start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ))
        parts += [pause, spoken]
        size = end
    raise ValueError("no languages")


def levelled(samples: Floats) -> Floats:
    power = float(np.sqrt(np.mean(samples**2)))
    return np.asarray(samples * (10 ** (LEVEL_DB / 20) / power), dtype=np.float32)


def with_noise(one: Mixed, decibels: float | None) -> Mixed:
    return one if decibels is None else Mixed(held_out.with_noise(one.samples, decibels, seed=3), one.said)


def right_share(said: Sequence[Said], transcript: Transcript) -> float:
    """Of the time that words take: what is in the language of the sentence that is spoken then, or nearest."""
    right = total = 0.0
    for segment in transcript.segments:
        for word in segment.words:
            middle = (word.start + word.end) / 2
            spoken = min(said, key=lambda one: max(one.start - middle, middle - one.end))
            total += word.end - word.start
            right += (word.end - word.start) * (spoken.language == segment.language)
    return right / total if total else 0.0


def switches(transcript: Transcript) -> int:
    languages = [language for language, _ in groupby(segment.language for segment in transcript.segments)]
    return sum(1 for _ in pairwise(languages))


if __name__ == "__main__":
    main()
