"""What Triton reads of a model: one config for all versions of it that are served beside each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from api.errors import InvalidRequest

CARD = "card"


def parse(text: str, where: str) -> ModelConfig:
    """Raises InvalidRequest, naming `where` it was read."""
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise InvalidRequest(f"{where} is no model configuration: {error}") from error


def print_config(config: ModelConfig) -> str:
    return str(text_format.MessageToString(config, as_utf8=True))


def card_of(config: ModelConfig) -> str:
    return str(config.parameters[CARD].string_value) if CARD in config.parameters else "{}"


def named(config: ModelConfig) -> set[int]:
    """The versions that it says are served; none where it leaves that to Triton, which takes the newest."""
    return set(config.version_policy.specific.versions)


def as_json(config: ModelConfig) -> str:
    """As Triton takes it in a request."""
    return str(json_format.MessageToJson(config, preserving_proto_field_name=True))


def beside(own: ModelConfig, version: int, others: Mapping[int, str]) -> ModelConfig:
    """A version's own config, for when it is served beside `others`, of which each has its card."""
    config = ModelConfig()
    config.CopyFrom(own)
    cards = {**others, version: card_of(own)}
    for number, card in sorted(cards.items()):
        config.parameters[f"{CARD}:{number}"].string_value = card
    return restricted(config, cards)


def restricted(config: ModelConfig, versions: Collection[int]) -> ModelConfig:
    """Only these versions are served. Triton loads none of them again, because nothing else changes."""
    changed = ModelConfig()
    changed.CopyFrom(config)
    changed.version_policy.specific.versions[:] = sorted(versions)
    return changed
