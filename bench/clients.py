"""Clients that send recordings without pause and look at what they get, for as long as something else happens."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import httpx
from urllib3 import encode_multipart_formdata

from bench.live import p50, p95
from bench.recordings import Clip
from export_scripts.scoring import word_error_rate

REQUEST_LIMIT_S = 300.0
WORST_WER = 0.1
PAUSE_S = 0.5  # of a client whose request failed
LONGEST_WAIT_S = 30.0
SPREAD_S = 1.0
"""Clients begin within this, not all at once."""


@dataclass(frozen=True)
class Answer:
    """`began` by time.monotonic; `refused` is a 503 with Retry-After."""

    began: float
    seconds: float
    what: Literal["right", "refused", "wrong"]
    problem: str = ""
    text: str = ""
    version: str = ""


@dataclass
class Load:
    """What so many clients were answered so far."""

    url: str
    key: str
    recordings: Sequence[Clip]
    fields: dict[str, str] = field(default_factory=dict)
    patient: bool = True
    """Waits as long as Retry-After says; otherwise but a moment."""
    answers: list[Answer] = field(default_factory=list)

    @asynccontextmanager
    async def of(self, clients: int) -> AsyncIterator[None]:
        """While the context lasts. What is under way at its end is waited for."""
        turns = itertools.cycle([(clip, self._form(clip)) for clip in self.recordings])
        over = asyncio.Event()

        async def client(session: httpx.AsyncClient) -> None:
            wait_s = random.uniform(0, SPREAD_S)
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), wait_s)
                if over.is_set():
                    return
                wait_s = await self._ask(session, *next(turns))

        limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
        async with (
            httpx.AsyncClient(
                base_url=self.url,
                headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
                timeout=REQUEST_LIMIT_S,
                limits=limits,
                trust_env=False,
            ) as session,
            asyncio.TaskGroup() as running,
        ):
            for _ in range(clients):
                running.create_task(client(session))
            try:
                yield
            finally:
                over.set()

    def _form(self, clip: Clip) -> tuple[bytes, str]:
        """The body, and its type; made once, so that the clients take little of the processors."""
        return encode_multipart_formdata(
            {"store": "false", **self.fields, "file": (clip.path.name, clip.path.read_bytes())}
        )

    async def _ask(self, session: httpx.AsyncClient, clip: Clip, form: tuple[bytes, str]) -> float:
        """How long to wait before the next, in s."""
        body, type_ = form
        began = time.monotonic()
        try:
            answer = await session.post("/v1/transcribe", content=body, headers={"Content-Type": type_})
        except httpx.HTTPError as error:
            self.answers.append(Answer(began, time.monotonic() - began, "wrong", repr(error)))
            return PAUSE_S
        seconds = time.monotonic() - began
        told = answer.headers.get("Retry-After", "")
        if answer.status_code == 503 and told.isdecimal():
            self.answers.append(Answer(began, seconds, "refused"))
            wait_s = min(float(told), LONGEST_WAIT_S) if self.patient else PAUSE_S
            return wait_s * random.uniform(1, 1.5)  # not all at the same moment again
        if answer.status_code != 200:
            problem = f"{answer.status_code}: {answer.text[:200]}"
            self.answers.append(Answer(began, seconds, "wrong", problem))
            return PAUSE_S
        text, version = str(answer.json()["text"]), answer.headers.get("X-Model-Version", "")
        is_right = bool(text) and word_error_rate([clip.text], [text]) <= WORST_WER
        problem = "" if is_right else f"{text!r} instead of {clip.text!r}"
        self.answers.append(Answer(began, seconds, "right" if is_right else "wrong", problem, text, version))
        return 0.0


def problems(answers: Iterable[Answer]) -> list[str]:
    """Of those that are wrong: how often, and what."""
    return [f"{count} × {what}" for what, count in Counter(a.problem for a in answers if a.what == "wrong").items()]


def times(answers: Iterable[Answer], what: str) -> list[float]:
    return [answer.seconds for answer in answers if answer.what == what]


def latencies(seconds: Sequence[float]) -> list[str]:
    """p50, p95 and the longest, as cells of a table."""
    if not seconds:
        return ["", "", ""]
    return [f"{1000 * value:.0f} ms" for value in (p50(seconds), p95(seconds), max(seconds))]
