"""f5-tts and vocos, without what they import but only training, other vocoders and demo pages use.

They are in no environment of their own: `make f5-tts` puts them, without their dependencies, into a folder that
PYTHONPATH names. See requirements-voice_cloner.txt.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from export_scripts.artifact import ExportError
from export_scripts.torchaudio_extension import do_without_extension

REQUIREMENTS = Path(__file__).with_name("requirements-voice_cloner.txt")
# What is imported for BigVGAN's spectra and for Encodec's features, and what of them by name.
UNUSED = {"librosa": (), "librosa.filters": ("mel",), "encodec": ("EncodecModel",)}


class Packages(NamedTuple):
    """What the exporter uses of them."""

    folder: Path
    CFM: Any
    DiT: Any
    Vocos: Any
    get_tokenizer: Any
    convert_char_to_pinyin: Any


@cache
def packages() -> Packages:
    """Raises ExportError where they are not installed."""
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = _without_trainer()
            utils = import_module("f5_tts.model.utils")
            return Packages(
                folder,
                import_module("f5_tts.model.cfm").CFM,
                import_module("f5_tts.model.backbones.dit").DiT,
                import_module("vocos").Vocos,
                utils.get_tokenizer,
                utils.convert_char_to_pinyin,
            )
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error}. F5-TTS's package is not a part of the environment: run `make f5-tts`, or\n"
            f"    {sys.executable} -m pip install --no-deps --target .f5-tts -r {REQUIREMENTS}\n"
            "and the exporter as\n    PYTHONPATH=.f5-tts tritone export voice_cloner …"
        ) from error


def _without_trainer() -> Path:
    """The folder of f5_tts, whose part `model` is imported without its __init__: that imports the trainer."""
    (folder,) = import_module("f5_tts").__path__
    model = ModuleType("f5_tts.model")
    model.__path__ = [str(Path(folder) / "model")]
    sys.modules.setdefault("f5_tts.model", model)
    return Path(folder)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Empty modules for those of `UNUSED` that are not installed, gone again at the end."""
    do_without_extension()
    missing = [
        name for name in UNUSED if name.partition(".")[0] not in sys.modules and not find_spec(name.partition(".")[0])
    ]
    for name in missing:
        module = ModuleType(name)
        module.__dict__.update(dict.fromkeys(UNUSED[name]))
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
