"""What is known of a model: its versions, which of them takes new work, and which are still worked with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from api.versions.choices import Choice
from api.versions.tritons import READY, Standing

SETTLED = timedelta(seconds=30)
"""After a change of version, until no process chooses by what it knew before."""
NOTHING = Standing("not loaded", "")


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of one. `standings` are those of its versions in each Triton that has it in its repository;
    `used_by` counts the API processes that have work in hand with a version."""

    name: str
    standings: dict[str, dict[int, Standing]]
    choice: Choice | None
    used_by: dict[int, int]

    @property
    def ready(self) -> set[int]:
        """Somewhere."""
        return {number for of in self.standings.values() for number, one in of.items() if one.state == READY}

    @property
    def places(self) -> list[str]:
        """The Tritons that serve it, or were to; where none does, those that could."""
        serving = [where for where, of in self.standings.items() if any(one.is_wanted for one in of.values())]
        return serving or list(self.standings)

    @property
    def serving(self) -> int:
        """The version that takes new work: the chosen one, or the newest where that is not ready; 0: none is."""
        if self.choice is not None and self.choice.version in self.ready:
            return self.choice.version
        return max(self.ready, default=0)

    def standing(self, where: str, version: int) -> Standing:
        return self.standings.get(where, {}).get(version, NOTHING)

    def is_ready_everywhere(self, version: int) -> bool:
        return all(self.standing(where, version).state == READY for where in self.places)

    def kept(self, now: datetime) -> set[int]:
        """The versions that must stay loaded: nobody may be left without the one that a file began on."""
        if self.choice is not None and now - self.choice.changed_at < SETTLED:
            return self.ready
        return {number for number in self.ready if number == self.serving or number in self.used_by}
