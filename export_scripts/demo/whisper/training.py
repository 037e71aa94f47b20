"""Training from scratch, on a CPU: some hours on one core, to be stopped and gone on with at any time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from export_scripts.demo.speech.music import make_music
from export_scripts.demo.whisper.corpus import Corpus
from export_scripts.demo.whisper.mixing import ENCODER_POSITIONS, FRAMES_PER_POSITION, Batch, make_batch
from export_scripts.demo.whisper.network import DemoWhisper, Losses, Shape

WEIGHT_DECAY = 0.01
WORDS_WEIGHT = 1.0
ATTENTION_WEIGHT = 0.3
MAX_GRADIENT_NORM = 1.0
# A batch holds about as many frames whatever its windows' length: one step costs about the same.
FRAMES_PER_BATCH = 12_800
MAX_WINDOWS, MIN_WINDOWS = 64, 5
REPORT_EVERY, SAVE_EVERY = 50, 500
POSITION_STEP = 5  # encoder positions in one step of the time stamps


@dataclass(frozen=True)
class Stage:
    """`share` of a cycle's steps, on windows of these lengths in frames; `moved` of them start at a late position."""

    share: float
    lengths: tuple[int, ...]
    moved: float


@dataclass(frozen=True)
class Cycle:
    """The learning rate rises to `peak` and falls to nearly nothing once (SGDR, Loshchilov and Hutter 2017)."""

    steps: int
    warm_up: int
    peak: float
    stages: tuple[Stage, ...]

    def learning_rate(self, step: int) -> float:
        return self.peak * min(1.0, (step + 1) / self.warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))

    def stage(self, step: int) -> Stage:
        progress = step / self.steps
        for stage in self.stages:
            progress -= stage.share
            if progress < 0:
                return stage
        return self.stages[-1]


# Short windows teach the sounds at a tenth of the cost; long ones teach to keep one's place, and get their own turn.
SCHEDULE = (
    Cycle(
        5500,
        200,
        2e-3,
        (
            Stage(0.25, (200, 400, 400, 400), 0.8),
            Stage(0.30, (150, 300, 400, 600, 1000), 0.6),
            Stage(0.45, (100, 150, 200, 300, 400, 500, 600, 800, 1000, 1000, 1500, 2000, 3000, 3000, 3000), 0.15),
        ),
    ),
    Cycle(900, 100, 8e-4, (Stage(1.0, (200, 400, 600, 1000, 1000, 1500, 2000, 3000, 3000), 0.0),)),
)


@dataclass(frozen=True)
class Progress:
    step: int
    seconds: float
    tokens: float
    words: float
    attention: float
    accuracy: float


class Windows(IterableDataset[Batch]):
    """The batch of each step; it depends on the seed and the step alone."""

    def __init__(self, speech: Path, schedule: Sequence[Cycle], *, seed: int, first: int) -> None:
        self._speech, self._schedule, self._seed, self._first = speech, schedule, seed, first

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        corpus = Corpus(self._speech)
        music = make_music(self._seed)
        for step in range(self._first, total_steps(self._schedule)):
            rng = np.random.default_rng((self._seed, step))
            cycle, step_of_cycle = cycle_at(self._schedule, step)
            stage = cycle.stage(step_of_cycle)
            frames = int(rng.choice(stage.lengths))
            size = max(MIN_WINDOWS, min(MAX_WINDOWS, FRAMES_PER_BATCH // frames))
            offset = 0
            if rng.random() < stage.moved:
                places = (ENCODER_POSITIONS - frames // FRAMES_PER_POSITION) // POSITION_STEP
                offset = POSITION_STEP * int(rng.integers(places + 1))
            yield make_batch(corpus, music, rng, frames=frames, size=size, offset=offset)


def total_steps(schedule: Sequence[Cycle]) -> int:
    return sum(cycle.steps for cycle in schedule)


def cycle_at(schedule: Sequence[Cycle], step: int) -> tuple[Cycle, int]:
    """The cycle that a step of training falls into, and its number there."""
    for cycle in schedule:
        if step < cycle.steps:
            return cycle, step
        step -= cycle.steps
    raise IndexError("The schedule has ended.")


def train(
    speech: Path, state: Path, *, seed: int, threads: int, shape: Shape, schedule: Sequence[Cycle] = SCHEDULE
) -> DemoWhisper:
    """Train, or go on where `state` left off. Prints its progress as JSON lines."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    model = DemoWhisper(shape)
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and parameter.requires_grad and ".layers." in name
    ]
    chosen = {id(parameter) for parameter in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        # Matrices learn twice as fast under Muon (Jordan et al. 2024), with its step scaled to AdamW's.
        torch.optim.Muon(matrices, momentum=0.95, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY),
    ]
    first = 0
    if state.exists():
        saved: dict[str, Any] = torch.load(state)
        first = saved["step"]
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
    windows = Windows(speech, schedule, seed=seed, first=first)
    recent: list[Losses] = []
    began = time.monotonic()
    for step, batch in enumerate(DataLoader(windows, batch_size=None, num_workers=1, prefetch_factor=4), start=first):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses: Losses = model(batch)
        loss = losses.tokens + WORDS_WEIGHT * losses.words + ATTENTION_WEIGHT * losses.attention
        model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        cycle, step_of_cycle = cycle_at(schedule, step)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = cycle.learning_rate(step_of_cycle)
            optimizer.step()
        recent.append(losses)
        if (step + 1) % REPORT_EVERY == 0:
            print(json.dumps(asdict(_progress(step + 1, time.monotonic() - began, recent))), flush=True)
            recent.clear()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == total_steps(schedule):
            partial = state.with_suffix(".partial")
            values = {"step": step + 1, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(values, partial)
            partial.rename(state)
    return model


def _progress(step: int, seconds: float, recent: list[Losses]) -> Progress:
    def mean(name: str) -> float:
        return round(sum(float(getattr(losses, name)) for losses in recent) / len(recent), 4)

    return Progress(step, round(seconds, 1), mean("tokens"), mean("words"), mean("attention"), mean("accuracy"))
