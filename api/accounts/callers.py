"""Who calls: the holder of a key, or somebody at an address."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from api.accounts.directory import Holder
from api.accounts.keys import Scope
from api.accounts.limits import Standing
from api.accounts.plans import Plan
from api.errors import Forbidden, InvalidKey


@dataclass(frozen=True, slots=True)
class Caller:
    """`holder` is None where no key was sent. `standings` are those of its limits that were looked at, in order."""

    plan: Plan
    address: str
    holder: Holder | None = None
    standings: list[Standing] = field(default_factory=list, compare=False)

    @property
    def subject(self) -> str:
        """Whose limits these are: all keys of an account share them."""
        return f"ip:{self.address}" if self.holder is None else f"account:{self.holder.account_id}"

    def account(self, scope: Scope) -> UUID:
        """The account that the key speaks for. Raises InvalidKey where there is none, Forbidden where it may not."""
        if self.holder is None:
            raise InvalidKey("This needs an API key; send it as `Authorization: Bearer KEY`.")
        self.check(scope)
        return self.holder.account_id

    def check(self, scope: Scope) -> None:
        """Raises Forbidden where a key was sent that is not for this."""
        if self.holder is not None and scope not in self.holder.scopes:
            raise Forbidden(f"This key may not do this: it needs the scope {scope}.")
