"""What the speech enhancer gains and what it costs: the tables of docs/models.md.

    .venv/bin/python -m bench.enhancement --others /tmp/others     against other ways, see bench/enhancers.py
    .venv/bin/python -m bench.enhancement --voices FOLDER          on audio files of one's own instead, without words
    .venv/bin/python -m bench.enhancement --tune                   how much noise to take out, on other sentences

Adds noise to speech, takes it out again and compares with the speech: the scale-invariant signal-to-distortion ratio
(Le Roux et al. 2019), and what the demo recogniser understands. Needs the exported demo models.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bench import enhancers
from bench.in_process import InProcess
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak
from export_scripts.demo.speech.voices import unseen_voice
from export_scripts.demo.whisper import held_out
from export_scripts.engines import load_engine
from export_scripts.scoring import word_error_rate

RECORDINGS = Path(__file__).parent.parent / "export_scripts" / "demo" / "whisper" / "recordings"
NOISES = ("white", "babble", "hum")
RATIOS_DB = (0, 5, 10)
BABBLING = 8
LIMITS_SERVED_DB = (12.0, 24.0)  # for recognition, and for listening
LIMITS_DB = (6.0, 9.0, 12.0, 15.0, 18.0, 24.0)
BLOCK_S = 10
BATCH = 16

Floats = npt.NDArray[np.float32]
whisper = load_engine("whisper")
enhancer = load_engine("speech_enhancer")


@dataclass(frozen=True)
class Speech:
    """Recordings at 16 kHz, and what is said in each, if that is known."""

    recordings: list[Floats]
    texts: list[str]


@dataclass(frozen=True)
class Score:
    si_sdr_db: float
    word_error_rate: float | None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--others", type=Path, help="where the packages of the others are installed")
    parser.add_argument("--voices", type=Path, help="a folder of audio files to take instead of the demo's")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--sentences", type=int, default=40, help="to tune on (%(default)s)")
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args(argv)
    recognizer = InProcess(arguments.models, SPEECH_MODEL, threads=1).engine
    served = arguments.models / "speech_enhancer" / "1" / "weights"
    ways: dict[str, Callable[[Floats], Floats]] = {"nothing": lambda audio: audio}
    whole = resampled(48_000, blockwise(served))
    for limit in LIMITS_DB if arguments.tune else LIMITS_SERVED_DB:
        ways[f"DeepFilterNet3, at most {limit:.0f} dB"] = limited(whole, limit)
    ways["DeepFilterNet3, without limit"] = whole
    if arguments.others is not None:
        for name, way in enhancers.others(arguments.others).items():
            ways[name] = resampled(*way)
            ways[f"{name}, at most {LIMITS_SERVED_DB[0]:.0f} dB"] = limited(ways[name], LIMITS_SERVED_DB[0])
    if arguments.voices is not None:
        speech = read_voices(arguments.voices)
    elif arguments.tune:
        speech = spoken(arguments.sentences, arguments.seed)
    else:
        speech = committed()
    print_scores(speech, ways, recognizer)


def print_scores(speech: Speech, ways: dict[str, Callable[[Floats], Floats]], recognizer: Any) -> None:
    conditions: list[tuple[str, int] | None] = [None, *((noise, ratio) for noise in NOISES for ratio in RATIOS_DB)]
    mixed = [noisy(speech.recordings, condition) for condition in conditions]
    columns = " | ".join("clean" if condition is None else f"{condition[0]} {condition[1]}" for condition in conditions)
    seconds = sum(one.size for one in speech.recordings) / SAMPLE_RATE_HZ
    rows: dict[str, tuple[list[Score], float]] = {}
    for name, enhance in ways.items():
        scores, cpu_s = [], 0.0
        for recordings in mixed:
            start = time.process_time()
            enhanced = apart(enhance(np.concatenate(recordings)), recordings)
            cpu_s += time.process_time() - start
            scores.append(score(speech, enhanced, recognizer))
        rows[name] = scores, len(mixed) * seconds / cpu_s
    print(f"| SI-SDR in dB, then gains in dB | {columns} | times real time |")
    print("|---" * (len(conditions) + 2) + "|")
    for name, (scores, speed) in rows.items():
        ratios = [0 if condition is None else condition[1] for condition in conditions]
        gains = [f"{one.si_sdr_db - ratio:.1f}" for one, ratio in zip(scores, ratios, strict=True)]
        print(f"| {name} | {' | '.join(gains)} | {'' if name == 'nothing' else f'{speed:.0f}'} |")
    if speech.texts:
        print(f"\n| WER | {columns} | all |")
        print("|---" * (len(conditions) + 2) + "|")
        for name, (scores, _) in rows.items():
            rates = [one.word_error_rate or 0.0 for one in scores]
            print(f"| {name} | {' | '.join(f'{rate:.1%}' for rate in [*rates, float(np.mean(rates))])} |")


def blockwise(weights: Path) -> Callable[[Floats], Floats]:
    """As the service does it: a block after the other, on one thread, what is late cut off."""
    engine = enhancer.SpeechEnhancerEngine(weights)
    block = BLOCK_S * engine.sample_rate

    def enhance(audio: Floats) -> Floats:
        late = engine.delay_samples
        padded = np.pad(audio, (0, late + -(audio.size + late) % engine.hop_samples))
        state = np.zeros(engine.state_size, dtype=np.float32)
        pieces = []
        for start in range(0, padded.size, block):
            ((piece, state),) = engine.enhance([(padded[start : start + block], state)])
            pieces.append(piece)
        enhanced: Floats = np.concatenate(pieces)[late : late + audio.size]
        return enhanced

    return enhance


def resampled(rate: int, enhance: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def at_16_khz(audio: Floats) -> Floats:
        if rate == SAMPLE_RATE_HZ:
            return enhance(audio)
        there = enhance(soxr.resample(audio, SAMPLE_RATE_HZ, rate).astype(np.float32))
        back = soxr.resample(there, rate, SAMPLE_RATE_HZ).astype(np.float32)[: audio.size]
        return np.pad(back, (0, audio.size - back.size))

    return at_16_khz


def limited(enhance: Callable[[Floats], Floats], limit_db: float) -> Callable[[Floats], Floats]:
    """With a share of what came in, as the service does it."""
    kept = np.float32(10 ** (-limit_db / 20))
    return lambda audio: kept * audio + (1 - kept) * enhance(audio)


def noisy(recordings: Sequence[Floats], condition: tuple[str, int] | None) -> list[Floats]:
    """Each with its own noise, so many dB below its mean power."""
    if condition is None:
        return list(recordings)
    name, ratio_db = condition
    mixed = []
    for index, speech in enumerate(recordings):
        noise = NOISE[name](np.random.default_rng(index), index, recordings)
        share = np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-ratio_db / 20)
        mixed.append((speech + share * noise).astype(np.float32))
    return mixed


def _white(rng: np.random.Generator, index: int, recordings: Sequence[Floats]) -> Any:
    return rng.normal(size=recordings[index].size)


def _hum(rng: np.random.Generator, index: int, recordings: Sequence[Floats]) -> Any:
    """50 Hz and its overtones."""
    phase = 2 * np.pi * 50 * np.arange(recordings[index].size) / SAMPLE_RATE_HZ
    return sum(np.sin(order * phase + rng.uniform(0, 2 * np.pi)) / order for order in range(1, 11))


def _babble(rng: np.random.Generator, index: int, recordings: Sequence[Floats]) -> Any:
    """Some of the others at once, equally loud."""
    rest = [other for other in range(len(recordings)) if other != index]
    babble = np.zeros(recordings[index].size)
    for other in rng.choice(rest, BABBLING, replace=len(rest) < BABBLING):
        voice = np.roll(
            np.resize(recordings[other], max(babble.size, recordings[other].size)), rng.integers(babble.size)
        )
        babble += voice[: babble.size] / np.sqrt(np.mean(voice[: babble.size] ** 2) + 1e-9)
    return babble


NOISE: dict[str, Callable[[np.random.Generator, int, Sequence[Floats]], Any]] = {
    "white": _white,
    "babble": _babble,
    "hum": _hum,
}


def apart(joined: Floats, recordings: Sequence[Floats]) -> list[Floats]:
    return np.split(joined, np.cumsum([one.size for one in recordings])[:-1])


def score(speech: Speech, enhanced: Sequence[Floats], recognizer: Any) -> Score:
    ratios = [si_sdr_db(clean, one) for clean, one in zip(speech.recordings, enhanced, strict=True)]
    if not speech.texts:
        return Score(float(np.mean(ratios)), None)
    pcm = [np.clip(one * 32768, -32768, 32767).astype(np.int16) for one in enhanced]
    windows = [whisper.Window(one, whisper.DecodingOptions()) for one in pcm]
    heard = [
        " ".join(segment.text for segment in answer.segments)
        for start in range(0, len(windows), BATCH)
        for answer in recognizer.recognize(windows[start : start + BATCH])
    ]
    return Score(float(np.mean(ratios)), word_error_rate(speech.texts, heard))


def si_sdr_db(clean: Floats, enhanced: Floats) -> float:
    """Of recordings without their mean; 100 at most."""
    reference, estimate = (one.astype(np.float64) - one.mean() for one in (clean, enhanced))
    target = reference * (estimate @ reference) / (reference @ reference)
    noise = estimate - target
    return float(10 * np.log10((target @ target) / max(noise @ noise, 1e-10 * (target @ target), 1e-30)))


def committed() -> Speech:
    references = json.loads((RECORDINGS / "references.json").read_text())
    recordings = [soundfile.read(RECORDINGS / one["file"], dtype="float32")[0] for one in references]
    return Speech(recordings, [one["text"] for one in references])


def spoken(sentences: int, seed: int) -> Speech:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        espeak = Espeak(Path(folder), {})
        languages = (("en", "en", "es")[index % 3] for index in range(sentences))
        recordings = [held_out.sentence(espeak, language, unseen_voice, rng) for language in languages]
    return Speech([one.samples for one in recordings], [one.text for one in recordings])


def read_voices(folder: Path) -> Speech:
    recordings = []
    for file in sorted(file for file in folder.rglob("*") if file.suffix in (".wav", ".flac")):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        recordings.append(soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE_HZ).astype(np.float32))
    return Speech(recordings, [])


if __name__ == "__main__":
    main()
