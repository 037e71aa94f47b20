"""The section "Under load" of docs/performance.md: what stands between its markers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.load.measuring import Latency, Level
from bench.load.outcomes import END_TO_FINAL, WORD_TO_PARTIAL

BEGIN: Final = "<!-- Written by `make bench`: -->"
END: Final = "<!-- Until here. -->"
PICTURES: Final = {
    "throughput.png": "Throughput against users at the same time",
    "latency.png": "Latency of clips and of requests about text against users at the same time",
    "batch-fill.png": "Requests per execution in Triton against users at the same time",
    "live-beside-files.png": "Latency of live sessions against clients that send files",
}


class NoMarkers(Exception):
    """The document has no place for the section."""


def around(document: Path) -> tuple[str, str]:
    """What stands before and after the section. Raises NoMarkers."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoMarkers(f"{document} has no line {BEGIN!r} with {END!r} somewhere after it.")
    return before, after


def write(document: Path, mix: Sequence[Level], beside: Sequence[Level], pictures: Sequence[Path]) -> None:
    """Raises NoMarkers."""
    before, after = around(document)
    tables = [table for table, levels in ((of_mix(mix), mix), (of_live(beside), beside)) if levels]
    shown = [f"![{PICTURES[file.name]}]({os.path.relpath(file, document.parent)})" for file in pictures]
    document.write_text(before + "\n\n".join([BEGIN, *shown, *tables, END]) + after)


def of_mix(levels: Sequence[Level]) -> str:
    columns = (
        "users", "audio s/s", "requests/s", "clips: p50", "p95", "p99", "texts: p50", "p95", "p99",
        "live, word to partial: p50", "p95", "live, end to final: p50", "p95",
        "windows a call", "speakers", "embeddings", "right", "wrong", "shed", "limited",
    )  # fmt: skip
    rows = [
        (
            str(level.concurrency),
            f"{level.audio_s_per_s:.0f}",
            f"{level.requests_per_s:.1f}",
            *_three(level, "clips"),
            *_three(level, "texts"),
            *_three(level, WORD_TO_PARTIAL)[:2],
            *_three(level, END_TO_FINAL)[:2],
            *(f"{fill:.1f}" for fill in level.fill.values()),
            *(str(count) for count in (level.right, level.wrong, level.shed, level.limited)),
        )
        for level in levels
    ]
    return _table(columns, rows)


def of_live(levels: Sequence[Level]) -> str:
    columns = (
        "clients that send files", "live sessions", "word to partial: p50", "p95", "p95, times the first",
        "end to final: p50", "p95", "p95, times the first", "audio s/s of files", "windows a call", "wrong",
    )  # fmt: skip
    first = levels[0] if levels else None
    rows = []
    for level in levels:
        assert first is not None
        cells = [str(level.users["Uploads"]), str(level.users["Live"])]
        for kind in (WORD_TO_PARTIAL, END_TO_FINAL):
            cells += [*_three(level, kind)[:2], f"×{_p95(level, kind) / _p95(first, kind):.2f}"]
        live_s = level.users["Live"]  # a second of audio each in a second
        cells += [f"{max(0.0, level.audio_s_per_s - live_s):.0f}", f"{level.fill['whisper']:.1f}", str(level.wrong)]
        rows.append(tuple(cells))
    return _table(columns, rows)


def _three(level: Level, name: str) -> list[str]:
    latency = level.latencies.get(name)
    return [_ms(latency, share) for share in ("p50", "p95", "p99")]


def _ms(latency: Latency | None, share: str) -> str:
    return f"{1000 * getattr(latency, share):.0f} ms" if latency else ""


def _p95(level: Level, name: str) -> float:
    return level.latencies[name].p95 if name in level.latencies else math.nan


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in (columns, *rows))
    return "\n".join([head, "|" + len(columns) * "---|", *body])
