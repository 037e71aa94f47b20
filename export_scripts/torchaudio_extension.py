"""torchaudio does without its compiled part where that is absent; PyPI's, beside a CPU torch, is there and fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch


def do_without_extension() -> None:
    """To be called before torchaudio is imported. Beside a CUDA torch the compiled part is used."""
    if torch.version.cuda is None:
        sys.modules.setdefault("torchaudio._extension", _no_extension())


def _no_extension() -> ModuleType:
    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    extension = ModuleType("torchaudio._extension")
    extension.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return extension
