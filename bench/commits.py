"""When a word may be shown for good: policies on the same drafts of the same growing phrases.

    make up          # once, for the models
    .venv/bin/python -m bench.commits

Every sentence, in a voice that no training had, is recognised again each time that it has grown by 300 ms, as a live
session does. CTranslate2 gives no attention while it decodes, which AlignAtt (Papi et al. 2023) would need to stop at
the first word that looks at the end of the audio; the nearest to it is to align afterwards, and to keep words that end
some time before the audio does. The delay is from a word's end to the end of the audio on which it is committed,
computing not counted. Taken back: committed words that the phrase's last recognition does not have.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from rapidfuzz.distance import Levenshtein

from api.inference.base import ModelVersion
from api.inference.contracts import DecodingOptions
from api.recognition.activity import SpeechWindow
from api.recognition.windows import WindowRecognizer
from api.speech import Word
from api.streaming.agreement import LocalAgreement, end_of
from bench.accuracy import pcm
from bench.in_process import InProcess
from bench.live import words_of
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech import voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak
from export_scripts.demo.whisper import held_out
from export_scripts.demo.whisper.held_out import Recording

STEP_S = 0.3
Draft = tuple[float, list[Word]]
"""How much of the phrase was heard, in s, and as what."""


class Policy(Protocol):
    @property
    def committed(self) -> Sequence[Word]: ...

    def add(self, words: Sequence[Word], heard_s: float) -> None: ...


class Agreement:
    """Words that so many drafts in a row agree on: two of each pair of neighbours, for LocalAgreement-2."""

    def __init__(self) -> None:
        self._agreement = LocalAgreement()

    @property
    def committed(self) -> Sequence[Word]:
        return self._agreement.committed

    def add(self, words: Sequence[Word], heard_s: float) -> None:
        self._agreement.add(words)


class Margin:
    """Words that end so long before the audio does."""

    def __init__(self, margin_s: float) -> None:
        self._margin_s = margin_s
        self.committed: Sequence[Word] = ()

    def add(self, words: Sequence[Word], heard_s: float) -> None:
        stable = [word for word in words if word.end <= heard_s - self._margin_s]
        self.committed = [*self.committed, *stable[end_of(self.committed, stable) :]]


POLICIES: dict[str, Callable[[], Policy]] = {
    "every word at once": lambda: Margin(-1.0),
    "LocalAgreement-2": Agreement,
    **{f"aligned {margin} s before the end": partial(Margin, margin) for margin in (0.2, 0.4, 0.6, 0.8)},
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        espeak = Espeak(Path(folder), {})
        phrases = [held_out.sentence(espeak, "en", voices.unseen_voice, rng) for _ in range(arguments.sentences)]
    inference = InProcess(arguments.models, SPEECH_MODEL, threads=1)
    drafts = [asyncio.run(draft(inference, phrase)) for phrase in phrases]
    print("| policy | delay: p50 | p95 | taken back |\n|---|---|---|---|")
    for name, policy in POLICIES.items():
        delays, committed, taken_back = [], 0, 0
        for phrase, of_phrase in zip(phrases, drafts, strict=True):
            found, wrong, count = judge(policy(), phrase, of_phrase)
            delays += found
            taken_back += wrong
            committed += count
        p95 = float(np.quantile(delays, 0.95))
        print(
            f"| {name} | {1000 * statistics.median(delays):.0f} ms | {1000 * p95:.0f} ms "
            f"| {taken_back / committed:.1%} of {committed} words |"
        )


async def draft(inference: InProcess, phrase: Recording) -> list[Draft]:
    recognizer = WindowRecognizer(inference)
    samples = pcm(phrase.samples)
    drafts = []
    step = int(STEP_S * SAMPLE_RATE_HZ)
    for end in range(step, samples.size + step, step):
        last = end >= samples.size
        options = DecodingOptions(phrase.language, beam_size=5 if last else 1, temperatures=(0.0,))
        window = SpeechWindow(0, samples[:end], np.ones(end // 512 + 1, dtype=np.float32))
        heard = await recognizer.recognize(ModelVersion(SPEECH_MODEL, "1"), window, options)
        words = [word for segment in heard.segments for word in segment.words]
        drafts.append((min(end, samples.size) / SAMPLE_RATE_HZ, words))
    return drafts


def judge(policy: Policy, phrase: Recording, drafts: Sequence[Draft]) -> tuple[list[float], int, int]:
    """How late words that are right were committed, how many the last draft does not have, and how many in all.

    Before the last draft: then the phrase is over, and no policy is needed.
    """
    spoken = words_of(phrase.text)
    delays: dict[int, float] = {}
    for heard_s, words in drafts[:-1]:
        policy.add(words, heard_s)
        begun = sum(1 for start in phrase.word_starts if start < heard_s)
        for block in Levenshtein.opcodes(spoken[:begun], plain(policy.committed)):
            if block.tag == "equal":
                for index in range(block.src_start, block.src_end):
                    delays.setdefault(index, heard_s - phrase.word_ends[index])
    committed, last = plain(policy.committed), plain(drafts[-1][1])
    # The last recognition may end before it, so only what is replaced or removed before its end counts.
    wrong = sum(block.src_end - block.src_start for block in Levenshtein.opcodes(committed, last) if block.tag in WRONG)
    return list(delays.values()), wrong, len(committed)


WRONG = {"replace", "delete"}


def plain(words: Sequence[Word]) -> list[str]:
    return words_of("".join(word.text for word in words))


if __name__ == "__main__":
    main()
