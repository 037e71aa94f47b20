"""Training the two demo networks from scratch, to be stopped and gone on with at any time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset

from export_scripts.demo.diarization.corpus import Speakers
from export_scripts.demo.diarization.mixing import FRAME_STEP, Batch, make_batch, permutations, powerset_classes
from export_scripts.demo.diarization.network import EMBEDDING, STEP_FRAMES, SpeakerEmbedding, SpeakerSegmentation
from export_scripts.demo.speech.music import make_music

WEIGHT_DECAY = 1e-3
MAX_GRADIENT_NORM = 1.0
WARM_UP = 200
REPORT_EVERY, SAVE_EVERY = 50, 500
# Additive angular margin (Deng et al. 2019), which grows from a sixth to a half of the training.
MARGIN, SCALE = 0.2, 24.0
SHORTEST_MASK = 15  # frames of 20 ms; from less no voice can be told


@dataclass(frozen=True)
class Course:
    """So many steps; the length of a step's windows is drawn from `frames`, and they are as many as fill a batch.

    Frames are of 20 ms, `peak` is the highest learning rate.
    """

    steps: int
    peak: float
    frames: tuple[int, ...]
    frames_per_batch: int


SEGMENTATION = Course(4000, 2e-3, (250, 500, 500, 500, 500), 12_000)
EMBEDDINGS = Course(7000, 2e-3, (100, 150, 200, 300), 12_000)


class Windows(IterableDataset[Batch]):
    """The batch of each step; it depends on the seed and the step alone."""

    def __init__(self, speech: Path, course: Course, *, seed: int, first: int) -> None:
        self._speech, self._course, self._seed, self._first = speech, course, seed, first

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        speakers = Speakers(self._speech)
        music = [piece[::FRAME_STEP] for piece in make_music(self._seed)]
        for step in range(self._first, self._course.steps):
            rng = np.random.default_rng((self._seed, step))
            frames = int(rng.choice(self._course.frames))
            yield make_batch(speakers, music, rng, frames=frames, size=self._course.frames_per_batch // frames)


class SegmentationLoss(nn.Module):
    """Permutation-invariant negative log-likelihood of the powerset, and cross-entropy of where turns are."""

    orders: torch.Tensor

    def __init__(self, voices: SpeakerEmbedding) -> None:
        super().__init__()
        self.network = SpeakerSegmentation()
        self.network.voices.load_state_dict(voices.state_dict())
        self.register_buffer("orders", permutations(), persistent=False)

    def forward(self, batch: Batch, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        self.network.voices.eval()  # its normalisation is trained, too
        classes = powerset_classes(batch.active)
        scores, turns = self.network.listen(batch.log_power)
        losses = torch.stack(
            [F.nll_loss(scores.transpose(1, 2), order[classes], reduction="none").mean(1) for order in self.orders], 1
        )
        best, order = losses.min(1)
        wrong = scores.argmax(-1) != torch.gather(self.orders[order], 1, classes)
        of_turns = F.binary_cross_entropy_with_logits(turns, turn_targets(batch.active))
        figures = {"nll": best.mean().item(), "turns": of_turns.item(), "wrong": wrong.float().mean().item()}
        return best.mean() + of_turns, figures


def turn_targets(active: torch.Tensor) -> torch.Tensor:
    """Of `active` (windows, 3, frames), in each step: does another turn begin, is just one person speaking (…, 2)."""
    here = active[..., ::STEP_FRAMES]
    before = torch.cat([here[..., :1], here[..., :-1]], -1)
    return torch.stack([(here != before).any(1), here.sum(1) == 1], -1).float()


class EmbeddingLoss(nn.Module):
    """Additive angular margin over all identities, for each speaker of a window by the frames they speak alone."""

    def __init__(self, voices: int) -> None:
        super().__init__()
        self.network = SpeakerEmbedding()
        self.directions = nn.Parameter(torch.randn(voices, EMBEDDING) * 0.05)

    def forward(self, batch: Batch, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        alone = batch.active & (batch.active.sum(1, keepdim=True) == 1)
        masks = _some_of(alone)
        heard = masks.sum(2) >= SHORTEST_MASK
        embeddings = self.network.embeddings(batch.log_power, masks.float())[heard]
        who = batch.identities[heard]
        cosines = _cosines(embeddings, self.directions)
        angles = torch.acos(cosines.gather(1, who[:, None]).clamp(-1 + 1e-6, 1 - 1e-6))
        with_margin = torch.cos(angles + MARGIN * min(1.0, max(0.0, 3 * progress - 0.5)))
        loss = F.cross_entropy(SCALE * cosines.scatter(1, who[:, None], with_margin), who)
        return loss, {"loss": loss.item(), "right": (cosines.argmax(1) == who).float().mean().item()}


def _cosines(vectors: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return F.normalize(vectors.float(), dim=-1) @ F.normalize(directions, dim=-1).T


def _some_of(masks: torch.Tensor) -> torch.Tensor:
    """Masks (windows, speakers, frames) as a segmentation would give them: often a part, its ends a little wrong."""
    frames = masks.shape[2]
    shift = int(torch.randint(-4, 5, ()))
    masks = torch.roll(masks, shift, 2)
    if torch.rand(()) < 0.5:
        length = int(torch.randint(frames // 4, frames + 1, ()))
        start = int(torch.randint(0, frames - length + 1, ()))
        masks = masks.clone()
        masks[:, :, :start] = False
        masks[:, :, start + length :] = False
    return masks


def train_segmentation(
    speech: Path, voices: SpeakerEmbedding, state: Path, *, seed: int, course: Course = SEGMENTATION
) -> SpeakerSegmentation:
    torch.manual_seed(seed)
    loss = SegmentationLoss(voices)
    _train(loss, speech, state, seed=seed, course=course)
    return loss.network


def train_embedding(speech: Path, state: Path, *, seed: int, course: Course = EMBEDDINGS) -> SpeakerEmbedding:
    torch.manual_seed(seed)
    loss = EmbeddingLoss(len(Speakers(speech)))
    _train(loss, speech, state, seed=seed, course=course)
    return loss.network


def _train(loss_of: nn.Module, speech: Path, state: Path, *, seed: int, course: Course) -> None:
    """Train, or go on where `state` left off. Prints its progress as JSON lines."""
    trained = [parameter for parameter in loss_of.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=course.peak, weight_decay=WEIGHT_DECAY)
    first = 0
    if state.exists():
        saved: dict[str, Any] = torch.load(state)
        first = saved["step"]
        loss_of.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    loss_of.train()
    recent: list[dict[str, float]] = []
    began = time.monotonic()
    windows = DataLoader(Windows(speech, course, seed=seed, first=first), batch_size=None, num_workers=1)
    for step, batch in enumerate(windows, start=first):
        torch.manual_seed(seed + step)  # so that it does not matter where it went on
        progress = step / course.steps
        for group in optimizer.param_groups:
            group["lr"] = course.peak * min(1.0, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * progress))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, figures = loss_of(batch, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
        optimizer.step()
        recent.append(figures)
        if (step + 1) % REPORT_EVERY == 0:
            means = {name: round(sum(one[name] for one in recent) / len(recent), 4) for name in figures}
            print(json.dumps({"step": step + 1, "seconds": round(time.monotonic() - began), **means}), flush=True)
            recent.clear()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == course.steps:
            partial = state.with_suffix(".partial")
            torch.save({"step": step + 1, "model": loss_of.state_dict(), "optimizer": optimizer.state_dict()}, partial)
            partial.rename(state)
