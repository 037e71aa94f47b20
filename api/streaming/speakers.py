"""Who speaks, told while they speak: names that stay, from the models and the distances of diarization."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from api.errors import InferenceFailed
from api.inference.base import Floats, Pcm, SpeakerModels
from api.inference.contracts import LOCAL_SPEAKERS
from api.recognition.activity import SpeechWindow
from api.recognition.clustering import Doubles, assign
from api.recognition.diarization import (
    ActivityLog,
    Turn,
    embedding_masks,
    speaker_name,
    split_by_speaker,
    trusted,
    turns_of,
)
from api.recognition.speakers import DiarizationPlan
from api.speech import Segment
from api.telemetry.stages import stage

MAX_SPEAKERS = 64
"""Voices that a session remembers; who comes after them is taken for the one most alike."""


class OnlineSpeakers:
    """The speakers of one session, each with the mean of its voice prints so far.

    Coria et al. 2021, "Overlap-aware low-latency online speaker diarization based on end-to-end local segmentation":
    a voice that is heard alone for long enough, and further from all known ones than speakers are, is a new speaker.
    """

    def __init__(self, models: SpeakerModels, plan: DiarizationPlan, most: int | None = None) -> None:
        self._models = models
        self._plan = plan
        self._most = min(most or MAX_SPEAKERS, MAX_SPEAKERS)
        self._policy = plan.clustering
        self._sums: Doubles = np.zeros((0, 0))  # of unit vectors, (speakers, d)
        self._counts: list[int] = []
        self._version: str | None = None
        self._names: dict[int, str] = {}
        self._last = 0

    async def name(self, segments: Sequence[Segment], windows: Iterable[SpeechWindow]) -> list[Segment]:
        """The segments with their speakers' names, split where the speaker changes.

        The windows, of at most 10 s, hold them, and something of what was said before them where there is room.
        Raises InferenceUnavailable, InferenceFailed.
        """
        with stage("diarise", live=True):
            turns = [turn for window in windows for turn in await self._turns(window.pcm, window.start_s)]
        named = []
        # Where segmentation hears nobody it is most likely whoever spoke last.
        for speaker, part in split_by_speaker(segments, turns or [Turn(0, 0, self._last)]):
            self._last = speaker
            known = self._names.setdefault(speaker, speaker_name(len(self._names) + 1))
            named.append(replace(part, speaker=known))
        return named

    async def _turns(self, pcm: Pcm, start_s: float) -> list[Turn]:
        active = await self._models.segment(pcm, version=self._plan.segmentation_version, live=True)
        masks, who = embedding_masks(active)
        if not len(who):
            return []
        voices = await self._models.embed(pcm, masks, features=False, version=self._plan.embedding_version, live=True)
        if self._version not in (None, voices.version):
            raise InferenceFailed("Another version of the speaker embedding took over in the middle.")
        self._version = voices.version
        labels = np.full((1, LOCAL_SPEAKERS), -1, dtype=np.int16)
        labels[0, who] = self._known(voices.embeddings, [bool(sure) for sure in trusted(active)[who]])
        log = ActivityLog()
        log.append(active)
        turns = await asyncio.to_thread(turns_of, log, labels, 0.0, exclusive=True)
        return [Turn(start_s + turn.start, start_s + turn.end, turn.speaker) for turn in turns]

    def _known(self, embeddings: Floats, sure: Sequence[bool]) -> list[int]:
        """Which speaker each voice (n, d) of a window is; those that are `sure` and like nobody become new ones."""
        lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        units = embeddings / lengths
        if not self._counts:
            self._sums = np.zeros((0, embeddings.shape[1]))
        known = list(sure)
        for index, unit in enumerate(units):
            distances = np.linalg.norm(self._means() - unit, axis=1)
            is_new = sure[index] and len(self._counts) < self._most and (distances > self._policy.threshold).all()
            if is_new or not self._counts:
                self._sums = np.concatenate([self._sums, unit[None]])
                self._counts.append(1)
                known[index] = False
        active = np.ones((1, len(units)), dtype=np.bool_)
        labels = assign(units[None], active, self._means(), constrained=self._policy.constrained)[0]
        for index in np.flatnonzero(known):
            self._sums[labels[index]] += units[index]
            self._counts[labels[index]] += 1
        return [int(label) for label in labels]

    def _means(self) -> Floats:
        return np.asarray(self._sums / np.array(self._counts).reshape(-1, 1), dtype=np.float32)
