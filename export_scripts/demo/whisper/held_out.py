"""Speech to measure on: sentences that no training saw, alone and as meetings, with and without noise."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from export_scripts.demo.speech import grammar
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats, SpeechError
from export_scripts.demo.speech.utterances import Spoken, random_manner, speak
from export_scripts.demo.speech.voices import unseen_voice

Voice = Callable[[str, random.Random], str]
LEAD_S, TAIL_S = (0.05, 0.5), 0.4
RECORDINGS = 24


@dataclass(frozen=True)
class Recording:
    """Samples (n,) at 16 kHz and what is said in them, sentence by sentence, each word with its start and end in s."""

    language: str
    samples: Floats
    sentences: list[str]
    word_starts: list[float]
    word_ends: list[float]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)

    @property
    def duration_s(self) -> float:
        return self.samples.size / SAMPLE_RATE_HZ


def sentence(espeak: Espeak, language: str, voice: Voice, rng: random.Random) -> Recording:
    """One sentence with a little silence around it."""
    spoken = _spoken(espeak, language, voice(language, rng), rng)
    return _joined(language, [(rng.uniform(*LEAD_S), spoken)], TAIL_S)


def meeting(espeak: Espeak, language: str, voice: Voice, rng: random.Random, *, seconds: float) -> Recording:
    """Two voices in turn, a pause after each sentence, for at least `seconds`."""
    speakers = [voice(language, rng) for _ in range(2)]
    parts: list[tuple[float, Spoken]] = []
    length = 0.0
    while length < seconds:
        pause = rng.uniform(0.25, 1.2) if rng.random() < 0.9 else rng.uniform(1.2, 5)
        parts.append((pause, _spoken(espeak, language, speakers[len(parts) % 2], rng)))
        length += pause + parts[-1][1].samples.size / SAMPLE_RATE_HZ
    return _joined(language, parts, TAIL_S)


def with_noise(samples: Floats, decibels: float, seed: int) -> Floats:
    """White noise so many dB below the recording's mean power."""
    power = float(np.sqrt(np.mean(samples**2))) * 10 ** (-decibels / 20)
    return samples + np.random.default_rng(seed).normal(0, power, samples.size).astype(np.float32)


def write_recordings(folder: Path, *, seed: int) -> None:
    """Sentences in unseen voices, every third in Spanish, as files with a references.json beside them."""
    rng = random.Random(f"{seed}/recordings")
    folder.mkdir(parents=True, exist_ok=True)
    references = []
    with tempfile.TemporaryDirectory() as data:
        espeak = Espeak(Path(data), {})
        for index in range(RECORDINGS):
            language = "es" if index % 3 == 2 else "en"
            recording = sentence(espeak, language, unseen_voice, rng)
            file = f"{language}-{index}.flac"
            soundfile.write(folder / file, recording.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            references.append({"file": file, "language": language, "text": recording.text})
    (folder / "references.json").write_text(json.dumps(references, ensure_ascii=False, indent=1) + "\n")


def _spoken(espeak: Espeak, language: str, voice: str, rng: random.Random) -> Spoken:
    while True:
        try:
            return speak(espeak, grammar.held_out_sentence(language, rng), language, voice, random_manner(rng))
        except SpeechError:
            continue


def _joined(language: str, parts: list[tuple[float, Spoken]], tail_s: float) -> Recording:
    samples: list[Floats] = []
    starts: list[float] = []
    ends: list[float] = []
    at = 0
    for pause_s, spoken in parts:
        pause = np.zeros(int(pause_s * SAMPLE_RATE_HZ), dtype=np.float32)
        samples += [pause, spoken.samples]
        at += pause.size
        duration_s = spoken.samples.size / SAMPLE_RATE_HZ
        starts += [at / SAMPLE_RATE_HZ + start for start in spoken.word_starts]
        ends += [at / SAMPLE_RATE_HZ + end for end in [*spoken.word_starts[1:], duration_s]]
        at += spoken.samples.size
    samples.append(np.zeros(int(tail_s * SAMPLE_RATE_HZ), dtype=np.float32))
    return Recording(language, np.concatenate(samples), [spoken.text for _, spoken in parts], starts, ends)
