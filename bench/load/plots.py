"""Pictures of a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.load.measuring import Level
from bench.load.outcomes import END_TO_FINAL, WORD_TO_PARTIAL

WIDTH_IN, HEIGHT_IN = 9.0, 3.6
DPI: Final = 110
SHARES: Final = {"p50": "-", "p95": "--", "p99": ":"}
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito's, told apart by the colour-blind too


def draw(mix: Sequence[Level], beside: Sequence[Level], folder: Path) -> list[str]:
    """The names of the files."""
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    if mix:
        figures |= {"throughput.png": _throughput(mix), "latency.png": _latency(mix), "batch-fill.png": _fill(mix)}
    if beside:
        figures["live-beside-files.png"] = _live(beside)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
    return list(figures)


def _throughput(levels: Sequence[Level]) -> Figure:
    figure, (audio, requests) = _panels(2)
    clients = [level.concurrency for level in levels]
    audio.plot(clients, [level.audio_s_per_s for level in levels], "o-", color=COLOURS[0])
    audio.set_ylabel("audio recognised, s per s")
    requests.plot(clients, [level.requests_per_s for level in levels], "o-", color=COLOURS[1])
    requests.set_ylabel("requests per s")
    for axes in (audio, requests):
        _finish(axes, clients, "users at the same time")
    return figure


def _latency(levels: Sequence[Level]) -> Figure:
    figure, panels = _panels(2)
    clients = [level.concurrency for level in levels]
    for axes, name, colour in zip(panels, ("clips", "texts"), COLOURS, strict=False):
        _shares(axes, clients, levels, name, colour)
        axes.set_title({"clips": "clips of some seconds", "texts": "requests about text"}[name])
        axes.set_ylabel("latency, s")
        axes.legend(frameon=False)
        _finish(axes, clients, "users at the same time")
    return figure


def _fill(levels: Sequence[Level]) -> Figure:
    figure, (axes,) = _panels(1)
    clients = [level.concurrency for level in levels]
    names = {"whisper": "recognition", "speakers": "speakers", "embedding": "embeddings"}
    for (name, label), colour in zip(names.items(), COLOURS, strict=True):
        axes.plot(clients, [level.fill[name] for level in levels], "o-", color=colour, label=label)
    axes.set_ylabel("requests per execution in Triton")
    axes.legend(frameon=False)
    _finish(axes, clients, "users at the same time")
    return figure


def _live(levels: Sequence[Level]) -> Figure:
    figure, panels = _panels(2)
    clients = [level.users["Uploads"] for level in levels]
    titles = {
        WORD_TO_PARTIAL: "from a word's end to the partial with it",
        END_TO_FINAL: "from a phrase's end to its text",
    }
    for axes, (name, title), colour in zip(panels, titles.items(), COLOURS, strict=False):
        _shares(axes, clients, levels, name, colour)
        axes.set_title(title)
        axes.set_ylabel("latency, s")
        axes.legend(frameon=False)
        _finish(axes, clients, f"clients that send files, beside {levels[0].users['Live']} live sessions")
    return figure


def _shares(axes: Axes, clients: Sequence[int], levels: Sequence[Level], name: str, colour: str) -> None:
    for share, line in SHARES.items():
        seconds = [getattr(level.latencies.get(name), share, math.nan) for level in levels]
        axes.plot(clients, seconds, f"o{line}", color=colour, label=share, markersize=4)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN if count > 1 else WIDTH_IN / 2, HEIGHT_IN), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _finish(axes: Axes, clients: Sequence[int], label: str) -> None:
    axes.set_xlabel(label)
    # Of levels that double, no one is crowded; 0 has no logarithm.
    axes.set_xscale("symlog", base=2, linthresh=min((n for n in clients if n), default=1))
    axes.set_xticks(clients, [str(n) for n in clients])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
