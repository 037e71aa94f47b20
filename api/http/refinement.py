"""Who has transcripts refined by a language model."""

from __future__ import annotations

from api.accounts.callers import Caller
from api.errors import InferenceUnavailable
from api.intelligence.refining import Refiner
from api.intelligence.service import Intelligence


async def refiner_for(caller: Caller, intelligence: Intelligence) -> tuple[Refiner | None, str]:
    """Whoever refines this caller's, or else why nobody does."""
    if not caller.plan.refinement:
        return None, f"The plan {caller.plan.name} does not have that."
    try:
        refiner = await intelligence.refiner()
    except InferenceUnavailable as failure:
        return None, str(failure)
    return refiner, "" if refiner else "No language model is deployed."
