"""A transcription as a piece of work: what it needs before it may begin, and what becomes of that in the end.

A job has one id, under which it holds a place (with the limiter), credits (in the ledger) and its transcript. All three
are leases that this process renews: what a process that died held is free again when they run out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import ledger
from api.accounts.callers import Caller
from api.accounts.credits import CREDIT, price
from api.accounts.keys import Scope
from api.accounts.limits import Limiter, Standing, Window
from api.accounts.plans import Plan, TextLimits, TextRoute
from api.errors import (
    ClientGone,
    Forbidden,
    InvalidRequest,
    StorageUnavailable,
    TooLarge,
    TooMany,
    TooManyAtOnce,
    TritoneError,
)
from api.inference.backlog import Backlog
from api.metrics import CREDITS_CHARGED
from api.speech import Transcript
from api.storage.database import Database
from api.storage.ids import new_id
from api.transcripts import library

log = logging.getLogger(__name__)

DAY_S = 24 * 3600
MINUTE_S = 60
RETRY_PLACE_S = 5
LAST_WORDS_S = 5.0
STORAGE_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Work that is done is worth waiting for a database that is away."""
UNEXPECTED = "Something went wrong while it was made."
CLIENT_LEFT = "The client left before it was ready."
NOTHING_CAME = "No audio came."

Step = Callable[[AsyncConnection], Awaitable[None]]


@dataclass(slots=True)
class Errand:
    """A piece of work on text. Once some of it was told, who leaves pays for it. One with a `failure` is not paid,
    though the request goes on without it."""

    told: bool = False
    failure: TritoneError | None = None


class Jobs:
    """All that run in this process."""

    def __init__(self, database: Database, limiter: Limiter, lease_s: float) -> None:
        self.database = database
        self.limiter = limiter
        self.lease_s = lease_s
        self._open: set[UUID] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def open(
        self, caller: Caller, *, size: int = 0, largest: int | None = None, backlog: Backlog | None = None
    ) -> AsyncIterator[Job]:
        """A place, and the first minute of it paid for, while the context lasts.

        `size` is that of the upload in bytes, as far as it is known, `largest` what it may be, if that is less than the
        plan allows.

        What it holds goes back when the context ends without `Job.complete`. Raises NoCredits, TooMany, TooLarge,
        Overloaded where the `backlog` is full, StorageUnavailable, all of them before anything was asked of the client.
        """
        plan, holder = caller.plan, caller.holder
        day = Window(f"{caller.subject}:transcriptions", plan.transcriptions_per_day or 0, DAY_S)
        if holder is not None:
            ledger.check(plan, holder.balance, price(0.0), datetime.now(UTC))
        if plan.transcriptions_per_day:
            _refuse(caller, await self.limiter.hit(day, cost=0))
        if size > (most := min(plan.max_file_bytes, largest or plan.max_file_bytes)):
            raise TooLarge(f"The file is larger than the {most / 1024**2:g} MB that are allowed.")
        with nullcontext() if backlog is None else backlog.place():
            job = Job(new_id(), caller, self)
            await self._take_place(caller.subject, job.id, plan)
            counted: Standing | None = None
            try:
                if plan.transcriptions_per_day:
                    counted = await self.limiter.hit(day)
                    _refuse(caller, counted)
                async with self._leased(job):
                    if holder is not None:
                        await job.cover(0.0)
                    yield job
                    if not job.done:
                        await job.give_up(InvalidRequest(NOTHING_CAME))
            finally:
                await self.limiter.release(caller.subject, str(job.id))
                if counted is not None and counted.allowed and not job.done:
                    await self.limiter.give_back(counted)

    @asynccontextmanager
    async def errand(
        self,
        caller: Caller,
        route: TextRoute,
        scope: Scope = "text",
        *,
        has_place: bool = False,
        backlog: Backlog | None = None,
    ) -> AsyncIterator[Errand]:
        """A piece of work on text, or on sound: counted at once, and paid for, where it costs something, when the
        context ends well.

        As many at the same time as the plan allows of transcriptions, beside those; any number of embeddings, and of
        those that are part of a transcription that has a place.

        Raises InvalidKey, Forbidden, Overloaded where the `backlog` is full, TooMany, NoCredits, StorageUnavailable.
        """
        account, plan = caller.account(scope), caller.plan
        limits = plan.text_limits(route)
        if limits is None:
            raise Forbidden(f"The plan {plan.name} does not have this: {route}.")
        with nullcontext() if backlog is None else backlog.place():
            async with self._counted(caller, account, route, limits, has_place) as errand:
                yield errand

    @asynccontextmanager
    async def _counted(
        self, caller: Caller, account: UUID, route: TextRoute, limits: TextLimits, has_place: bool
    ) -> AsyncIterator[Errand]:
        plan = caller.plan
        standing = await self.limiter.hit(Window(f"{caller.subject}:{route}", limits.requests_per_minute, MINUTE_S))
        caller.standings.append(standing)
        if not standing.allowed:
            raise TooMany(
                f"The plan {plan.name} allows {standing.window.limit} requests a minute of this: {route}. "
                f"Try again in {standing.reset_s} s.",
                standing.reset_s,
            )
        job, errand, subject = Job(new_id(), caller, self), Errand(), f"{caller.subject}:text"
        needs_place, cost = route != "embed" and not has_place, limits.credits * CREDIT
        if needs_place:
            await self._take_place(subject, job.id, plan)
        try:
            if not (cost and plan.counts_minutes):
                yield errand
                return
            async with self._leased(job):
                await job.hold(cost)
                try:
                    yield errand
                except (asyncio.CancelledError, GeneratorExit, ClientGone):
                    if errand.told:
                        await job.settle(account, cost, 0.0, route)
                    raise
                if errand.failure is not None:
                    await job.give_up(errand.failure)
                else:
                    await job.settle(account, cost, 0.0, route)
        finally:
            if needs_place:
                await self.limiter.release(subject, str(job.id))

    async def _take_place(self, subject: str, job_id: UUID, plan: Plan) -> None:
        """Raises TooManyAtOnce."""
        if not await self.limiter.acquire(subject, str(job_id), plan.concurrency):
            message = f"The plan {plan.name} allows {plan.concurrency} at the same time. Try again later."
            raise TooManyAtOnce(message, RETRY_PLACE_S, plan.concurrency)

    @asynccontextmanager
    async def _leased(self, job: Job) -> AsyncIterator[None]:
        """While the context lasts, what the job holds is kept for it; where that ends badly, it goes back."""
        self._open.add(job.id)
        self._idle.clear()
        try:
            yield
        except BaseException as failure:
            await job.give_up(failure)
            raise
        finally:
            self._open.discard(job.id)
            if not self._open:
                self._idle.set()

    async def given_up(self) -> None:
        """When none is open any more: at its end the process cancels them, and they give back what they hold."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._idle.wait()

    async def prolong(self) -> None:
        """Say that all of them are still at it."""
        if self._open:
            async with self.database.writing() as connection:
                await ledger.prolong(connection, self._open, lease_s=self.lease_s, now=datetime.now(UTC))


@dataclass(eq=False, slots=True)
class Job:
    """One of them. Of who sent no key nothing is paid and nothing stored: then each step does nothing.

    Amounts are thousandths of a credit. A started minute costs `percent` hundredths of one, which may be changed until
    the job is done: what is missing is held when more is covered.
    """

    id: UUID
    caller: Caller
    _jobs: Jobs
    percent: int = 100
    done: bool = False
    stored: bool = False
    """There is a transcript of this id."""
    heard: Transcript | None = field(default=None)
    """What a live session has delivered so far."""
    cost: int = 0
    """What was paid in the end: 0 before, and on plans that count nothing."""
    _held: int | None = None

    async def hold(self, amount: int) -> None:
        """Raises NoCredits, TooMany, StorageUnavailable."""
        holder = self.caller.holder
        if holder is not None:
            await self._jobs.database.write(
                lambda connection: ledger.hold(
                    connection, holder.account_id, self.id, self.caller.plan,
                    amount=amount, lease_s=self._jobs.lease_s, now=datetime.now(UTC),
                )
            )  # fmt: skip
            self._held = amount

    async def cover(self, seconds: float) -> None:
        """See that so much audio is paid for. Raises NoCredits, TooMany, StorageUnavailable."""
        amount = price(seconds, self.percent)
        if self._held is None or (amount > self._held and self.caller.plan.counts_minutes):
            await self.hold(amount)

    async def accept(self, title: str, model: str, version: str = "") -> None:
        """What was asked for is possible, and is to be stored."""
        if self.caller.holder is not None:
            account = self.caller.holder.account_id
            self.stored = True  # or will be, even if we do not hear of it any more
            await self._write(lambda c: library.begin(c, self.id, account, title=title, model=model, version=version))

    async def begin(self) -> None:
        """It is its turn."""
        if self.stored:
            await self._write(lambda connection: library.process(connection, self.id))

    async def complete(self, transcript: Transcript) -> Transcript:
        """Paid and stored, in one transaction; the transcript has the id that it is stored under.

        One that was too noisy to be listened to costs nothing.
        """
        if self.stored:
            transcript = replace(transcript, id=str(self.id))
        holder = self.caller.holder
        if holder is not None:
            amount = 0 if transcript.too_noisy else price(transcript.duration, self.percent)
            await self.settle(
                holder.account_id, amount, transcript.duration, transcript.model, transcript if self.stored else None
            )
        self.done = True
        return transcript

    async def settle(
        self, account: UUID, amount: int, seconds: float, model: str, transcript: Transcript | None = None
    ) -> None:
        """Paid, and stored if there is a transcript."""
        plan = self.caller.plan

        async def settle(connection: AsyncConnection) -> None:
            self.cost = await ledger.settle(
                connection, account, self.id, plan,
                amount=amount, seconds=seconds, model=model, now=datetime.now(UTC),
            )  # fmt: skip
            if transcript is not None:
                await library.complete(connection, self.id, transcript)

        await self._write(settle)
        CREDITS_CHARGED.inc(self.cost / CREDIT)
        self.done = True

    async def give_up(self, failure: BaseException) -> None:
        """Nothing is charged, but for the live speech of a client that heard it and left."""
        if self.done:
            return
        if isinstance(failure, ClientGone) and self.heard is not None:
            await self.complete(self.heard)
            return
        holder, plan = self.caller.holder, self.caller.plan
        if holder is None or self._held is None:
            return
        account, reason = holder.account_id, _reason(failure)

        async def release(connection: AsyncConnection) -> None:
            await ledger.release(connection, account, self.id, plan, now=datetime.now(UTC))
            if self.stored:
                await library.fail(connection, self.id, reason, self.heard)

        try:
            await self._write(release)
        except StorageUnavailable:
            log.warning("The job %s could not be released; its lease will run out", self.id)

    async def _write(self, step: Step) -> None:
        """As one transaction, tried again while the database is away for some seconds. Raises StorageUnavailable."""
        for pause_s in (*STORAGE_PAUSES_S, None):
            try:
                await self._jobs.database.write(step)
                return
            except StorageUnavailable:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)


def _reason(failure: BaseException) -> str:
    if isinstance(failure, ClientGone):
        return CLIENT_LEFT
    return str(failure) if isinstance(failure, TritoneError) else UNEXPECTED


def _refuse(caller: Caller, standing: Standing) -> None:
    caller.standings.append(standing)
    if not standing.allowed:
        or_with = ", or with an API key" if caller.holder is None else ""
        raise TooMany(
            f"The plan {caller.plan.name} allows {standing.window.limit} transcriptions a day. "
            f"Try again in {standing.reset_s} s{or_with}.",
            standing.reset_s,
        )
