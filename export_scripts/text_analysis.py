"""Text analysis as a version: personal data by Presidio, sentiment by VADER, key phrases by YAKE.

None of these needs a checkpoint. With --ner, the names of people, places and organisations are found as well, by a
spaCy pipeline such as en_core_web_sm, from a folder or from an installed package.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from export_scripts.artifact import ExportError, add_target_arguments, target, write_version
from export_scripts.engines import load_engine

TRIAL = "Anna Schmidt of Siemens met John Smith in Madrid. Write to anna dot schmidt at example dot com."


def find_pipeline(name: str) -> Path:
    """The folder of a spaCy pipeline, which has its config.cfg in it. Raises ExportError."""
    folder = Path(name)
    if not folder.exists():
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ExportError(f"--ner: {name} is neither a folder nor an installed package.")
        folder = Path(spec.submodule_search_locations[0])
    # A package has its pipeline in a folder with the version in its name.
    found = sorted(file.parent for file in (*folder.glob("config.cfg"), *folder.glob("*/config.cfg")))
    if not found:
        raise ExportError(f"--ner: {folder} holds no spaCy pipeline: there is no config.cfg in it.")
    return found[-1]


def describe(pipeline: Path) -> dict[str, Any]:
    """Its meta.json. Raises ExportError where it finds no names."""
    try:
        meta: dict[str, Any] = json.loads((pipeline / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise ExportError(f"--ner: {pipeline / 'meta.json'} cannot be read: {error}") from error
    if "ner" not in meta.get("pipeline", []):
        raise ExportError(f"--ner: the pipeline {meta.get('name')} has no component ner, so it finds no names.")
    return meta


@contextmanager
def without_pytorch() -> Iterator[None]:
    """spaCy imports it where it is installed, which takes seconds; for the rest of the process it stays importable."""
    hidden = {"torch", "transformers"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="tritone export text_analysis", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ner", metavar="PIPELINE", help="a spaCy pipeline, a folder or an installed package")
    add_target_arguments(parser, name="text_analysis", max_batch_size=1)
    arguments = parser.parse_args(argv)
    to = target(arguments)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        meta: dict[str, Any] = {}
        if arguments.ner:
            pipeline = find_pipeline(arguments.ner)
            meta = describe(pipeline)
            shutil.copytree(pipeline, weights / "ner", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        types = trial(weights, str(meta.get("lang", "en")))
        full_name = f"{meta['lang']}_{meta['name']} {meta['version']}" if meta else None
        version = write_version(
            "text_analysis",
            to,
            weights,
            instances=to.instances or 1,
            card={"name": ", ".join(filter(None, ("Presidio", "VADER", "YAKE", full_name))), "entities": types},
            source={"pipeline": full_name},
            packages=("presidio-analyzer", "phonenumbers", "tldextract", "vaderSentiment", "yake", "spacy"),
        )
    print(f"{to.name} version {to.version}: {version}")


def trial(weights: Path, language: str) -> list[str]:
    """What the engine finds with these weights. Raises ExportError where it does not run."""
    with nullcontext() if (weights / "ner").exists() else without_pytorch():
        analysis = load_engine("text_analysis")
    try:
        engine = analysis.TextAnalysisEngine(weights)
        (answer,) = engine.analyze([analysis.Request([TRIAL], analysis.AnalysisOptions(("entities",), language))])
    except (OSError, ValueError, ImportError) as error:
        raise ExportError(f"The pipeline cannot be loaded: {error}") from error
    if "EMAIL_ADDRESS" not in {entity.type for entity in answer.entities[0]}:
        raise ExportError("The engine does not find what it should.")
    types: list[str] = engine.entity_types
    return types
