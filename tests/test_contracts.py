"""What the service and the models say of each other, read from both sides."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from api.inference import contracts
from api.settings import Settings, environment_name
from export_scripts.engines import load_engine
from export_scripts.speaker_segmentation import LONGEST_STEP_S, SHORTEST_STEP_S
from tests.running import PROJECT
from tests.test_engines import activity, whisper

SOURCES = PROJECT / "model_repository"
language_model = load_engine(contracts.LANGUAGE_MODEL)
text_analysis = load_engine(contracts.TEXT_ANALYSIS)
translator = load_engine(contracts.TRANSLATOR)


def test_every_kind_has_a_contract() -> None:
    assert {path.parent.name for path in SOURCES.glob("*/config.pbtxt")} == set(contracts.TENSORS)


@pytest.mark.parametrize("kind", contracts.TENSORS)
def test_tensors(kind: str) -> None:
    config = text_format.Parse((SOURCES / kind / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())

    def tensors(field: Any) -> dict[str, tuple[str, list[int]]]:
        types = model_config_pb2.DataType
        return {
            tensor.name: (types.Name(tensor.data_type).removeprefix("TYPE_"), list(tensor.dims)) for tensor in field
        }

    assert tensors(config.input) == contracts.TENSORS[kind]["inputs"]
    assert tensors(config.output) == contracts.TENSORS[kind]["outputs"]


PAYLOADS = {
    whisper: ["DecodingOptions", "Recognition"],
    language_model: ["Message", "CompletionRequest", "CompletionChunk"],
    text_analysis: ["AnalysisOptions", "Analysis"],
    translator: ["TranslationOptions"],
}


@pytest.mark.parametrize(("engine", "payload"), [(engine, name) for engine, of in PAYLOADS.items() for name in of])
def test_payloads(engine: ModuleType, payload: str) -> None:
    def shape(struct: Any) -> Any:
        def bare(node: Any) -> Any:
            if isinstance(node, dict):
                return {key: bare(value) for key, value in node.items() if key != "description"}
            return [bare(item) for item in node] if isinstance(node, list) else node

        return bare(msgspec.json.schema(struct))

    assert shape(getattr(contracts, payload)) == shape(getattr(engine, payload))


def test_versions_of_a_model_share_nothing_but_what_the_api_asks_for() -> None:
    """All of them have one config: what an engine is loaded with must be in each version's directory."""
    for kind in contracts.TENSORS:
        config = text_format.Parse((SOURCES / kind / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert list(config.parameters) == ["card"]


def test_sizes() -> None:
    assert contracts.WINDOW_SAMPLES == whisper.WINDOW_SAMPLES
    assert (contracts.ACTIVITY_FRAME_SAMPLES, contracts.ACTIVITY_STATE_SIZE) == (
        activity.FRAME_SAMPLES,
        activity.STATE_SIZE,
    )


def test_steps() -> None:
    """What the exporter writes the service reads: it would take a card that it cannot read for an empty one."""
    bounds = msgspec.json.schema(contracts.ModelCard)["$defs"]["ModelCard"]["properties"]["step_s"]
    assert (bounds["minimum"], bounds["maximum"]) == (SHORTEST_STEP_S, LONGEST_STEP_S)


def test_the_readme_lists_every_setting() -> None:
    readme = Path(PROJECT / "README.md").read_text()
    for field in msgspec.structs.fields(Settings):
        assert f"`{environment_name(field.name)}`" in readme, field.name
