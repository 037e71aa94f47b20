"""The engines of model_repository, to be used without Triton."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from export_scripts.artifact import MODEL_SOURCES


def load_engine(kind: str, module: str = "engine") -> ModuleType:
    """model_repository/<kind>/1/engine.py, which is no package, because what is served stands by itself; or another
    `module` beside it."""
    folder = MODEL_SOURCES / kind / "1"
    spec = importlib.util.spec_from_file_location(f"{kind}_{module}", folder / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    engine = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = engine
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(engine)
    finally:
        sys.path.remove(str(folder))
    return engine
