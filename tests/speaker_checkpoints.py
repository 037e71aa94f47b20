"""pyannote checkpoints of the real classes with random weights, and what pyannote itself makes of some audio.

A program for the environment of `make pyannote`; tests/test_speaker_exporters.py runs it as

    .venv-pyannote/bin/python -m tests.speaker_checkpoints DIR

DIR/community        a pipeline folder laid out as pyannote/speaker-diarization-community-1
DIR/hub              a hub cache with pyannote/speaker-diarization-3.1 and the two models that it names
DIR/other            segmentation models of other geometries
DIR/references.npz   windows of audio with what the modules give for them
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from export_scripts.onnx_export import some_masks, some_waveforms
from export_scripts.pyannote import fetch, load_model, pyannote_audio, read_pipeline

COMMUNITY = {
    "dependencies": {"pyannote.audio": "4.0.0"},
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "VBxClustering",
            "segmentation": "$model/segmentation",
            "segmentation_batch_size": 32,
            "embedding": "$model/embedding",
            "embedding_batch_size": 32,
            "embedding_exclude_overlap": True,
            "plda": "$model/plda",
        },
    },
    "params": {
        "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
        "segmentation": {"min_duration_off": 0.0},
    },
}
THREE_ONE = {
    "version": "3.1.0",
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "AgglomerativeClustering",
            "embedding": "pyannote/wespeaker-voxceleb-resnet34-LM",
            "embedding_batch_size": 32,
            "embedding_exclude_overlap": True,
            "segmentation": "pyannote/segmentation-3.0",
            "segmentation_batch_size": 32,
            "segmentation_step": 0.25,
        },
    },
    "params": {
        "clustering": {"method": "centroid", "min_cluster_size": 5, "threshold": 0.65},
        "segmentation": {"min_duration_off": 0.0},
    },
}
EMBEDDING_SIZE = 256
LDA_SIZE = 140  # more than the 128 that pyannote keeps


def segmentation(duration_s: float = 10.0, speakers: int = 3) -> Any:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    model = PyanNet(lstm={"num_layers": 4})  # as in segmentation-3.0
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=duration_s,
        warm_up=(0.0, 0.0),
        classes=[f"speaker#{number}" for number in range(1, speakers + 1)],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    # Sure of itself, so that rounding does not decide between classes, and with no class in favour.
    with torch.no_grad():
        model.classifier.weight *= 1000
        model.classifier.bias -= model.eval()(some_waveforms(3)).mean(dim=(0, 1))
    return model


def embedding() -> Any:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    model: Any = WeSpeakerResNet34()
    model.specifications = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0)
    # Statistics as of some training, or folding them into the convolutions would change nothing.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.uniform_(-0.1, 0.1)
    return model


def save(model: Any, folder: Path) -> None:
    """As pyannote's training saves it."""
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": "2.6.0",
    }
    model.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")


def save_plda(folder: Path) -> None:
    generator = np.random.default_rng(3)
    folder.mkdir(parents=True)
    np.savez(
        folder / "xvec_transform.npz",
        mean1=generator.normal(0, 0.1, EMBEDDING_SIZE),
        mean2=generator.normal(0, 0.1, LDA_SIZE),
        lda=generator.normal(0, 1, (EMBEDDING_SIZE, LDA_SIZE)),
    )
    np.savez(
        folder / "plda.npz",
        mu=generator.normal(0, 0.1, LDA_SIZE),
        tr=np.eye(LDA_SIZE) + generator.normal(0, 0.05, (LDA_SIZE, LDA_SIZE)),
        psi=np.sort(generator.uniform(0.1, 5, LDA_SIZE))[::-1],
    )


def hub_repository(hub: Path, name: str) -> Path:
    """The folder of a repository's only snapshot in the cache of huggingface_hub."""
    repository = hub / f"models--{name.replace('/', '--')}"
    revision = f"{len(name):040x}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def make(folder: Path) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pyannote_audio()
    community, hub = folder / "community", folder / "hub"
    save(segmentation(), community / "segmentation")
    save(embedding(), community / "embedding")
    save_plda(community / "plda")
    (community / "config.yaml").write_text(yaml.safe_dump(COMMUNITY))

    for part, name in (("segmentation", "segmentation-3.0"), ("embedding", "wespeaker-voxceleb-resnet34-LM")):
        snapshot = hub_repository(hub, f"pyannote/{name}")
        snapshot.mkdir(parents=True)
        (snapshot / "pytorch_model.bin").symlink_to(community / part / "pytorch_model.bin")
        # What a model's own repository has under this name is how it was trained.
        (snapshot / "config.yaml").write_text(yaml.safe_dump({"task": {}, "model": {}}))
    snapshot = hub_repository(hub, "pyannote/speaker-diarization-3.1")
    snapshot.mkdir(parents=True)
    (snapshot / "config.yaml").write_text(yaml.safe_dump(THREE_ONE))

    save(segmentation(duration_s=5.0), folder / "other" / "short")
    save(segmentation(speakers=4), folder / "other" / "crowded")
    write_references(community, folder / "references.npz")


@torch.inference_mode()
def write_references(community: Path, file: Path) -> None:
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.utils.powerset import Powerset

    pipeline = read_pipeline(fetch(str(community)))
    assert pipeline is not None
    waveforms, masks = some_waveforms(3), some_masks(3)
    scores = load_model(pipeline.part("segmentation"))(waveforms)
    model = load_model(pipeline.part("embedding"))
    # One speaker at a time, as pyannote's pipeline does it.
    embeddings = torch.stack([model(waveforms, weights=masks[:, speaker]) for speaker in range(3)], dim=1)
    plda = PLDA.from_pretrained(community / "plda")
    assert plda is not None
    np.savez(
        file,
        pcm=(32768 * waveforms[:, 0]).numpy().astype(np.int16),
        masks=masks.numpy().astype(np.uint8),
        activity=Powerset(3, 2).to_multilabel(scores).numpy().astype(np.uint8),
        embeddings=embeddings.numpy(),
        plda=plda(embeddings.flatten(0, 1).double().numpy()).reshape(3, 3, -1),
        variances=plda.phi,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
