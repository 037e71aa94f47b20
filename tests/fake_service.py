"""The API over fake inference, as a program: for what must be looked at from outside its process.

FAKE_DELAY_S is what a window takes, a piece to speak or a block to denoise, FAKE_HEARD the word it hears and
FAKE_PROBABILITY how surely. FAKE_LOG is a file, of several processes even: when recognitions began and ended.
FAKE_WRITER is what a language model answers, with the pauses between its words in seconds before it; without it there
is none. FAKE_MISSING are models that are not there, FAKE_AWAY those that do not answer, FAKE_BROKEN those that fail in
a way that nobody expects, with what they were asked in the error.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from api.app import create_app
from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.contracts import TranslationOptions
from api.inference.fake import (
    FakeCloner,
    FakeEnhancer,
    FakeLanguageModel,
    FakeRecognizer,
    FakeRegistry,
    FakeTranslator,
    fake_inference,
)
from api.server import serve
from api.settings import from_env


@dataclass
class LoggingRecognizer(FakeRecognizer):
    log: int = -1

    async def work(self) -> None:
        self.write(1)
        try:
            if "whisper" in os.environ.get("FAKE_BROKEN", ""):
                raise ValueError(f"broken by {self.heard!r}")
            await super().work()
        finally:
            self.write(-1)

    def write(self, change: int) -> None:
        if self.log >= 0:
            os.write(self.log, f"{monotonic()} {change}\n".encode())


class AwayTranslator(FakeTranslator):
    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        raise InferenceUnavailable("It is away.", 10)


class BrokenTranslator(FakeTranslator):
    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        raise InferenceFailed("The translator failed", f"broken by {texts!r}")


if __name__ == "__main__":
    settings = from_env()
    log = os.environ.get("FAKE_LOG")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else -1
    delay_s = float(os.environ.get("FAKE_DELAY_S", "0"))
    recognizer = LoggingRecognizer(
        delay_s=delay_s,
        log=descriptor,
        heard=os.environ.get("FAKE_HEARD", "tone"),
        probability=float(os.environ.get("FAKE_PROBABILITY", "0.9")),
    )
    cloner, enhancer = FakeCloner(delay_s=delay_s), FakeEnhancer(delay_s=delay_s)
    translator = FakeTranslator(delay_s=delay_s)
    for variable, kind in (("FAKE_AWAY", AwayTranslator), ("FAKE_BROKEN", BrokenTranslator)):
        if "translator" in os.environ.get(variable, ""):
            translator = kind()
    pause_s, _, says = os.environ.get("FAKE_WRITER", "").partition(" ")
    writer = FakeLanguageModel(delay_s=float(pause_s), answer=lambda _: says) if says else None
    registry = FakeRegistry()
    missing = os.environ.get("FAKE_MISSING", "").split()
    registry.others = tuple(name for name in registry.others if name not in missing)
    if writer is not None or "language_model" in os.environ.get("FAKE_AWAY", ""):
        registry.others += ("language_model",)
    serve(
        create_app(settings, fake_inference(recognizer, registry, None, writer, translator, enhancer, cloner)),
        settings,
    )
