"""What is deployed in a Triton, by its own repository index."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from tritonclient.utils import InferenceServerException

from api.inference.base import Deployment
from api.inference.contracts import ModelCard
from api.inference.triton.channel import Channel

log = logging.getLogger(__name__)

REGISTRY_TIMEOUT_S = 5.0


class TritonRegistry:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._cards: dict[tuple[str, str], ModelCard] = {}

    async def deployments(self) -> list[Deployment]:
        try:
            index = await self._channel.client.get_model_repository_index(client_timeout=REGISTRY_TIMEOUT_S)
            models = [model for model in index.models if model.version]
            cards = await asyncio.gather(*map(self._card, models))
        except InferenceServerException as error:
            raise self._channel.away(error) from error
        return [
            Deployment(model.name, model.version, model.state == "READY", card, self._channel.crashed(model.name))
            for model, card in zip(models, cards, strict=True)
        ]

    async def _card(self, model: Any) -> ModelCard:
        """A version's card; asked for once, because a version's content does not change."""
        key = (model.name, model.version)
        if model.state != "READY":
            return self._cards.get(key, ModelCard())
        if key not in self._cards:
            answer = await self._channel.client.get_model_config(*key, client_timeout=REGISTRY_TIMEOUT_S)
            parameters = answer.config.parameters
            try:
                card = msgspec.json.decode(parameters["card"].string_value or "{}", type=ModelCard)
            except msgspec.MsgspecError as error:
                log.warning("%s version %s has an unreadable card: %s", *key, error)
                card = ModelCard()
            self._cards[key] = card
        return self._cards[key]
