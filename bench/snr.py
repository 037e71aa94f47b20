"""How well the signal-to-noise ratio is told, what a floor leaves out, and what it costs: docs/performance.md.

    .venv/bin/python -m bench.snr
    .venv/bin/python -m bench.snr --voices FOLDER      on audio files of one's own instead, without words

Noise is added to the demo's recordings, alone and strung together. What is right is the speech's active level (ITU-T
P.56, method B) over the noise's mean power. Needs the exported demo models; on one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.inference.base import Pcm, VoiceActivityDetector
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, ACTIVITY_STATE_SIZE
from api.recognition.activity import STEP_SAMPLES, SpeechWindow, SpeechWindows
from api.recognition.chunking import SHORT_WINDOWS, ChunkingPolicy, WindowCutter
from api.recognition.quality import LevelMeter
from bench.enhancement import committed, read_voices, whisper
from bench.in_process import InProcess
from bench.mixtures import (
    NOISES,
    RMS,
    SAMPLE_RATE_HZ,
    Samples,
    active_power,
    behind_music,
    in_a_room,
    levelled,
    pcm_of,
    strung,
    telephone,
    with_noise,
)
from bench.snr_others import OTHERS
from export_scripts.demo import SPEECH_MODEL
from export_scripts.scoring import word_error_rate

RATIOS_DB = (-5, 0, 5, 10, 15, 20, 25, 30)
FLOOR_DB = -5.0
PHRASES = ChunkingPolicy(max_gap=0)
"""Each its own window, as in live sessions."""
STRUNG = 4
ERRORS_OF = ("white", "pink", "hum", "babble")
BATCH = 8
MINUTES = 10


@dataclass(frozen=True)
class Measured:
    """Of a recording, by the service: as a file, and the windows of it."""

    snr_db: float | None
    windows: list[SpeechWindow]


class Ratios:
    """The service's own way from samples to ratios."""

    def __init__(self, detector: VoiceActivityDetector) -> None:
        self._detector = detector

    def measure(self, samples: Samples, policy: ChunkingPolicy) -> Measured:
        return asyncio.run(self._measure(pcm_of(samples), policy))

    async def _measure(self, pcm: Pcm, policy: ChunkingPolicy) -> Measured:
        windows = SpeechWindows(self._detector, policy)
        heard = [window async for window in windows.of(_blocks(pcm))]
        return Measured(windows.levels.snr_db, heard)


async def _blocks(pcm: Pcm) -> AsyncIterator[Pcm]:
    for start in range(0, pcm.size, SAMPLE_RATE_HZ):
        yield pcm[start : start + SAMPLE_RATE_HZ]


def print_errors(short: Sequence[Samples], ratios: Ratios) -> None:
    """Of the service and the others, by file and by phrase."""
    long = [levelled(strung(short, seed)) for seed in range(STRUNG)]
    errors: dict[tuple[str, str, int], list[float | None]] = defaultdict(list)
    for kind, recordings in (("a sentence", short), ("a minute", long)):
        for noise in ERRORS_OF:
            for ratio in RATIOS_DB:
                for clean, mixed in zip(recordings, with_noise(recordings, noise, ratio), strict=True):
                    measured = ratios.measure(mixed, SHORT_WINDOWS)
                    errors[f"{kind}: the service", noise, ratio].append(_off(measured.snr_db, ratio))
                    for name, estimate in OTHERS.items():
                        errors[f"{kind}: {name}", noise, ratio].append(estimate(pcm_of(mixed)) - ratio)
                    if kind == "a minute":
                        of_phrases = errors["a phrase of it: the service", noise, ratio]
                        for phrase in ratios.measure(mixed, PHRASES).windows:
                            said = clean[phrase.start : phrase.start + phrase.pcm.size]
                            right = ratio + 10 * np.log10(active_power(said) / RMS**2) if said.any() else np.nan
                            of_phrases.append(_off(phrase.levels.snr_db, right))
    print(f"| mean absolute error, and mean error, dB | noise | {' | '.join(f'{one} dB' for one in RATIOS_DB)} | all |")
    print("|---" * (len(RATIOS_DB) + 3) + "|")
    for name in dict.fromkeys(name for name, _, _ in errors):
        for noise in ERRORS_OF:
            cells = [_error(errors[name, noise, ratio]) for ratio in RATIOS_DB]
            every = [error for ratio in RATIOS_DB for error in errors[name, noise, ratio]]
            print(f"| {name} | {noise} | {' | '.join(cells)} | {_error(every)} |")


def _off(estimate: float | None, right: float) -> float | None:
    return None if estimate is None or np.isnan(right) else estimate - right


def _error(errors: Sequence[float | None]) -> str:
    known = [error for error in errors if error is not None]
    if not known:
        return ""
    return f"{np.mean(np.abs(known)):.1f} ({np.mean(known):+.1f})"


def print_left_out(short: Sequence[Samples], texts: Sequence[str], ratios: Ratios, recognizer: Any) -> None:
    """At the floor, and what the demo recogniser would make of all windows."""
    conditions: dict[str, list[Samples]] = {
        "as it is": list(short),
        "30 dB quieter": [10**-1.5 * one for one in short],
        "clipped": [np.clip(20 * one, -0.9, 0.9) for one in short],
        "telephone": [telephone(one) for one in short],
        "a room of 0.8 s": [in_a_room(one, 0.8) for one in short],
        "a hall of 2 s": [in_a_room(one, 2.0) for one in short],
        "behind music, 12 dB louder": [behind_music(one) for one in short],
        "constant offset": [one + 0.3 for one in short],
    }
    for noise in NOISES:
        for ratio in (10, 0, -5, -7, -10):
            conditions[f"{noise}, {ratio} dB"] = with_noise(short, noise, ratio)
    print("| speech | windows | lowest | left out | words wrong |\n|---|---|---|---|---|")
    for name, recordings in conditions.items():
        by_recording = [ratios.measure(one, SHORT_WINDOWS).windows for one in recordings]
        windows = [window for of_one in by_recording for window in of_one]
        known = [window.levels.snr_db for window in windows if window.levels.snr_db is not None]
        below = sum(window.levels.is_below(FLOOR_DB) for window in windows)
        wrong = f"{word_error_rate(texts, _words(by_recording, recognizer)):.0%}" if texts else ""
        print(f"| {name} | {len(windows)} | {min(known):.1f} dB | {below / len(windows):.0%} | {wrong} |")


def _words(by_recording: Sequence[Sequence[SpeechWindow]], recognizer: Any) -> list[str]:
    asked = [whisper.Window(window.pcm, whisper.DecodingOptions()) for of_one in by_recording for window in of_one]
    answers = iter(
        [
            " ".join(segment.text for segment in answer.segments)
            for start in range(0, len(asked), BATCH)
            for answer in recognizer.recognize(asked[start : start + BATCH])
        ]
    )
    return [" ".join(next(answers) for _ in of_one) for of_one in by_recording]


def print_costs(short: Sequence[Samples], models: InProcess) -> None:
    pcm = pcm_of(np.resize(strung(short, 0), MINUTES * 60 * SAMPLE_RATE_HZ))
    blocks = [pcm[start : start + STEP_SAMPLES] for start in range(0, pcm.size, STEP_SAMPLES)]
    blocks[-1] = blocks[-1][: blocks[-1].size // ACTIVITY_FRAME_SAMPLES * ACTIVITY_FRAME_SAMPLES]

    async def voice_activity() -> list[Any]:
        state, heard = np.zeros(ACTIVITY_STATE_SIZE, dtype=np.float32), []
        for block in blocks:
            probabilities, state = await models.detect(block, state)
            heard.append(probabilities)
        return heard

    start = time.process_time()
    activity = asyncio.run(voice_activity())
    hearing_s = (time.process_time() - start) * 60 / MINUTES
    cutter, meter, windows = WindowCutter(SHORT_WINDOWS), LevelMeter(), 0
    start = time.process_time()
    for block, probabilities in zip(blocks, activity, strict=True):
        meter.hear(block, probabilities)
        for window in cutter.push(probabilities.tolist()):
            meter.levels(window)
            windows += 1
        meter.forget(cutter.settled)
    measuring_s = (time.process_time() - start) * 60 / MINUTES
    print(
        f"\nAn hour in {windows * 60 // MINUTES} windows, on one core: voice activity {hearing_s:.1f} s, cutting and "
        f"measuring {measuring_s:.2f} s, which is {measuring_s / hearing_s:.1%} of it"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--voices", type=Path, help="a folder of audio files to take instead of the demo's")
    arguments = parser.parse_args(argv)
    models = InProcess(arguments.models, SPEECH_MODEL, threads=1)
    speech = committed() if arguments.voices is None else read_voices(arguments.voices)
    short = [levelled(one) for one in speech.recordings]
    print_errors(short, Ratios(models))
    print()
    print_left_out(short, speech.texts, Ratios(models), models.engine)
    print_costs(short, models)


if __name__ == "__main__":
    main()
