"""The trained networks as files, and the files as networks: float16, a megabyte or two each."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from export_scripts.demo.diarization.network import SpeakerEmbedding, SpeakerSegmentation

SEGMENTATION, EMBEDDING = "segmentation.safetensors", "embedding.safetensors"

Network = TypeVar("Network", bound=nn.Module)


def save_checkpoint(network: nn.Module, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    save_file(values, file)


def load_segmentation(folder: Path) -> SpeakerSegmentation:
    return _filled(SpeakerSegmentation(), folder / SEGMENTATION)


def load_embedding(folder: Path) -> SpeakerEmbedding:
    return _filled(SpeakerEmbedding(), folder / EMBEDDING)


def _filled(network: Network, file: Path) -> Network:
    values = load_file(file)
    network.load_state_dict(
        {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in values.items()}
    )
    return network.eval()
