"""The diarization of one recording: its audio in as it is decoded, turns out at its end, little of it in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import Flags, Floats, ModelVersion, Pcm, SpeakerModels, Voices
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    LOCAL_SPEAKERS,
    SPEAKER_EMBEDDING,
    SPEAKER_SEGMENTATION,
    SPEAKER_WINDOW_SAMPLES,
    Clustering,
)
from api.recognition.chunking import ChunkingPolicy
from api.recognition.clustering import Halfs, Labels, SpeakerClusters, assign
from api.recognition.diarization import ActivityLog, Indices, Turn, embedding_masks, trusted, turns_of
from api.speech import SAMPLE_RATE_HZ
from api.telemetry.stages import stage

SPEECH = ChunkingPolicy().onset
LABELLED_AT_ONCE = 1024

NOBODY: Indices = np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class DiarizationPlan:
    """How the deployed models want to be used: seconds between windows, and what their embeddings' distances mean; and
    which versions of them that goes for."""

    step_s: float
    clustering: Clustering
    segmentation_version: str = ""
    embedding_version: str = ""

    @property
    def versions(self) -> tuple[ModelVersion, ModelVersion]:
        return (
            ModelVersion(SPEAKER_SEGMENTATION, self.segmentation_version),
            ModelVersion(SPEAKER_EMBEDDING, self.embedding_version),
        )


@dataclass(frozen=True, slots=True)
class SpeakerBounds:
    """How many people may be speaking; None: as many as there are."""

    fewest: int = 1
    most: int | None = None


@dataclass(frozen=True, slots=True)
class LocalSpeakers:
    """Of one window: who is active when (589, 3), which of the three have a voice here, and those voices."""

    active: Flags
    who: Indices
    voices: Voices | None


class Diarizer:
    """Asks the models about each window as soon as it is whole, at most `in_flight` at a time.

    A failure of the models is kept until the turns are asked for: the recording's text does not depend on them.
    """

    def __init__(self, models: SpeakerModels, plan: DiarizationPlan, bounds: SpeakerBounds, in_flight: int) -> None:
        self._models = models
        self._plan = plan
        self._policy = plan.clustering
        self._bounds = bounds
        self._in_flight = in_flight
        self._step = round(plan.step_s * SAMPLE_RATE_HZ)
        self._audio = np.zeros(0, dtype=np.int16)  # what is still needed of the recording
        self._speech = np.zeros(0, dtype=np.bool_)  # whether somebody speaks in each activity frame of it
        self._audio_start = 0  # where it begins, in samples, at the start of such a frame
        self._next = 0  # where the next window begins
        self._running: deque[asyncio.Task[LocalSpeakers] | None] = deque()
        self._failure: InferenceFailed | InferenceUnavailable | None = None
        self._found = _Found(plan.clustering, bounds)

    async def hear(self, pcm: Pcm, speech: Floats) -> None:
        """The recording's next samples, whole activity frames but for its last ones, and the probability of speech in
        each frame of them."""
        if self._failure is not None:
            return
        self._audio = np.concatenate([self._audio, pcm])
        self._speech = np.concatenate([self._speech, speech >= SPEECH])
        # A window that ends where the recording does is left to `end`, which knows whether it is the only one.
        while self._failure is None and self._next + SPEAKER_WINDOW_SAMPLES < self._heard:
            await self._ask(lone=False)

    async def end(self) -> None:
        """That was all of it."""
        lone = self._next == 0
        covered = self._next - self._step + SPEAKER_WINDOW_SAMPLES
        if self._failure is None and (lone or covered < self._heard):
            await self._ask(lone=lone)

    async def turns(self, *, exclusive: bool = True) -> list[Turn]:
        """Who spoke when; at each time one person, or with `exclusive=False` up to two.

        Raises InferenceFailed, InferenceUnavailable: what befell any of the windows.
        """
        while self._running and self._failure is None:
            await self._collect()
        if self._failure is not None:
            raise self._failure
        with stage("diarise"):
            return await asyncio.to_thread(self._found.turns, self._step / SAMPLE_RATE_HZ, exclusive=exclusive)

    async def aclose(self) -> None:
        """Cancel what still runs."""
        running = [task for task in self._running if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._running.clear()
        self._failure = None  # it holds the frame of a window's audio

    @property
    def _heard(self) -> int:
        return self._audio_start + self._audio.size

    async def _ask(self, *, lone: bool) -> None:
        """Ask about the next window, unless nobody speaks in it, and let go of the audio before the one after."""
        start = self._next - self._audio_start
        end = start + SPEAKER_WINDOW_SAMPLES
        speech = self._speech[start // ACTIVITY_FRAME_SAMPLES : -(-end // ACTIVITY_FRAME_SAMPLES)]
        task = asyncio.create_task(self._look(self._audio[start:end], lone)) if speech.any() else None
        self._running.append(task)
        self._next += self._step
        past = (self._next - self._audio_start) // ACTIVITY_FRAME_SAMPLES
        self._audio = self._audio[past * ACTIVITY_FRAME_SAMPLES :]
        self._speech = self._speech[past:]
        self._audio_start += past * ACTIVITY_FRAME_SAMPLES
        while len(self._running) >= self._in_flight:
            await self._collect()

    async def _collect(self) -> None:
        """The answer about the oldest window that is asked about."""
        task = self._running.popleft()
        try:
            if task is None:
                self._found.add(None)
            else:  # in a thread, because now and then it merges clusters for a tenth of a second
                await asyncio.to_thread(self._found.add, await task)
        except (InferenceFailed, InferenceUnavailable) as failure:
            self._failure = failure

    async def _look(self, pcm: Pcm, lone: bool) -> LocalSpeakers:
        with stage("diarise"):
            return await self._local(pcm, lone)

    async def _local(self, pcm: Pcm, lone: bool) -> LocalSpeakers:
        active = await self._models.segment(pcm, version=self._plan.segmentation_version)
        masks, who = embedding_masks(active)
        voices = None
        # In a lone window segmentation tells who is who, as long as it finds no more people than there may be.
        told = lone and len(who) <= (self._bounds.most or LOCAL_SPEAKERS)
        if len(who) and not told:
            voices = await self._models.embed(
                pcm, masks, features=self._policy.method == "vbx", version=self._plan.embedding_version
            )
        return LocalSpeakers(active, who, voices)


class _Found:
    """What the models found in the windows so far: a bit for each frame and speaker, an embedding for each voice."""

    def __init__(self, policy: Clustering, bounds: SpeakerBounds) -> None:
        self._policy = policy
        self._clusters = SpeakerClusters(policy, min_speakers=bounds.fewest, max_speakers=bounds.most)
        self._fewest = bounds.fewest
        self._log = ActivityLog()
        self._who: list[Indices] = []
        self._embeddings: list[Halfs | None] = []
        self._version: str | None = None
        self._trusted = 0
        self._doubtful: list[Voices] = []

    def add(self, local: LocalSpeakers | None) -> None:
        """The next window's; None where nobody speaks in it. Raises InferenceFailed."""
        if local is not None and local.voices is not None:
            self._check(local.voices)
        self._log.append(None if local is None else local.active)
        self._who.append(NOBODY if local is None else local.who)
        self._embeddings.append(None if local is None or local.voices is None else _halved(local.voices.embeddings))
        if local is not None and local.voices is not None:
            sure = trusted(local.active)[local.who]
            self._push(_some(local.voices, sure))
            self._trusted += int(sure.sum())
            # Only so short a recording as to have fewer trusted voices than people needs the others.
            if self._trusted < self._fewest:
                self._doubtful.append(_some(local.voices, ~sure))

    def _check(self, voices: Voices) -> None:
        if self._version not in (None, voices.version):
            raise InferenceFailed("Another version of the speaker embedding took over in the middle.")
        self._version = voices.version
        variances = len(self._policy.plda_variances)
        if voices.features is not None and voices.features.shape[1] != variances:
            raise InferenceFailed(
                f"The speaker embedding's model gives {voices.features.shape[1]} PLDA features, its card {variances}."
            )

    def turns(self, step_s: float, *, exclusive: bool) -> list[Turn]:
        return turns_of(self._log, self._labels(), step_s, exclusive=exclusive)

    def _labels(self) -> Labels:
        """Who each window's local speakers are (windows, 3), -1 being nobody."""
        labels = np.full((len(self._log), LOCAL_SPEAKERS), -1, dtype=np.int16)
        if len(self._log) == 1 and self._embeddings[0] is None:
            labels[0, self._who[0]] = np.arange(len(self._who[0]))
            return labels
        if self._trusted < self._fewest:
            for doubtful in self._doubtful:
                self._push(doubtful)
        centroids = self._clusters.finish()
        for first in range(0, len(labels), LABELLED_AT_ONCE):
            rows = slice(first, first + LABELLED_AT_ONCE)
            active = np.zeros(labels[rows].shape, dtype=np.bool_)
            embeddings = np.zeros((*active.shape, centroids.shape[1]), dtype=np.float32)
            for row, (who, voices) in enumerate(zip(self._who[rows], self._embeddings[rows], strict=True)):
                if voices is not None:
                    active[row, who] = True
                    embeddings[row, who] = voices
            labels[rows] = assign(embeddings, active, centroids, constrained=self._policy.constrained)
        return labels

    def _push(self, voices: Voices) -> None:
        if len(voices.embeddings):
            self._clusters.push(voices.embeddings, voices.features)


def _some(voices: Voices, chosen: npt.NDArray[np.bool_]) -> Voices:
    features = None if voices.features is None else voices.features[chosen]
    return Voices(voices.version, voices.embeddings[chosen], features)


def _halved(embeddings: Floats) -> Halfs:
    """In half the memory: unit vectors, of which nothing but the direction counts any more."""
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return np.asarray(embeddings / lengths, dtype=np.float16)
