"""How right the demo translator is, on sentences that its training never saw on either side.

    .venv/bin/python -m bench.translation_quality

Sentences are those that the demo speech model can hear, in the form that it writes them; references are what the
parallel grammar makes of them. Exact match asks for every character, chrF is sacrebleu's. No service needs to run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from export_scripts import translator
from export_scripts.demo.translation.parallel import Pair, held_out_pair, held_out_translation
from export_scripts.demo.translation.training import bare
from export_scripts.engines import load_engine

CHECKPOINT = Path(translator.__file__).parent / "demo" / "translation" / "checkpoint"
COMPUTE_TYPES = ("float32", "int8")
REQUEST_TEXTS = 100


@dataclass(frozen=True)
class Trial:
    name: str
    pairs: list[Pair]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="the demo's by default")
    parser.add_argument("--sentences", type=int, default=1000, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--misses", type=int, default=0, help="how many wrong ones of each kind to list (%(default)s)")
    arguments = parser.parse_args(argv)
    made = trials(arguments.sentences, arguments.seed)
    print("| demo translator | sentences | " + " | ".join(f"exact, {t} | chrF, {t}" for t in COMPUTE_TYPES) + " |")
    print("|---|---|" + "---|" * 2 * len(COMPUTE_TYPES))
    with tempfile.TemporaryDirectory() as work:
        engines = [engine(arguments.checkpoint, Path(work), compute_type) for compute_type in COMPUTE_TYPES]
        for trial in made:
            cells = [figure for engine in engines for figure in measured(engine, trial.pairs, arguments.misses)]
            print(f"| {trial.name} | {len(trial.pairs)} | {' | '.join(cells)} |", flush=True)


def trials(sentences: int, seed: int) -> list[Trial]:
    heard = {
        language: distinct(sentences, f"{seed}/{language}", partial(held_out_pair, language))
        for language in ("en", "es")
    }
    return [
        Trial("en → es", heard["en"]),
        Trial("es → en", heard["es"]),
        Trial("es → en, what is translated from English", distinct(sentences, f"{seed}/back", held_out_translation)),
        Trial("en → es, no capital, no mark", list(map(bare, heard["en"]))),
        Trial("es → en, no capital, no mark", list(map(bare, heard["es"]))),
        Trial("en → es, two sentences in one text", list(twos(heard["en"]))),
        Trial("es → en, two sentences in one text", list(twos(heard["es"]))),
    ]


def distinct(count: int, seed: str, make: Callable[[random.Random], Pair]) -> list[Pair]:
    rng = random.Random(seed)
    pairs: dict[str, Pair] = {}
    while len(pairs) < count:
        pair = make(rng)
        pairs[pair.source] = pair
    return list(pairs.values())


def twos(pairs: Sequence[Pair]) -> Iterator[Pair]:
    for first, second in zip(pairs[::2], pairs[1::2], strict=False):
        yield replace(first, source=f"{first.source} {second.source}", target=f"{first.target} {second.target}")


def engine(checkpoint: Path, work: Path, compute_type: str) -> Any:
    to = ["--to", str(work / compute_type), "--compute-type", compute_type]
    with contextlib.redirect_stdout(sys.stderr):
        translator.main(["--checkpoint", str(checkpoint), *to])
    weights = work / compute_type / "translator" / "1" / "weights"
    return load_engine("translator").TranslatorEngine(weights, compute_type=compute_type, threads=1)


def measured(engine: Any, pairs: Sequence[Pair], misses: int) -> tuple[str, str]:
    """Exact match and chrF."""
    options = json.dumps({"target": pairs[0].other_language}).encode()
    texts = [pair.source.encode() for pair in pairs]
    requests = [
        engine.prepare(texts[start : start + REQUEST_TEXTS], options) for start in range(0, len(texts), REQUEST_TEXTS)
    ]
    answers = dict(engine.translate(requests))
    written = [text for number in sorted(answers) for text in answers[number]]
    wanted = [pair.target for pair in pairs]
    wrong = [pair for pair, text in zip(pairs, written, strict=True) if pair.target != text]
    for pair in wrong[:misses]:
        print(f"  {pair.source!r} → {written[pairs.index(pair)]!r}, not {pair.target!r}")
    exact = 1 - len(wrong) / len(pairs)
    return f"{exact:.1%}", f"{CHRF().corpus_score(written, [wanted]).score:.1f}"


if __name__ == "__main__":
    main()
