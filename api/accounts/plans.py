"""What each plan allows. The table is data: plans.toml, or the file that TRITONE_PLANS names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.accounts.credits import CREDIT
from api.settings import SettingsError

DEFAULT_PLANS = Path(__file__).with_name("plans.toml")
ANONYMOUS = "anonymous"
MAX_PLANS_BYTES = 1024 * 1024
Positive = Annotated[int, Meta(ge=1, le=10**9)]


TextRoute = Literal["embed", "summarize", "analyze", "generate", "chat", "translate", "enhance", "speak"]


class TextLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a route that works on text: requests a minute of all keys together, and the whole credits that one costs."""

    requests_per_minute: Positive
    credits: Annotated[int, Meta(ge=0, le=10**6)] = 0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan with `minutes_per_month` counts: what a started minute costs is taken from those first, then from bought
    credits. Without it nothing is counted. `transcriptions_per_day` are an address's, of those who send no key, or an
    account's. `text` has the routes that work on text, and `default` for those that it does not name; none is for
    nobody. With `refinement` a language model goes over transcripts for which a context was sent.
    """

    max_file_mb: Positive
    concurrency: Positive
    requests_per_minute: Positive
    minutes_per_month: Annotated[int, Meta(ge=0, le=10**9)] | None = None
    transcriptions_per_day: Positive | None = None
    refinement: bool = False
    text: dict[TextRoute | Literal["default"], TextLimits] = {}
    name: str = ""

    @property
    def counts_minutes(self) -> bool:
        return self.minutes_per_month is not None

    @property
    def monthly(self) -> int:
        """Thousandths of a credit that its minutes of a month are worth."""
        return (self.minutes_per_month or 0) * CREDIT

    def text_limits(self, route: TextRoute) -> TextLimits | None:
        """None where the plan does not have the route."""
        return self.text.get(route) or self.text.get("default")

    @property
    def max_file_bytes(self) -> int:
        return self.max_file_mb * 1024 * 1024


class Plans:
    """By name. `anonymous` is None where everything needs a key."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        self._plans = plans
        self.anonymous = plans.get(ANONYMOUS)

    @property
    def names(self) -> list[str]:
        """Of the plans that an account can have."""
        return [name for name in self._plans if name != ANONYMOUS]

    def get(self, name: str) -> Plan | None:
        return self._plans.get(name) if name != ANONYMOUS else None


def load_plans(path: str = "") -> Plans:
    """The contract's plans, where no path is given. Raises SettingsError."""
    file = Path(path) if path else DEFAULT_PLANS
    try:
        with file.open("rb") as opened:
            plans = msgspec.toml.decode(opened.read(MAX_PLANS_BYTES), type=dict[str, Plan])
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"TRITONE_PLANS={file}: {error}") from error
    anonymous = plans.get(ANONYMOUS)
    if anonymous is not None and anonymous.counts_minutes:
        raise SettingsError(f"TRITONE_PLANS={file}: who sends no key has no minutes; use transcriptions_per_day.")
    if anonymous is not None and anonymous.text:
        raise SettingsError(f"TRITONE_PLANS={file}: what works on text needs a key; leave `text` out of anonymous.")
    return Plans({name: msgspec.structs.replace(plan, name=name) for name, plan in plans.items()})
