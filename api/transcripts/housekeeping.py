"""What happens by itself: leases are renewed, those of dead processes run out, old transcripts go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from api.accounts import ledger
from api.accounts.plans import Plan, Plans
from api.accounts.reception import Reception
from api.errors import StorageUnavailable
from api.storage.database import Database
from api.transcripts import library
from api.transcripts.jobs import Jobs

log = logging.getLogger(__name__)

# An account's plan may have left the file; what its jobs hold goes back all the same.
NO_PLAN = Plan(max_file_mb=1, concurrency=1, requests_per_minute=1, minutes_per_month=0)
PURGE_AT_ONCE = 500
Chore = Callable[[], Awaitable[None]]


class Housekeeping:
    """Every process does it; whatever two do at the same time, they do once."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        reception: Reception,
        plans: Plans,
        *,
        retention_days: int,
        renewals: Sequence[Chore] = (),
    ) -> None:
        """`renewals` are of leases that others hold for this process."""
        self._database = database
        self._jobs = jobs
        self._reception = reception
        self._plans = plans
        self._renewals = (jobs.limiter.renew, jobs.prolong, *renewals)
        self._retention = timedelta(days=retention_days)

    async def run(self) -> None:
        """Until cancelled. What renews a lease waits for nothing else: it must come in time."""
        async with asyncio.TaskGroup() as chores:
            for chore in (*self._renewals, self._tidy):
                chores.create_task(self._again_and_again(chore))

    async def _again_and_again(self, chore: Chore) -> None:
        is_away = False
        while True:
            began = monotonic()
            try:
                await chore()
                is_away = False
            except StorageUnavailable:
                if not is_away:
                    log.warning("The database is away; what is due is done when it is back")
                is_away = True
            except Exception:
                log.exception("Housekeeping failed")
            await asyncio.sleep(max(0.0, began + self._jobs.lease_s / 3 - monotonic()))

    async def _tidy(self) -> None:
        await self._reception.write_down_uses()
        while await self.release_expired():
            pass
        async with self._database.writing() as connection:
            await library.fail_abandoned(connection)
        await self.purge()
        await self._database.wipe(again=True)

    async def release_expired(self) -> int:
        """How many jobs of processes that died gave back what they held."""
        async with self._database.reading() as connection:
            lost = await ledger.expired(connection, datetime.now(UTC))
        for job_id, account_id, plan in lost:
            log.warning("The job %s of the account %s is not heard of any more", job_id, account_id)
            async with self._database.writing() as connection:
                await ledger.release(
                    connection, account_id, job_id, self._plans.get(plan) or NO_PLAN,
                    state="expired", now=datetime.now(UTC),
                )  # fmt: skip
        return len(lost)

    async def purge(self) -> None:
        """Transcripts older than the retention."""
        if not self._retention:
            return
        purged = 0
        while True:
            async with self._database.writing() as connection:
                count = await library.purge(connection, datetime.now(UTC) - self._retention, PURGE_AT_ONCE)
            purged += count
            if count < PURGE_AT_ONCE:
                break
        if purged:
            await self._database.wipe()
            log.info("%d transcripts were older than the retention, and are deleted", purged)
