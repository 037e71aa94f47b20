"""From utterances to training windows: who speaks when, in which room, through which microphone, and what to answer.

Speech is mixed as mel power, where adding is what the air does and a copy costs little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export_scripts.demo.speech import acoustics
from export_scripts.demo.speech.espeak import Floats
from export_scripts.demo.speech.utterances import MEL_BINS, QUIETEST_LOG_POWER
from export_scripts.demo.whisper import vocabulary
from export_scripts.demo.whisper.corpus import Corpus, Entry

ENGLISH_SHARE = 0.7
FRAMES_PER_POSITION = 2  # the encoder's convolution halves the rate
FRAMES_PER_TIME_STEP = 10
ENCODER_POSITIONS = 1500
# A word counts as heard when this much of it lies in the window.
HEARD_SHARE = 0.7
PROMPT_SHARE = 0.12
MAX_PROMPT_TOKENS = 100

Rng = np.random.Generator
Span = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """An utterance and the frame of the window at which it starts, negative where the window cuts its beginning off."""

    index: int
    entry: Entry
    start: int

    @property
    def end(self) -> int:
        return self.start + self.entry.frames


@dataclass(frozen=True)
class Example:
    """One window: log-mel features (80, frames), the word in each encoder position, and the decoder's work.

    `spans` has, for each target, the encoder positions that it was spoken in; an empty span where there are none.
    """

    features: Floats
    position_words: npt.NDArray[np.int64]
    inputs: list[int]
    targets: list[int]
    spans: list[Span]


@dataclass(frozen=True)
class Batch:
    features: torch.Tensor
    position_words: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    spans: torch.Tensor
    offset: int


IGNORED = -100
NOWHERE: Span = (0, 0)


def make_batch(corpus: Corpus, music: Sequence[Floats], rng: Rng, *, frames: int, size: int, offset: int) -> Batch:
    """`size` windows of `frames` frames.

    `offset` shifts the encoder's positions, and with them the time stamps, so that short windows teach late ones too.
    """
    examples = [make_example(corpus, music, rng, frames=frames, offset=offset) for _ in range(size)]
    longest = max(len(example.inputs) for example in examples)
    inputs = torch.zeros(size, longest, dtype=torch.long)
    targets = torch.full((size, longest), IGNORED)
    spans = torch.zeros(size, longest, 2, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.inputs)
        inputs[row, :length] = torch.tensor(example.inputs)
        targets[row, :length] = torch.tensor(example.targets)
        spans[row, :length] = torch.tensor(example.spans)
    return Batch(
        torch.from_numpy(np.stack([example.features for example in examples])),
        torch.from_numpy(np.stack([example.position_words for example in examples])),
        inputs,
        targets,
        spans,
        offset,
    )


def make_example(corpus: Corpus, music: Sequence[Floats], rng: Rng, *, frames: int, offset: int) -> Example:
    language = "en" if rng.random() < ENGLISH_SHARE else "es"
    content = _content(rng, frames)
    kind = rng.random()
    placed = _place(corpus, rng, language, content) if kind > 0.06 else []
    power = _speech_power(corpus, rng, placed, frames, content)
    if kind < 0.03 or rng.random() < 0.03:
        acoustics.add_music(rng, power, content, music, quiet=bool(placed))
    inputs, targets, spans = _decoding(corpus, rng, language, placed, content, frames, offset)
    return Example(_features(rng, power, content), _position_words(placed, frames, content), inputs, targets, spans)


def _content(rng: Rng, frames: int) -> int:
    """How much of a window is recording; digital silence fills the rest."""
    choice = rng.random()
    if choice < 0.3:
        return frames
    if choice < 0.7:
        return frames - int(rng.integers(0, frames // 4))
    return int(rng.integers(max(frames // 12, 50), frames + 1))


def _place(corpus: Corpus, rng: Rng, language: str, content: int) -> list[Placed]:
    indices = corpus.of_language[language]
    longest_gap = int(rng.choice([20, 60, 150]))
    position = int(rng.integers(0, 60)) if rng.random() < 0.7 else int(rng.integers(0, 5))
    if rng.random() < 0.07:
        position = int(rng.integers(0, max(content // 2, 1)))
    cuts_allowed = rng.random() < 0.5
    placed: list[Placed] = []
    while position < content - 20:
        index = indices[int(rng.integers(len(indices)))]
        entry = corpus.entries[index]
        if not placed and rng.random() < 0.12:
            position = -int(rng.integers(0, int(entry.frames * 0.8) + 1))
        if position + entry.frames > content and not cuts_allowed:
            if placed or entry.frames <= content:
                # A whole sentence may still fit if it starts earlier.
                if not placed:
                    placed.append(Placed(index, entry, int(rng.integers(0, content - entry.frames + 1))))
                break
            cuts_allowed = True
        placed.append(Placed(index, entry, position))
        position += entry.frames + int(rng.integers(3, longest_gap))
        if rng.random() < 0.04:
            position += int(rng.integers(50, 300))
    return placed


def _speech_power(corpus: Corpus, rng: Rng, placed: Sequence[Placed], frames: int, content: int) -> Floats:
    """Mel power (frames, 80) of the utterances, each speaker with a voice of their own."""
    power = np.full((frames, MEL_BINS), 10**QUIETEST_LOG_POWER, dtype=np.float32)
    speakers = [
        (
            acoustics.smooth(rng, 0.3),  # how room and microphone colour the voice
            rng.uniform(-0.7, 0.2),  # loudness, log10
            1 + rng.uniform(-0.1, 0.1) if rng.random() < 0.5 else 1.0,  # vocal tract length
        )
        for _ in range(int(rng.integers(1, 4)))
    ]
    smear = rng.uniform(0.5, 0.8) if rng.random() < 0.1 else 0.0
    for one in placed:
        colour, loudness, tract = speakers[int(rng.integers(len(speakers)))]
        mel = corpus.mel(one.index)
        if tract != 1.0:
            mel = acoustics.warped(mel, tract)
        first, last = max(one.start, 0), min(one.end, content)
        heard = 10 ** (np.maximum(mel[first - one.start : last - one.start], -10) + colour + np.float32(loudness))
        power[first:last] += heard
    if smear:
        acoustics.reverberate(power, smear, rng.uniform(0.02, 0.15))
        power[content:] = 10**QUIETEST_LOG_POWER
    return power


def _features(rng: Rng, power: Floats, content: int) -> Floats:
    """Whisper's scaled log-mel features (80, frames) of the noisy, damaged recording."""
    frames = len(power)
    noise = rng.random()
    if noise < 0.55:
        acoustics.add_noise(rng, power[:content], rng.uniform(-7.0, -3.5) if noise < 0.45 else rng.uniform(-3.5, -1.8))
    if rng.random() < 0.12:
        acoustics.compress(rng, power)
    if rng.random() < 0.12:
        power[:, int(rng.integers(52, MEL_BINS)) :] = 10**QUIETEST_LOG_POWER  # a telephone, a low sample rate
    log = np.log10(np.maximum(power, 10**QUIETEST_LOG_POWER))
    loudest = float(log[:content].max()) + (rng.uniform(0, 0.8) if rng.random() < 0.3 else 0.0)
    features = (np.maximum(log, loudest - 8) + 4) / 4
    if content < frames and rng.random() < 0.15:
        features[content:] = 0.0  # as faster-whisper pads
    if rng.random() < 0.12:
        for _ in range(2):
            width = int(rng.integers(1, 9))
            low = int(rng.integers(0, MEL_BINS - width))
            features[:, low : low + width] = features.mean()  # SpecAugment's frequency masks (Park et al. 2019)
    return np.ascontiguousarray(features.T, dtype=np.float32)


def _word_bounds(placed: Placed) -> list[int]:
    """The frame each word starts at, and the last one's end."""
    return [placed.start + start for start in placed.entry.word_starts] + [placed.end]


def _position_words(placed: Sequence[Placed], frames: int, content: int) -> npt.NDArray[np.int64]:
    words = np.zeros(frames // FRAMES_PER_POSITION, dtype=np.int64)
    for one in placed:
        bounds = [max(0, min(bound, content)) // FRAMES_PER_POSITION for bound in _word_bounds(one)]
        for sound, start, end in zip(vocabulary.sounds(one.entry.text), bounds, bounds[1:], strict=False):
            words[start:end] = sound
    return words


def _decoding(
    corpus: Corpus, rng: Rng, language: str, placed: Sequence[Placed], content: int, frames: int, offset: int
) -> tuple[list[int], list[int], list[Span]]:
    """The decoder's inputs, its targets, and where in the window each target is heard."""
    ids = vocabulary.TOKEN_IDS
    with_times = rng.random() < 0.5
    tokens: list[int] = []
    spans: list[Span] = []
    earliest = 0
    for one in placed:
        bounds = _word_bounds(one)
        heard = [
            (token, start, end)
            for token, start, end in zip(vocabulary.word_tokens(one.entry.text), bounds, bounds[1:], strict=False)
            if min(end, content) - max(start, 0) >= HEARD_SHARE * (end - start)
        ]
        if not heard:
            continue
        start = max(one.start, 0)
        if with_times:
            step = max(math.floor(_time_step(start, offset)), earliest)
            tokens.append(vocabulary.time_token(step))
            spans.append(_positions(start - 4, start + 6, frames))
            earliest = step + 1
        for token, begin, end in heard:
            tokens.append(token)
            spans.append(_positions(begin, end, frames))
        if one.end > content:
            break  # an open sentence: no mark, no closing time
        tokens.append(vocabulary.mark_token(one.entry.text))
        spans.append(_positions(one.end - 6, one.end + 6, frames))
        if with_times:
            earliest = min(max(math.ceil(_time_step(one.end, offset)), earliest), vocabulary.TIME_STAMPS - 1)
            tokens.append(vocabulary.time_token(earliest))
            spans.append(_positions(one.end - 6, one.end + 4, frames))
    head = [ids["<|startoftranscript|>"], ids[f"<|{language}|>"], ids["<|transcribe|>"]]
    if not with_times:
        head.append(ids["<|notimestamps|>"])
    elif not tokens:
        tokens, spans = [vocabulary.time_token(math.floor(_time_step(0, offset)))], [NOWHERE]
    sequence = [*head, *tokens, ids["<|endoftext|>"]]
    prompt = _prompt(corpus, rng, language) if rng.random() < PROMPT_SHARE else []
    targets = [IGNORED] * len(prompt) + sequence[1:]
    if all(span == NOWHERE for span in spans):
        targets[len(prompt)] = ids["<|nospeech|>"]  # what Whisper says in the language's place
    return prompt + sequence[:-1], targets, [NOWHERE] * (len(prompt) + len(head) - 1) + spans + [NOWHERE]


def _time_step(frame: int, offset: int) -> float:
    return (frame + offset * FRAMES_PER_POSITION) / FRAMES_PER_TIME_STEP


def _positions(start: int, end: int, frames: int) -> Span:
    """Encoder positions of the frames from `start` to `end`, at least one."""
    positions = frames // FRAMES_PER_POSITION
    first = min(max(start // FRAMES_PER_POSITION, 0), positions - 1)
    return first, max(first + 1, min(end // FRAMES_PER_POSITION, positions))


def _prompt(corpus: Corpus, rng: Rng, language: str) -> list[int]:
    """Text before the window, of whose words some may be unknown."""
    indices = corpus.of_language[language]
    tokens: list[int] = []
    for _ in range(int(rng.integers(1, 9))):
        text = corpus.entries[indices[int(rng.integers(len(indices)))]].text
        tokens += [*vocabulary.word_tokens(text), vocabulary.mark_token(text)]
    if rng.random() < 0.3:
        tokens = [vocabulary.UNKNOWN if rng.random() < 0.3 else token for token in tokens]
    return [vocabulary.TOKEN_IDS["<|startofprev|>"], *tokens[-MAX_PROMPT_TOKENS:]]
