"""What keywords find, and what they spoil: unusual names spoken in voices that no training had.

    make up          # once, for the models
    .venv/bin/python -m bench.boost
    .venv/bin/python -m bench.boost --model whisper-NAME --decoder      # another model of the repository
    .venv/bin/python -m bench.boost --cost          # processor time of correcting 10,000 words by 500 keywords

Every term of bench/data/boost.toml is spoken in two of its sentences and recognised by the service's pipeline over the
engines in this process; then all terms of its half and language are keywords of one weight. Found: the term is in the
text, but for case and accents. The thresholds in api/recognition/keywords/ were chosen with --half tuning, which shares
neither terms nor sentences with the other half. Sentences without terms are those of the demo model's grammar that it
was not trained on or, for another model, of the meetings in bench/data, every second for each half; there, every word
that is changed is wrong. --decoder has the terms in the decoder's prompt, too, of a model that takes one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from api.recognition.keywords import Keyword, boosted
from api.recognition.keywords.sounds import letters
from api.recognition.wording import Wording
from api.speech import Segment, Word, text_of
from bench.accuracy import transcribe
from bench.in_process import InProcess
from export_scripts.demo import SPEECH_MODEL
from export_scripts.demo.speech import grammar, voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats, SpeechError
from export_scripts.demo.speech.utterances import random_manner, speak

DATA = Path(__file__).resolve().parent / "data"
MEETINGS = ("meeting_library", "meeting_product")
SPEAKER = re.compile(r"^(\[[\d:]+\] )?\w+: ")
HALVES = ("tuning", "held_out")
SENTENCES_PER_TERM = 2
DEMO_SENTENCES = 300
WEIGHTS = (0.5, 1.5, 5.0, 10.0)
COST_KEYWORDS, COST_WORDS = 500, 10_000
ONSETS = ("b", "br", "ch", "d", "f", "g", "k", "l", "m", "n", "p", "r", "sh", "st", "t", "tr", "v", "z")
LEAD, TAIL = int(0.3 * SAMPLE_RATE_HZ), int(0.4 * SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Utterance:
    """`term` is None where none is said."""

    language: str
    term: str | None
    samples: Floats


@dataclass(frozen=True)
class Heard:
    utterance: Utterance
    segments: Sequence[Segment]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--model", default=SPEECH_MODEL, help="(%(default)s)")
    parser.add_argument("--half", choices=HALVES, default="held_out", help="(%(default)s)")
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--cost", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.cost:
        print_cost(random.Random(arguments.seed))
        return
    inference = InProcess(arguments.models, arguments.model, threads=1)
    of_half = tomllib.loads((DATA / "boost.toml").read_text())[arguments.half]
    terms = {language: of_half[language]["terms"] for language in of_half if language in inference.card.languages}
    with tempfile.TemporaryDirectory() as folder:
        espeak, rng = Espeak(Path(folder), {}), random.Random(arguments.seed)
        utterances = [
            say(espeak, language, carrier.format(term), term, rng)
            for language in terms
            for term in terms[language]
            for carrier in rng.sample(of_half[language]["carriers"], SENTENCES_PER_TERM)
        ]
        utterances += [
            say(espeak, language, text, None, rng)
            for language, text in without_terms(arguments.half, is_demo=arguments.model == SPEECH_MODEL, rng=rng)
        ]
    keywords = {
        weight: {language: tuple(Keyword(term, weight) for term in terms[language]) for language in terms}
        for weight in arguments.weights
    }
    heard = hear(inference, utterances)
    print(
        f"| {arguments.model}, {arguments.half} | terms found | other words put wrongly | words without terms changed |"
    )
    print("|---|---|---|---|")
    show("without keywords", heard, heard)
    for weight, of_weight in keywords.items():
        show(f"weight {weight:g}", heard, boost(heard, of_weight))
    for weight, of_weight in keywords.items():
        show(f"weight {weight:g}, had no word been sure", heard, boost([unsure(one) for one in heard], of_weight))
    if arguments.decoder:
        order_alone = {language: tuple(Keyword(term, 1e-9) for term in terms[language]) for language in terms}
        biased = hear(inference, utterances, order_alone)
        show("in the decoder alone", heard, biased)
        for weight, of_weight in keywords.items():
            show(f"in the decoder, and weight {weight:g}", heard, boost(biased, of_weight))


def print_cost(rng: random.Random) -> None:
    """Of made-up words and terms."""
    keywords = [Keyword(made_up(rng).title()) for _ in range(COST_KEYWORDS)]
    print("| words that are unsure | processor seconds |")
    print("|---|---|")
    for share in (0.1, 1.0):
        words = tuple(
            Word(f" {made_up(rng)}", 0.4 * index, 0.4 * index + 0.3, 0.3 if rng.random() < share else 1.0)
            for index in range(COST_WORDS)
        )
        segments = [
            Segment(
                *(part[0].start, part[-1].end, text_of(part), 0.5, part),
                avg_logprob=-0.5,
                no_speech_prob=0.0,
                compression_ratio=1.0,
            )
            for part in (words[start : start + 20] for start in range(0, COST_WORDS, 20))
        ]
        began = time.process_time()
        boosted(segments, keywords)
        print(f"| {share:.0%} | {time.process_time() - began:.1f} |", flush=True)


def made_up(rng: random.Random) -> str:
    return "".join(rng.choice(ONSETS) + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))


def without_terms(half: str, *, is_demo: bool, rng: random.Random) -> list[tuple[str, str]]:
    """Sentences and their languages."""
    if is_demo:
        languages = rng.choices(grammar.LANGUAGES, (2, 1), k=DEMO_SENTENCES)
        return [(language, grammar.held_out_sentence(language, rng)) for language in languages]
    lines = [
        SPEAKER.sub("", line.strip())
        for name in MEETINGS
        for line in tomllib.loads((DATA / f"{name}.toml").read_text())["transcript"].splitlines()
    ]
    sentences = [one for line in lines for one in re.split(r"(?<=[.?!]) ", line) if len(one.split()) > 2]
    return [("en", sentence) for sentence in sentences[HALVES.index(half) :: 2]]


def say(espeak: Espeak, language: str, text: str, term: str | None, rng: random.Random) -> Utterance:
    while True:
        try:
            spoken = speak(espeak, text, language, voices.unseen_voice(language, rng), random_manner(rng))
        except SpeechError:
            continue
        return Utterance(language, term, np.pad(spoken.samples, (LEAD, TAIL)))


def hear(
    inference: InProcess, utterances: Sequence[Utterance], keywords: dict[str, tuple[Keyword, ...]] | None = None
) -> list[Heard]:
    return [
        Heard(one, transcript.segments)
        for one in utterances
        for wording in [Wording(keywords=keywords[one.language] if keywords else ())]
        for transcript in [asyncio.run(transcribe(inference, one.samples, language=one.language, wording=wording))]
    ]


def boost(heard: Sequence[Heard], keywords: dict[str, tuple[Keyword, ...]]) -> list[Heard]:
    return [replace(one, segments=boosted(one.segments, keywords[one.utterance.language])) for one in heard]


def unsure(heard: Heard) -> Heard:
    return replace(
        heard,
        segments=[
            replace(segment, words=tuple(replace(word, probability=0.0) for word in segment.words))
            for segment in heard.segments
        ],
    )


def show(name: str, before: Sequence[Heard], after: Sequence[Heard]) -> None:
    found = [finds(one.segments, one.utterance.term) for one in after if one.utterance.term]
    wrong = sum(is_wrong(word, one.utterance.term) for one in after if one.utterance.term for word in words_of(one))
    changed = sum(word.original is not None for one in after if not one.utterance.term for word in words_of(one))
    with_terms = sum(len(words_of(one)) for one in before if one.utterance.term)
    others = sum(len(words_of(one)) for one in before if not one.utterance.term)
    print(
        f"| {name} | {sum(found)} of {len(found)} ({sum(found) / len(found):.0%}) | {wrong} of {with_terms} "
        f"| {changed} of {others} ({changed / others:.1%}) |",
        flush=True,
    )


def words_of(heard: Heard) -> list[Word]:
    return [word for segment in heard.segments for word in segment.words]


def finds(segments: Sequence[Segment], term: str) -> bool:
    said = [letters(word) for segment in segments for word in segment.text.split()]
    wanted = [letters(word) for word in term.split()]
    return any(said[start : start + len(wanted)] == wanted for start in range(len(said)))


def is_wrong(word: Word, term: str) -> bool:
    """It was changed, and not into a word of the term that was said."""
    return word.original is not None and letters(word.text) not in map(letters, term.split())


if __name__ == "__main__":
    main()
