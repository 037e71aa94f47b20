"""How well texts are analysed: personal data found, sentiment told, summaries, chapters and answers chosen.

    .venv/bin/python -m bench.text_quality

Each section is a table of its own; `--only` chooses. No service needs to run.

* personal data: sentences from a seed, of carriers, names, domains and decoys that no rule was tuned on (`--half dev`
  has those it was tuned on). When these were first seen, recall was 0.988 and precision 0.992; two rules were mended
  then, and the numbers of seed 0 are a little better for it. A finding counts where type, beginning and end are right;
  "covered" asks only that nothing of the entity is left when all findings are blacked out. Precision is the share of
  findings that count; decoys have no personal data, so all of theirs are wrong.
* sentiment: sentences of the kind said in meetings and calls, which were labelled before VADER saw them. Its labels
  follow its own limits: positive from 0.05 on, negative from -0.05 down.
* summaries, chapters, retrieval: of made meetings, and of two written by hand; bench/summaries.py says how.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench.personal_data import Half, decoys, sentences
from bench.summaries import chapters, retrieval, summaries
from export_scripts.engines import load_engine

DATA: Final = Path(__file__).parent / "data"
LABELS: Final = ("positive", "neutral", "negative")
LIMIT: Final = 0.05


def main(argv: Sequence[str] | None = None) -> None:
    sections: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
        "personal_data": lambda arguments: personal_data(
            arguments.half, arguments.count, arguments.seed, arguments.misses
        ),
        "sentiment": lambda _: sentiment(),
        "summaries": lambda _: summaries(),
        "chapters": lambda _: chapters(),
        "retrieval": lambda _: retrieval(),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sections, nargs="+", default=list(sections))
    parser.add_argument("--half", choices=("dev", "test"), default="test", help="of the personal data (%(default)s)")
    parser.add_argument("--count", type=int, default=500, help="sentences, and as many decoys (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--misses", action="store_true", help="list what went wrong")
    arguments = parser.parse_args(argv)
    for name in arguments.only:
        for line in sections[name](arguments):
            print(line, flush=True)
        print()


def personal_data(half: Half, count: int, seed: int, misses: bool) -> Iterator[str]:
    rows: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for sentence in sentences(half, count, seed):
        found = _entities(sentence.text, sentence.language)
        wanted = (sentence.type, sentence.start, sentence.end)
        hits = [entity for entity in found if (entity.type, entity.start, entity.end) == wanted]
        blacked = {place for entity in found for place in range(entity.start, entity.end)}
        covered = blacked.issuperset(range(sentence.start, sentence.end))
        for row in ((str(sentence.type), str(sentence.form)), ("all", str(sentence.form)), ("all", "all")):
            rows[row] += Tally(1, len(hits), covered, len(found))
        if misses and not (hits and len(found) == 1):
            print(
                f"{sentence.language} {wanted[0]} {sentence.text!r}: {_listed(sentence.text, found)}", file=sys.stderr
            )
    yield "| personal data | form | sentences | recall | covered | precision |\n|---|---|---|---|---|---|"
    for (type_, form), tally in sorted(rows.items(), key=lambda row: (row[0][0] == "all", row[0])):
        precision = tally.hits / max(tally.found, 1)
        shares = f"{tally.hits / tally.wanted:.3f} | {tally.covered / tally.wanted:.3f} | {precision:.3f}"
        yield f"| {type_} | {form} | {tally.wanted} | {shares} |"
    wrong = 0
    for decoy in decoys(half, count, seed):
        found = _entities(decoy.text, decoy.language)
        wrong += len(found)
        if misses and found:
            print(f"{decoy.language} {decoy.text!r}: {_listed(decoy.text, found)}", file=sys.stderr)
    everything = rows["all", "all"]
    precision = everything.hits / (everything.found + wrong)
    yield f"| nothing | decoys | {count} | | | {wrong} found |"
    yield f"| all | with decoys | {everything.wanted + count} | | | {precision:.3f} |"


@dataclass(frozen=True)
class Tally:
    wanted: int = 0
    hits: int = 0
    covered: int = 0
    found: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def sentiment() -> Iterator[str]:
    labelled: dict[str, list[str]] = json.loads((DATA / "sentiment.json").read_text())
    pairs = Counter((label, _label(text)) for label in LABELS for text in labelled[label])
    right = sum(pairs[label, label] for label in LABELS)
    yield "| sentiment | sentences | precision | recall | F1 |\n|---|---|---|---|---|"
    scores = []
    for label in LABELS:
        wanted, told = (sum(count for pair, count in pairs.items() if pair[side] == label) for side in (0, 1))
        precision, recall = pairs[label, label] / max(told, 1), pairs[label, label] / wanted
        scores.append(2 * pairs[label, label] / (wanted + told))
        yield f"| {label} | {wanted} | {precision:.3f} | {recall:.3f} | {scores[-1]:.3f} |"
    yield f"| all | {pairs.total()} | accuracy {right / pairs.total():.3f} | | macro {sum(scores) / len(scores):.3f} |"


def _label(text: str) -> str:
    compound = _analysis([text], "sentiment", "en").sentiment[0].compound
    if abs(compound) < LIMIT:
        return "neutral"
    return "positive" if compound > 0 else "negative"


def _entities(text: str, language: str) -> Any:
    return _analysis([text], "entities", language).entities[0]


def _analysis(texts: list[str], task: str, language: str) -> Any:
    engine = load_engine_module()
    (answer,) = _engine().analyze([engine.Request(texts, engine.AnalysisOptions((task,), language))])
    return answer


@cache
def load_engine_module() -> Any:
    return load_engine("text_analysis")


@cache
def _engine() -> Any:
    return load_engine_module().TextAnalysisEngine(Path("weights"))


def _listed(text: str, found: Any) -> str:
    return ", ".join(f"{entity.type} {text[entity.start : entity.end]!r}" for entity in found) or "nothing"


if __name__ == "__main__":
    main()
