"""Who is there, and may they come in: keys become callers, and requests a minute are counted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from api.accounts.callers import Caller
from api.accounts.directory import find_holder, touch_keys
from api.accounts.limits import Limiter, Standing, Window
from api.accounts.plans import Plans
from api.errors import InvalidKey, TooMany, Unavailable
from api.storage.database import Database

log = logging.getLogger(__name__)

MINUTE_S = 60
IPV6_HOST_BITS = 64
REFUSALS_PER_MINUTE = 60


class Reception:
    """One for the whole service."""

    def __init__(self, database: Database, limiter: Limiter, plans: Plans, secret: bytes) -> None:
        self._database = database
        self._limiter = limiter
        self._plans = plans
        self._secret = secret
        self._used: dict[UUID, datetime] = {}

    async def identify(self, key: str | None, peer: str, standings: list[Standing]) -> Caller:
        """The caller at the address `peer`. Without a key it is anonymous; a wrong one is never.

        `standings` becomes the caller's, and has what was looked at even where there is none in the end.

        Raises InvalidKey, TooMany (of wrong keys), Unavailable.
        """
        address = network_of(peer)
        if key is None:
            if self._plans.anonymous is None:
                raise InvalidKey("This service needs an API key; send it as `Authorization: Bearer KEY`.")
            return Caller(self._plans.anonymous, address, standings=standings)
        try:
            async with self._database.reading() as connection:
                holder = await find_holder(connection, self._secret, key)
        except InvalidKey:
            await self.count_refusal(peer, standings)
            _refuse(standings[-1], "That were too many wrong keys.")
            raise
        plan = self._plans.get(holder.plan)
        if plan is None:
            log.error("The account %s has the plan %s, which is not configured", holder.account_id, holder.plan)
            raise Unavailable(f"The account's plan, {holder.plan}, is not configured here.", MINUTE_S)
        self._used[holder.key_id] = datetime.now(UTC)
        return Caller(plan, address, holder, standings)

    async def admit(self, caller: Caller, *, looking: bool = False) -> None:
        """Count a request, or with `looking` only see how many are left. Raises TooMany."""
        window = Window(caller.subject, caller.plan.requests_per_minute, MINUTE_S)
        standing = await self._limiter.hit(window, cost=0 if looking else 1)
        caller.standings.append(standing)
        if not looking:
            _refuse(standing, f"The plan {caller.plan.name} allows {standing.window.limit} requests a minute.")

    async def count_refusal(self, peer: str, standings: list[Standing]) -> None:
        """Of whoever did not become a caller."""
        window = Window(f"refused:{network_of(peer)}", REFUSALS_PER_MINUTE, MINUTE_S)
        standings.append(await self._limiter.hit(window))

    async def write_down_uses(self) -> None:
        """When keys were last used: collected here, written now and then."""
        used, self._used = self._used, {}
        if used:
            async with self._database.writing() as connection:
                await touch_keys(connection, sorted(used.items()))


def network_of(peer: str) -> str:
    """Whose address that is: of IPv6, a household has 2**64."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer[:100]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> IPV6_HOST_BITS << IPV6_HOST_BITS)}/{128 - IPV6_HOST_BITS}"


def _refuse(standing: Standing, why: str) -> None:
    if not standing.allowed:
        raise TooMany(f"{why} Try again in {standing.reset_s} s.", standing.reset_s)
