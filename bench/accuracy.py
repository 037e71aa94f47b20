"""How right the demo model is, on speech that it never saw: the tables of docs/models.md.

    .venv/bin/python -m bench.accuracy

Makes the speech (seeded), recognises it with the engines in this process, long recordings through the whole pipeline,
and prints Markdown. Needs the exported demo models, which `make up` leaves in .tritone/model_repository.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile

from api.audio.media import DecoderLimits
from api.recognition.catalog import SpeechModel
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.speech import Transcript
from bench.in_process import InProcess
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech import music, voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats
from export_scripts.demo.whisper import held_out
from export_scripts.demo.whisper.held_out import Recording
from export_scripts.engines import load_engine
from export_scripts.scoring import WORDS, word_error_rate

FULL_FRAMES = 3000
BATCH = 16
NOISE_DB = 20
LENGTHS_S = (5, 10, 20, 30)
LIMITS = DecoderLimits(audio_s=36_000, cpu_s=600, memory_bytes=2 * 1024**3)

whisper = load_engine("whisper")


@dataclass(frozen=True)
class Heard:
    text: str
    language: str
    word_starts: list[float]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--sentences", type=int, default=80, help="per set (%(default)s)")
    parser.add_argument("--meetings", type=int, default=4, help="per set (%(default)s)")
    parser.add_argument("--minutes", type=float, default=4, help="of each meeting (%(default)s)")
    parser.add_argument("--seed", type=int, default=4242)
    arguments = parser.parse_args(argv)
    own = InProcess(arguments.models, SPEECH_MODEL)
    full = InProcess(arguments.models, SPEECH_MODEL, min_window_frames=FULL_FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        espeak = Espeak(Path(folder), {})
        rng = random.Random(arguments.seed)
        sentences = {
            name: [
                held_out.sentence(espeak, language, voice, rng)
                for language in ["en"] * round(0.7 * arguments.sentences) + ["es"] * round(0.3 * arguments.sentences)
            ]
            for name, voice in (("voices of the training", voices.seen_voice), ("unseen voices", voices.unseen_voice))
        }
        meetings = [
            held_out.meeting(espeak, language, voices.unseen_voice, rng, seconds=60 * arguments.minutes)
            for language in (["en", "en", "es", "en"] * arguments.meetings)[: arguments.meetings]
        ]
    sets = {}
    for name, recordings in sentences.items():
        sets[name] = recordings
        sets[f"{name}, {NOISE_DB} dB noise"] = [noisy(recording) for recording in recordings]
    unseen = sets["unseen voices"]
    sets["unseen voices, Spanish alone"] = [recording for recording in unseen if recording.language == "es"]

    print_sentences(sets, own, full)
    print_lengths(unseen, own)
    asyncio.run(print_meetings(meetings, own, full))
    asyncio.run(print_silence(own, arguments.seed))


def print_sentences(sets: dict[str, list[Recording]], own: InProcess, full: InProcess) -> None:
    columns = ("own length", "own length, no time stamps", "30 s", "30 s, no time stamps", "language", "word starts")
    print(f"| single sentences, WER | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|")
    for name, recordings in sets.items():
        cells = []
        with_times = hear(own, recordings)
        cells.append(wer(recordings, with_times))
        cells.append(wer(recordings, hear(own, recordings, segment_timestamps=False)))
        cells.append(wer(recordings, hear(full, recordings)))
        cells.append(wer(recordings, hear(full, recordings, segment_timestamps=False)))
        right = sum(one.language == recording.language for one, recording in zip(with_times, recordings, strict=True))
        starts = [error for pair in zip(recordings, with_times, strict=True) for error in start_errors(*pair)]
        cells += [f"{right / len(recordings):.1%}", f"{1000 * float(np.median(starts)):.0f} ms"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def print_lengths(recordings: Sequence[Recording], own: InProcess) -> None:
    print("| unseen voices, sentences followed by silence up to | WER |")
    print("|---|---|")
    for seconds in LENGTHS_S:
        padded = [
            replace(one, samples=np.pad(one.samples, (0, max(0, seconds * SAMPLE_RATE_HZ - one.samples.size))))
            for one in recordings
        ]
        print(f"| {seconds} s | {wer(padded, hear(own, padded))} |", flush=True)
    print()


async def print_meetings(meetings: Sequence[Recording], own: InProcess, full: InProcess) -> None:
    minutes = sum(meeting.duration_s for meeting in meetings) / 60
    print(f"| {len(meetings)} meetings, {minutes:.0f} min, unseen voices in turn | WER | word starts |")
    print("|---|---|---|")
    noisy_ones = [noisy(meeting) for meeting in meetings]
    for name, recordings, inference in (
        ("windows of their own length", meetings, own),
        (f"windows of their own length, {NOISE_DB} dB noise", noisy_ones, own),
        ("windows of 30 s", meetings, full),
        (f"windows of 30 s, {NOISE_DB} dB noise", noisy_ones, full),
    ):
        heard = [as_heard(await transcribe(inference, meeting.samples)) for meeting in recordings]
        starts = [error for pair in zip(recordings, heard, strict=True) for error in start_errors(*pair)]
        print(f"| {name} | {wer(recordings, heard)} | {1000 * float(np.median(starts)):.0f} ms |", flush=True)
    print()


async def print_silence(own: InProcess, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = 60
    quiet = rng.normal(0, 0.003, seconds * SAMPLE_RATE_HZ).astype(np.float32)
    loud = rng.normal(0, 0.1, seconds * SAMPLE_RATE_HZ).astype(np.float32)
    print("| nobody speaks | words, whole service | words, engine alone on windows of 10 s |")
    print("|---|---|---|")
    for name, pieces in (
        ("1 min of digital silence", [np.zeros(seconds * SAMPLE_RATE_HZ, dtype=np.float32)]),
        ("1 min of soft noise", [quiet]),
        ("1 min of loud noise", [loud]),
        ("10 min of music", [music.compose(rng, seconds) for _ in range(10)]),
    ):
        served = sum([len((await transcribe(own, piece)).text.split()) for piece in pieces])
        windows = [
            Recording("en", piece[start : start + 10 * SAMPLE_RATE_HZ], [], [], [])
            for piece in pieces
            for start in range(0, piece.size, 10 * SAMPLE_RATE_HZ)
        ]
        alone = sum(len(one.text.split()) for one in hear(own, windows))
        print(f"| {name} | {served} | {alone} |", flush=True)


def hear(inference: InProcess, recordings: Sequence[Recording], **options: Any) -> list[Heard]:
    """Each recording as one window."""
    windows = [whisper.Window(pcm(one.samples), whisper.DecodingOptions(**options)) for one in recordings]
    answers = [
        answer
        for start in range(0, len(windows), BATCH)
        for answer in inference.engine.recognize(windows[start : start + BATCH])
    ]
    return [
        Heard(
            " ".join(segment.text for segment in answer.segments),
            answer.language,
            [word.start for segment in answer.segments for word in segment.words],
        )
        for answer in answers
    ]


async def transcribe(inference: InProcess, samples: Floats, **options: Any) -> Transcript:
    """By the pipeline of the service, from a WAV file on, with these TranscriptionOptions."""
    transcriber = Transcriber(
        inference.inference(), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=1, beam_size=5
    )
    model = SpeechModel("demo", "demo", "1", inference.card)
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, pcm(samples), SAMPLE_RATE_HZ, format="WAV")
        file.flush()
        return await transcriber.transcribe(file.fileno(), TranscriptionOptions(model, **options))


def as_heard(transcript: Transcript) -> Heard:
    words = [word for segment in transcript.segments for word in segment.words]
    return Heard(transcript.text, transcript.language or "", [word.start for word in words])


def noisy(recording: Recording) -> Recording:
    return replace(recording, samples=held_out.with_noise(recording.samples, NOISE_DB, recording.samples.size))


def pcm(samples: Floats) -> Any:
    return np.clip(samples * 32768, -32768, 32767).astype(np.int16)


def wer(recordings: Sequence[Recording], heard: Iterable[Heard]) -> str:
    return f"{word_error_rate([one.text for one in recordings], [one.text for one in heard]):.1%}"


def start_errors(recording: Recording, heard: Heard) -> list[float]:
    """How far the starts of the words that were heard right are off, in s."""
    if len(heard.text.split()) != len(heard.word_starts):
        return []
    output = jiwer.process_words(recording.text, heard.text, reference_transform=WORDS, hypothesis_transform=WORDS)
    return [
        abs(heard.word_starts[chunk.hyp_start_idx + index] - recording.word_starts[chunk.ref_start_idx + index])
        for chunk in output.alignments[0]
        if chunk.type == "equal"
        for index in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


if __name__ == "__main__":
    main()
