"""pyannote's checkpoints become versions that say what pyannote says.

The exporters run as they are meant to, in the environment of `make pyannote`; the engines in this one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export_scripts import speaker_embedding, speaker_segmentation
from export_scripts.artifact import ExportError
from export_scripts.pyannote import Pipeline, fetch, read_pipeline
from tests.running import PROJECT
from tests.speaker_checkpoints import COMMUNITY, THREE_ONE
from tests.test_speaker_engines import embedding, segmentation

PYANNOTE = PROJECT / ".venv-pyannote" / "bin" / "python"
needs_pyannote = pytest.mark.skipif(not PYANNOTE.exists(), reason="no .venv-pyannote: make pyannote sets it up")


def pyannote(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PYANNOTE), *arguments],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See tests/speaker_checkpoints.py."""
    folder = tmp_path_factory.mktemp("checkpoints")
    done = pyannote("-m", "tests.speaker_checkpoints", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def references(checkpoints: Path) -> dict[str, Any]:
    return dict(np.load(checkpoints / "references.npz"))


def version_of(repository: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    version = repository / kind / "1"
    return version / "weights", json.loads((version / "manifest.json").read_text())


@needs_pyannote
def test_a_pipelines_segmentation(checkpoints: Path, references: dict[str, Any], tmp_path: Path) -> None:
    done = pyannote(
        *("-m", "export_scripts.speaker_segmentation", "--checkpoint", str(checkpoints / "community")),
        *("--to", str(tmp_path), "--instances", "2", "--cpu-threads", "3"),
    )
    assert done.returncode == 0, done.stderr
    weights, manifest = version_of(tmp_path, "speaker_segmentation")
    assert manifest["card"] == {"kind": "speaker_segmentation", "name": "community", "step_s": 1.0}
    assert manifest["source"]["checkpoint"] == "segmentation"
    assert manifest["source"]["largest_difference"] < 1e-5
    assert manifest["tools"]["pyannote.audio"].startswith("4.")
    config = text_format.Parse((weights.parent / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    parameters = json.loads((weights.parent / "parameters.json").read_text())
    assert parameters == {"cpu_threads": 3, "shortest_window_samples": 160_000}
    assert (config.instance_group[0].count, config.max_batch_size) == (2, 4)

    engine = segmentation.SpeakerSegmentationEngine(weights)
    activity = np.stack(engine.segment(list(references["pcm"])))
    # All but what lies on the edge between two classes.
    assert np.mean(activity == references["activity"]) > 0.999
    assert len(np.unique(activity.reshape(-1, 3), axis=0)) > 3


@needs_pyannote
def test_a_pipelines_embedding(checkpoints: Path, references: dict[str, Any], tmp_path: Path) -> None:
    done = pyannote(
        *("-m", "export_scripts.speaker_embedding", "--checkpoint", str(checkpoints / "community")),
        *("--to", str(tmp_path), "--display-name", "Voices"),
    )
    assert done.returncode == 0, done.stderr
    weights, manifest = version_of(tmp_path, "speaker_embedding")
    assert manifest["card"]["name"] == "Voices"
    clustering = manifest["card"]["clustering"]
    variances = clustering.pop("plda_variances")
    assert clustering == {
        **{"method": "vbx", "threshold": 0.6, "min_cluster_size": 1, "constrained": True},
        **{"fa": 0.07, "fb": 0.8},
    }
    np.testing.assert_allclose(variances, references["variances"])
    assert manifest["source"]["largest_difference"] < 1e-4
    assert manifest["source"]["plda_difference"] < 1e-6

    engine = embedding.SpeakerEmbeddingEngine(weights)
    windows = [
        embedding.Window(pcm, masks, plda=True)
        for pcm, masks in zip(references["pcm"], references["masks"], strict=True)
    ]
    scale = np.abs(references["embeddings"]).max()
    for voices, expected, plda in zip(engine.embed(windows), references["embeddings"], references["plda"], strict=True):
        np.testing.assert_allclose(voices.embeddings / scale, expected / scale, atol=1e-5)
        assert voices.plda.shape == (3, 128)
        np.testing.assert_allclose(voices.plda, plda, atol=1e-3)


@needs_pyannote
def test_what_the_hub_has_and_what_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    """A pipeline that names its models by their ids; then models that are not what is served, in the same process."""
    refused = [
        ("segmentation", checkpoints / "other" / "short"),
        ("segmentation", checkpoints / "other" / "crowded"),
        ("segmentation", checkpoints / "community" / "embedding" / "pytorch_model.bin"),
        ("segmentation", checkpoints / "references.npz"),
        ("embedding", checkpoints / "community" / "segmentation"),
    ]
    program = f"""
from export_scripts import artifact, speaker_embedding, speaker_segmentation
to = ["--to", {str(tmp_path)!r}]
speaker_segmentation.main(["--checkpoint", "pyannote/speaker-diarization-3.1", *to])
for kind, checkpoint in {[(kind, str(checkpoint)) for kind, checkpoint in refused]!r}:
    exporter = speaker_embedding if kind == "embedding" else speaker_segmentation
    try:
        exporter.main(["--checkpoint", checkpoint, "--version", "2", *to])
    except artifact.ExportError as error:
        print("refused:", str(error).splitlines()[0])
"""
    done = pyannote("-c", program, HF_HUB_CACHE=str(checkpoints / "hub"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    _, manifest = version_of(tmp_path, "speaker_segmentation")
    assert manifest["card"]["name"] == "pyannote/speaker-diarization-3.1"
    assert manifest["card"]["step_s"] == 2.5
    assert manifest["source"]["checkpoint"] == "pyannote/segmentation-3.0"
    assert len(manifest["source"]["revision"]) == 40
    reasons = [line for line in done.stdout.splitlines() if line.startswith("refused:")]
    for reason, expected in zip(
        reasons,
        [
            "window in seconds: 5.0",
            "speakers in a window: 4",
            "no powerset classes",
            "not a pyannote checkpoint that loads",
            "is a PyanNet; embeddings come from a WeSpeaker ResNet",
        ],
        strict=True,
    ):
        assert expected in reason
    assert [file.parent.name for file in tmp_path.rglob("manifest.json")] == ["1"]


def pipeline(folder: Path, config: Any) -> Pipeline:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    found = read_pipeline(fetch(str(folder)))
    assert found is not None
    return found


def test_how_a_pipeline_clusters(tmp_path: Path) -> None:
    three_one = {"method": "centroid", "threshold": 0.65, "min_cluster_size": 5, "constrained": False}
    assert speaker_embedding.clustering(pipeline(tmp_path, THREE_ONE), None) == three_one
    assert speaker_embedding.clustering(pipeline(tmp_path, THREE_ONE), 0.5)["threshold"] == 0.5
    assert speaker_embedding.clustering(None, None) == speaker_embedding.CENTROID
    with pytest.raises(ExportError, match="between 0 and 2"):
        speaker_embedding.clustering(None, 2.5)
    with pytest.raises(ExportError, match=r"params\.clustering has no 'Fb'"):
        speaker_embedding.clustering(
            pipeline(tmp_path, {**COMMUNITY, "params": {"clustering": {"threshold": 0.6, "Fa": 0.07}}}), None
        )
    average = {**THREE_ONE, "params": {"clustering": {"method": "average", "threshold": 0.6}}}
    with pytest.raises(ExportError, match="AgglomerativeClustering average, which is not served"):
        speaker_embedding.clustering(pipeline(tmp_path, average), None)


def test_where_a_pipeline_has_its_parts(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.bin").write_bytes(b"")
    parts = {
        "segmentation": "$model/segmentation",
        "embedding": "models/own.bin",
        "plda": {"checkpoint": "models", "subfolder": "plda"},
    }
    found = pipeline(tmp_path, {"pipeline": {"params": {**parts, "other": "./nowhere", "revised": "$model/x@main"}}})
    assert found.part("segmentation").path == tmp_path / "segmentation"
    assert found.part("embedding").path == tmp_path / "models" / "own.bin"
    assert found.part("plda").path == tmp_path / "models" / "plda"
    assert read_pipeline(fetch(str(tmp_path / "config.yaml"))) is not None
    assert read_pipeline(fetch(str(tmp_path / "models"))) is None
    for part, message in (("other", r"no \./nowhere"), ("revised", "no revisions"), ("unnamed", "names no unnamed")):
        with pytest.raises(ExportError, match=message):
            found.part(part)
    (tmp_path / "config.yaml").write_text("task: [")
    with pytest.raises(ExportError, match="not YAML"):
        read_pipeline(fetch(str(tmp_path)))


def test_without_pyannote_the_exporters_say_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    for exporter in (speaker_segmentation, speaker_embedding):
        with pytest.raises(ExportError, match="make pyannote"):
            exporter.main(["--checkpoint", str(tmp_path), "--to", str(tmp_path / "out")])
    with pytest.raises(ExportError, match=r"no pytorch_model\.bin"):
        speaker_segmentation.main(["--checkpoint", str(PROJECT / "docs"), "--to", str(tmp_path / "out")])


@pytest.mark.parametrize("option", [("--step-s", "11"), ("--step-s", "0"), ("--cpu-threads", "0"), ("--name", "a b")])
def test_arguments_that_make_no_model(option: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=option[0]):
        speaker_segmentation.main(["--checkpoint", str(tmp_path), "--to", str(tmp_path), *option])
