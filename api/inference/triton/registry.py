"""What is deployed in the Tritons, by their own repository indexes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from tritonclient.utils import InferenceServerException

from api.inference.base import Deployment, ModelVersion
from api.inference.contracts import ModelCard
from api.inference.triton.channel import Channel
from api.inference.triton.endpoint import Capacity, Endpoint

log = logging.getLogger(__name__)

CARD_TIMEOUT_S: Final = 2.0
CARD: Final = "card"
"""The parameter of a model's config; `card:N` is that of version N, where versions differ."""


class TritonRegistry:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def deployments(self) -> list[Deployment]:
        """A version is ready where it is ready anywhere. It has crashed if it has wherever it counts as ready."""
        fleet = self._channel.fleet
        await fleet.look()
        up = [endpoint for endpoint in fleet.endpoints if endpoint.is_up]
        if not any(endpoint.says_what_it_has for endpoint in up):
            raise self._channel.away("; ".join(endpoint.failure for endpoint in fleet.endpoints))
        where: dict[ModelVersion, list[Endpoint]] = {}
        for endpoint, surveyed in zip(up, await asyncio.gather(*(of.survey() for of in up)), strict=True):
            for version in {*surveyed, *endpoint.ready_versions()}:
                where.setdefault(version, []).extend([endpoint] if endpoint.has_ready(version) else [])
        cards = await asyncio.gather(*(self._card(version, ready) for version, ready in where.items()))
        return [
            Deployment(
                *version,
                ready=card is not None,
                card=card or ModelCard(),
                crashed=card is not None and all(endpoint.has_crashed(version) for endpoint in ready),
                serving=version.version == fleet.serving(version.name),
            )
            for (version, ready), card in zip(where.items(), cards, strict=True)
        ]

    async def _card(self, version: ModelVersion, ready: Sequence[Endpoint]) -> ModelCard | None:
        """Asked for once, because a version's content does not change while it is loaded. None where none of those
        that have it ready says so any more."""
        known = [endpoint.cards[version] for endpoint in ready if version in endpoint.cards]
        if known:
            return known[0]
        for endpoint in sorted(ready, key=lambda endpoint: not endpoint.is_well):
            try:
                answer = await endpoint.client.get_model_config(*version, client_timeout=CARD_TIMEOUT_S)
            except InferenceServerException as error:
                log.warning("%s version %s has no card at the moment: %s", *version, error)
                continue
            endpoint.capacities[version] = _capacity(answer.config)
            card = endpoint.cards[version] = _read(version, answer.config.parameters)
            return card
        return None


def _capacity(config: Any) -> Capacity:
    return Capacity(sum(group.count * (len(group.gpus) or 1) for group in config.instance_group), config.max_batch_size)


def _read(version: ModelVersion, parameters: Any) -> ModelCard:
    own = f"{CARD}:{version.version}"
    written = parameters[own if own in parameters else CARD].string_value
    try:
        return msgspec.json.decode(written or "{}", type=ModelCard)
    except msgspec.MsgspecError as error:
        log.warning("%s version %s has an unreadable card: %s", *version, error)
        return ModelCard()
