"""What became of the requests: one line of JSON each, written by the users, read by the measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

What = Literal["right", "wrong", "shed", "limited"]
SHORT_S: Final = 10.0
"""Up to this, a recording is a clip."""
WORD_TO_PARTIAL: Final = "live: word to partial"
END_TO_FINAL: Final = "live: end to final"
SESSION: Final = "live: session"
BEGUN: Final = "all users are there"
NO_REQUESTS: Final = (WORD_TO_PARTIAL, END_TO_FINAL, BEGUN)
"""A session has many of the first two; the last is written once, when all users are there."""


class Outcome(msgspec.Struct, frozen=True):
    """`began` is in s since the epoch, `audio_s` what was recognised, `problem` what is wrong with a wrong one."""

    kind: str
    what: What
    began: float
    seconds: float
    audio_s: float = 0.0
    problem: str = ""

    @property
    def ended(self) -> float:
        return self.began + self.seconds


def kind_of_upload(audio_s: float, *, speakers: bool) -> str:
    return f"{'clip' if audio_s <= SHORT_S else 'longer recording'}{', speakers' if speakers else ''}"


def is_upload(outcome: Outcome) -> bool:
    return outcome.kind.startswith(("clip", "longer recording"))


def is_text(outcome: Outcome) -> bool:
    return outcome.kind.startswith("text: ")


def read(file: Path) -> list[Outcome]:
    with file.open("rb") as lines:
        return [msgspec.json.decode(line, type=Outcome) for line in lines]


def of_requests(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    return (outcome for outcome in outcomes if outcome.kind not in NO_REQUESTS)


def count(outcomes: Sequence[Outcome], what: What) -> int:
    return sum(outcome.what == what for outcome in of_requests(outcomes))
