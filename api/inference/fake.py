"""Inference without a server: deterministic stand-ins for tests and for trying the API out."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from api.errors import InferenceUnavailable
from api.inference.base import (
    Deployment,
    Flags,
    Floats,
    Inference,
    ModelVersion,
    Pcm,
    SpeakerModels,
    TextVectors,
    Voices,
)
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    LOCAL_SPEAKERS,
    SPEAKER_FRAME_SAMPLES,
    SPEAKER_FRAMES,
    Analysis,
    AnalysisOptions,
    CompletionChunk,
    CompletionRequest,
    DecodingOptions,
    Entity,
    KeyPhrase,
    ModelCard,
    Recognition,
    Segment,
    Sentiment,
    SpeechOptions,
    TranslationOptions,
    Word,
)

LOUD = 500  # mean magnitude from which a frame counts as speech
LOUDER = 6000  # and from which it is another's
DIMENSIONS = 384
CLONED_HZ = 24_000
CARDS = {
    "translator": ModelCard("translator", "Fake translator", ["de", "en", "es", "pt", "zh"]),
    "speech_enhancer": ModelCard(
        *("speech_enhancer", "Fake speech_enhancer"),
        sample_rate=48_000, hop_samples=480, delay_samples=480, state_size=480,
    ),
    "voice_cloner": ModelCard("voice_cloner", "Fake voice_cloner", ["en", "zh"], sample_rate=CLONED_HZ),
}  # fmt: skip
WORD = re.compile(r"\w+")
EMAIL = re.compile(r"[\w.]+@[\w.]+\w")


@dataclass(kw_only=True)
class Busy:
    """Takes `delay_s` for each call, and counts how many run at the same time."""

    delay_s: float = 0.0
    running: int = 0
    most_running: int = 0

    async def work(self) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.running -= 1


@dataclass
class FakeRecognizer(Busy):
    """Hears the word "tone" in every second of a window. `most_s` is how much of one it can write down at once. What is
    loud is in the first of the `languages`, what is louder in the second, if there is one."""

    most_s: float = 30.0
    heard: str = "tone"
    languages: tuple[str, ...] = ("en",)
    probability: float = 0.9
    calls: list[tuple[ModelVersion, int, DecodingOptions]] = field(default_factory=list)

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        self.calls.append((model, pcm.size, options))
        await self.work()
        found = {} if options.language is not None else self._identified(pcm, options.languages)
        language = options.language or next(iter(found))
        probability = found.get(language, 1.0)
        if options.task == "identify":
            return Recognition(language, probability, [], 0.0, 0.0, 1.0, 0.0, pcm.size / 16_000, found)
        decoded_s = min(pcm.size / 16_000, self.most_s)
        words = [Word(f" {self.heard}", float(s), s + 0.5, self.probability) for s in range(max(1, int(decoded_s)))]
        text = "".join(word.word for word in words).strip()
        segment = Segment(0.0, words[-1].end, text, words if options.word_timestamps else [])
        return Recognition(language, probability, [segment], -0.1, 0.0, 1.0, 0.0, decoded_s, found)

    def _identified(self, pcm: Pcm, among: Sequence[str]) -> dict[str, float]:
        """By how much of the speech is in each."""
        known = [language for language in self.languages if not among or language in among] or list(among)
        loudness = np.abs(pcm[: pcm.size // 512 * 512].reshape(-1, 512).astype(np.float32)).mean(axis=1)
        spoken = loudness[loudness > LOUD]
        louder = float((spoken > LOUDER).mean()) if spoken.size else 0.0
        shares = {known[0]: 1.0} if len(known) == 1 else {known[0]: 1 - louder, known[1]: louder}
        return {language: share for language, share in sorted(shares.items(), key=lambda one: -one[1]) if share > 0}


class FakeVoiceActivity:
    """Loud is speech."""

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        frames = np.abs(pcm.reshape(-1, ACTIVITY_FRAME_SAMPLES).astype(np.float32)).mean(axis=1)
        return (frames > LOUD).astype(np.float32), state


@dataclass
class FakeSpeakers(Busy):
    """A loud voice and a louder one: two people, told apart by how loud each frame is."""

    segmented: int = 0
    embedded: int = 0

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        self.segmented += 1
        await self.work()
        loudness = _loudness(pcm)
        active = np.zeros((SPEAKER_FRAMES, LOCAL_SPEAKERS), dtype=np.uint8)
        # Which column is whose differs from window to window, as it does in life.
        columns = (0, 1) if self.segmented % 2 else (2, 0)
        active[:, columns[0]] = (loudness > LOUD) & (loudness <= LOUDER)
        active[:, columns[1]] = loudness > LOUDER
        return active

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        self.embedded += 1
        await self.work()
        loudness = _loudness(pcm)
        louder = [bool(loudness[mask > 0].mean() > LOUDER) for mask in masks]
        return Voices("1", np.eye(2, dtype=np.float32)[np.array(louder, dtype=int)])


def _loudness(pcm: Pcm) -> Floats:
    samples = np.zeros(SPEAKER_FRAMES * SPEAKER_FRAME_SAMPLES, dtype=np.float32)
    samples[: pcm.size] = np.abs(pcm[: samples.size].astype(np.float32))
    return np.asarray(samples.reshape(SPEAKER_FRAMES, -1).mean(axis=1))


@dataclass
class FakeEmbedder(Busy):
    """Texts are alike that share words."""

    embedded: int = 0

    async def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        if not texts:
            return TextVectors("", np.zeros((0, 0), dtype=np.float32))
        self.embedded += len(texts)
        await self.work()
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in WORD.findall(text.casefold()):
                vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1
            vector[0] += not vector.any()
        return TextVectors("1", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


class FakeAnalyzer:
    """E-mail addresses are entities, "good" is positive, "bad" negative, and frequent words are key phrases."""

    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        words = Counter(word for text in texts for word in WORD.findall(text) if len(word) > 3)
        found = {
            "entities": [[Entity("EMAIL_ADDRESS", *at.span(), 1.0) for at in EMAIL.finditer(text)] for text in texts],
            "sentiment": [_sentiment(text) for text in texts],
            "key_phrases": [KeyPhrase(word, 1 - 1 / (1 + count)) for word, count in words.most_common(20)],
        }
        return Analysis(**{task: found[task] for task in options.tasks})  # type: ignore[arg-type]


def _sentiment(text: str) -> Sentiment:
    words = WORD.findall(text.casefold())
    good, bad = (words.count(word) / max(1, len(words)) for word in ("good", "bad"))
    return Sentiment(float(np.clip(5 * (good - bad), -1, 1)), good, 1 - good - bad, bad)


@dataclass
class FakeLanguageModel(Busy):
    """Writes what `answer` makes of a request, word by word; by default as many words as the last message has."""

    answer: Callable[[CompletionRequest], str] = lambda request: f"{len(request.messages[-1].content.split())} words"
    requests: list[CompletionRequest] = field(default_factory=list)
    closed: int = 0
    """Answers that were not waited for."""

    async def complete(self, request: CompletionRequest) -> AsyncIterator[CompletionChunk]:
        self.requests.append(request)
        words = re.findall(r"\S+\s*|\s+", self.answer(request))
        try:
            for word in words:
                await self.work()
                yield CompletionChunk(word)
            yield CompletionChunk("", "stop", 1, len(words))
        except GeneratorExit:
            self.closed += 1
            raise


class NoLanguageModel:
    def complete(self, request: CompletionRequest) -> AsyncIterator[CompletionChunk]:
        raise InferenceUnavailable("There is none.", 10)


@dataclass
class FakeTranslator(Busy):
    """Says every text backwards, word by word, after the code of the target."""

    calls: list[tuple[list[str], TranslationOptions]] = field(default_factory=list)

    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        self.calls.append((list(texts), options))
        await self.work()
        return [" ".join((options.target, *reversed(text.split()))) if text.split() else "" for text in texts]


@dataclass
class FakeEnhancer(Busy):
    """Takes what is quiet for noise, and is a hop late."""

    enhanced: int = 0

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        self.enhanced += 1
        await self.work()
        late = np.concatenate([state, samples])
        heard = np.where(np.abs(late) > LOUD / 32768, late, 0).astype(np.float32)
        return heard[: samples.size], late[samples.size :]


@dataclass
class FakeCloner(Busy):
    """Hums a tenth of a second for each character, as loud as the reference."""

    calls: list[tuple[int, SpeechOptions]] = field(default_factory=list)

    async def speak(self, reference: Pcm, options: SpeechOptions) -> Floats:
        self.calls.append((reference.size, options))
        await self.work()
        times = np.arange(round(len(options.text) * CLONED_HZ / 10 / options.speed)) / CLONED_HZ
        loudness = np.sqrt(np.mean(np.square(reference / 32768.0)))
        return np.asarray(np.sqrt(2) * loudness * np.sin(2 * np.pi * 120 * times), dtype=np.float32)


@dataclass
class FakeRegistry:
    ids: tuple[str, ...] = ("small", "large-v3-turbo")
    languages: tuple[str, ...] = ("en", "es")
    min_window_frames: int = 3000
    others: tuple[str, ...] = (
        *("voice_activity", "speaker_segmentation", "speaker_embedding"),
        *("text_embedding", "text_analysis"),
        *("translator", "speech_enhancer", "voice_cloner"),
    )

    async def deployments(self) -> list[Deployment]:
        whisper = [
            Deployment(
                f"whisper-{id_}",
                "1",
                True,
                ModelCard("whisper", f"Fake {id_}", list(self.languages), "very_fast", self.min_window_frames),
            )
            for id_ in self.ids
        ]
        cards = {name: CARDS.get(name, ModelCard(name, f"Fake {name}", context_tokens=2048)) for name in self.others}
        return [*whisper, *(Deployment(name, "1", True, card) for name, card in cards.items())]


def fake_inference(
    recognizer: FakeRecognizer | None = None,
    registry: FakeRegistry | None = None,
    speakers: SpeakerModels | None = None,
    language_model: FakeLanguageModel | None = None,
    translator: FakeTranslator | None = None,
    enhancer: FakeEnhancer | None = None,
    cloner: FakeCloner | None = None,
) -> Inference:
    """With a language model, the registry should have one, too."""
    return Inference(
        recognizer or FakeRecognizer(),
        FakeVoiceActivity(),
        speakers or FakeSpeakers(),
        FakeEmbedder(),
        FakeAnalyzer(),
        language_model or NoLanguageModel(),
        translator or FakeTranslator(),
        enhancer or FakeEnhancer(),
        cloner or FakeCloner(),
        registry or FakeRegistry(),
    )
