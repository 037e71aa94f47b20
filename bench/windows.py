"""How speech is best packed into windows: errors and speed for three policies, of two kinds of speech.

    .venv/bin/python -m bench.windows

Meetings have a pause after every sentence; monologues have none, so windows end in the middle of speech. The service's
pipeline, with the engines in this process on one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from api.recognition.catalog import SpeechModel
from api.recognition.chunking import ChunkingPolicy, frames
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from bench.accuracy import LIMITS, pcm
from bench.in_process import InProcess
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech import voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak
from export_scripts.demo.whisper import held_out
from export_scripts.demo.whisper.held_out import Recording
from export_scripts.scoring import word_error_rate

POLICIES = {
    "as much as fits into 30 s": ChunkingPolicy(),
    "up to 15 s": ChunkingPolicy(max_window=frames(15)),
    "up to 10 s": ChunkingPolicy(max_window=frames(10)),
    "up to 7 s": ChunkingPolicy(max_window=frames(7)),
    "up to 5 s": ChunkingPolicy(max_window=frames(5)),
    "each phrase by itself": ChunkingPolicy(max_gap=0),
    "up to 10 s, padded with 0.1 s": ChunkingPolicy(max_window=frames(10), padding=frames(0.1)),
    "up to 10 s, padded with 0.4 s": ChunkingPolicy(max_window=frames(10), padding=frames(0.4)),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--recordings", type=int, default=3, help="of each kind (%(default)s)")
    parser.add_argument("--minutes", type=float, default=3, help="of each recording (%(default)s)")
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        espeak = Espeak(Path(folder), {})
        meetings = [
            held_out.meeting(espeak, language, voices.unseen_voice, rng, seconds=60 * arguments.minutes)
            for language in ("en", "es", "en")[: arguments.recordings]
        ]
    monologues = [without_pauses(meeting) for meeting in meetings]
    for kind, shortest in (("windows of their own length", None), ("windows padded to 30 s", 3000)):
        inference = InProcess(arguments.models, SPEECH_MODEL, threads=1, min_window_frames=shortest)
        print(f"| {kind} | meetings: WER | audio s/s | monologues: WER | audio s/s |")
        print("|---|---|---|---|---|")
        for name, policy in POLICIES.items():
            cells = [
                cell
                for recordings in (meetings, monologues)
                for cell in asyncio.run(measure(inference, policy, recordings))
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        print()


async def measure(inference: InProcess, policy: ChunkingPolicy, recordings: Sequence[Recording]) -> tuple[str, str]:
    transcriber = Transcriber(
        inference.inference(), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=1, beam_size=5, policy=policy
    )
    model = SpeechModel("demo", "demo", "1", inference.card)
    texts = []
    started = time.perf_counter()
    for recording in recordings:
        with tempfile.TemporaryFile() as file:
            soundfile.write(file, pcm(recording.samples), SAMPLE_RATE_HZ, format="WAV")
            file.flush()
            options = TranscriptionOptions(model, recording.language)
            texts.append((await transcriber.transcribe(file.fileno(), options)).text)
    elapsed = time.perf_counter() - started
    wer = word_error_rate([recording.text for recording in recordings], texts)
    return f"{wer:.1%}", f"{sum(recording.duration_s for recording in recordings) / elapsed:.0f}"


def without_pauses(recording: Recording) -> Recording:
    """The same with every digital silence cut out."""
    return replace(recording, samples=recording.samples[np.abs(recording.samples) > 0])


if __name__ == "__main__":
    main()
