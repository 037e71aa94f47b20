"""From utterances to training windows: dialogues of some speakers in one room, and who speaks in each frame.

Speech is mixed as mel power, where adding is what the air does and a copy costs little.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export_scripts.demo.diarization.corpus import Speakers
from export_scripts.demo.speech import acoustics
from export_scripts.demo.speech.espeak import Floats
from export_scripts.demo.speech.utterances import MEL_BINS, QUIETEST_LOG_POWER

# The networks take every second of the corpus's frames: one each 20 ms.
FRAME_STEP = 2
MAX_SPEAKERS = 3
NOBODY = -1
# Which of three speakers are active in each class of the powerset (Plaquet and Bredin 2023), as in pyannote.audio.
POWERSET = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))

Rng = np.random.Generator


@dataclass(frozen=True)
class Dialogue:
    """Log-mel power (frames, 80), who is active (3, frames), and which of all speakers the three are."""

    log_power: Floats
    active: npt.NDArray[np.bool_]
    identities: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """`log_power` (windows, frames, 80), `active` (windows, 3, frames), `identities` (windows, 3), -1 for nobody."""

    log_power: torch.Tensor
    active: torch.Tensor
    identities: torch.Tensor


def make_batch(speakers: Speakers, music: Sequence[Floats], rng: Rng, *, frames: int, size: int) -> Batch:
    dialogues = [make_dialogue(speakers, music, rng, frames) for _ in range(size)]
    names = [[*one.identities, *[NOBODY] * (MAX_SPEAKERS - len(one.identities))] for one in dialogues]
    return Batch(
        torch.from_numpy(np.stack([one.log_power for one in dialogues])),
        torch.from_numpy(np.stack([one.active for one in dialogues])),
        torch.tensor(names),
    )


def make_dialogue(speakers: Speakers, music: Sequence[Floats], rng: Rng, frames: int) -> Dialogue:
    """`frames` frames of 20 ms out of a conversation of none to three people."""
    people = int(rng.choice(4, p=(0.03, 0.12, 0.40, 0.45)))
    chosen = [int(rng.integers(len(speakers))) for _ in range(people)]
    power = np.full((frames, MEL_BINS), 10**QUIETEST_LOG_POWER, dtype=np.float32)
    active = np.zeros((MAX_SPEAKERS, frames), dtype=np.bool_)
    if chosen:
        _talk(speakers, rng, chosen, power, active)
    if rng.random() < 0.1:
        acoustics.reverberate(power, rng.uniform(0.3, 0.65), rng.uniform(0.02, 0.15))
    if rng.random() < (0.04 if people else 0.5):
        acoustics.add_music(rng, power, frames, music, quiet=bool(people))
    if rng.random() < 0.85:
        acoustics.add_noise(rng, power, rng.uniform(-7.0, -3.0) if people else rng.uniform(-8.0, 0.0))
    if rng.random() < 0.1:
        acoustics.compress(rng, power)
    if rng.random() < 0.1:
        power[:, int(rng.integers(52, MEL_BINS)) :] = 10**QUIETEST_LOG_POWER  # a telephone, a low sample rate
    _cut_short(rng, power, active)
    return Dialogue(np.log10(np.maximum(power, 10**QUIETEST_LOG_POWER)), active, tuple(chosen))


def _talk(speakers: Speakers, rng: Rng, chosen: Sequence[int], power: Floats, active: npt.NDArray[np.bool_]) -> None:
    """Turn follows turn, after a pause or over the end of the one before."""
    frames = len(power)
    shared = acoustics.smooth(rng, 0.3)
    own_microphones = rng.random() < 0.4
    colours = [acoustics.smooth(rng, 0.25) if own_microphones else shared for _ in chosen]
    loudness = rng.uniform(-0.7, 0.2) + rng.uniform(-0.4, 0.4, len(chosen))
    overlaps = rng.choice((0.0, 0.15, 0.4))
    longest_pause = int(rng.choice((15, 40, 100)))
    stays = rng.choice((0.1, 0.3, 0.6))  # how often the same person goes on
    position = -int(rng.integers(0, 150)) if rng.random() < 0.6 else int(rng.integers(0, 50))
    speaking = int(rng.integers(len(chosen)))
    while position < frames:
        mel = _utterance(speakers, rng, chosen[speaking]) + colours[speaking] + np.float32(loudness[speaking])
        first, last = max(position, 0), min(position + len(mel), frames)
        if last > first:
            power[first:last] += 10 ** np.maximum(mel[first - position : last - position], QUIETEST_LOG_POWER)
            active[speaking, first:last] = True
        position += len(mel)
        before = speaking
        if rng.random() > stays:
            speaking = int(rng.integers(len(chosen)))
        if speaking != before and rng.random() < overlaps:
            position -= int(rng.integers(5, min(90, len(mel))))
        else:
            position += int(rng.integers(0, longest_pause))


def _utterance(speakers: Speakers, rng: Rng, speaker: int) -> Floats:
    """A whole utterance or a part of one, each 20 ms a frame."""
    mel = speakers.utterance(speaker, rng)[int(rng.integers(FRAME_STEP)) :: FRAME_STEP]
    if len(mel) > 40 and rng.random() < 0.35:
        length = int(rng.integers(15, len(mel)))
        start = int(rng.integers(0, len(mel) - length + 1))
        mel = mel[start : start + length]
    return mel


def _cut_short(rng: Rng, power: Floats, active: npt.NDArray[np.bool_]) -> None:
    """The last window of a recording ends in digital silence."""
    if rng.random() < 0.15:
        end = int(rng.integers(len(power) // 8, len(power)))
        power[end:] = 10**QUIETEST_LOG_POWER
        active[:, end:] = False


def powerset_classes(active: torch.Tensor) -> torch.Tensor:
    """The class (…, frames) of each frame of `active` (…, 3, frames); of three at once the last is left out."""
    bits = active.long()
    code = bits[..., 0, :] + 2 * bits[..., 1, :] + 4 * bits[..., 2, :]
    table = torch.zeros(8, dtype=torch.long)
    for index, members in enumerate(POWERSET):
        table[sum(1 << member for member in members)] = index
    table[7] = POWERSET.index((0, 1))
    return table[code]


def permutations() -> torch.Tensor:
    """For each of the six orders of three speakers, what each class of the powerset becomes (6, 7)."""
    sets = [frozenset(members) for members in POWERSET]
    return torch.tensor(
        [
            [sets.index(frozenset(order[member] for member in members)) for members in POWERSET]
            for order in itertools.permutations(range(MAX_SPEAKERS))
        ]
    )
