"""Speech probabilities in, windows out: where to cut a recording so that a recogniser can work on the pieces.

Pure and incremental: what comes out does not depend on how the probabilities were portioned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, WINDOW_SAMPLES
from api.speech import SAMPLE_RATE_HZ

FULL_WINDOW_FRAMES = 3000
FRAME_S = ACTIVITY_FRAME_SAMPLES / SAMPLE_RATE_HZ


def frames(seconds: float) -> int:
    return round(seconds / FRAME_S)


@dataclass(frozen=True, slots=True)
class Span:
    """Frames `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ChunkingPolicy:
    """All lengths in frames of 32 ms. Speech begins at `onset` and goes on while it stays at `offset` or above."""

    onset: float = 0.5
    offset: float = 0.35
    min_speech: int = frames(0.1)
    """Anything shorter is a click."""
    min_pause: int = frames(0.3)
    """A pause at which a window may end; shorter ones belong to the speech around them."""
    padding: int = frames(0.2)
    """Kept on both sides of speech, so that no first or last sound is cut."""
    max_gap: int = frames(2.0)
    """A longer pause ends the window even where more would fit: silence is the recogniser's chance to invent."""
    max_window: int = WINDOW_SAMPLES // ACTIVITY_FRAME_SAMPLES


FULL_WINDOWS = ChunkingPolicy()
"""For a model that pads every window to 30 s: as much speech in each as fits."""

SHORT_WINDOWS = ChunkingPolicy(max_window=frames(10))
"""For a model that takes windows of their own length: encoding costs less than in proportion, up to some length."""


def policy_for(min_window_frames: int) -> ChunkingPolicy:
    """What bench/windows.py found best for a model by its shortest window, in frames of 10 ms."""
    return FULL_WINDOWS if are_padded(min_window_frames) else SHORT_WINDOWS


def are_padded(min_window_frames: int) -> bool:
    """Whether a model pads all windows to the full length."""
    return min_window_frames >= FULL_WINDOW_FRAMES


class WindowCutter:
    """Cuts a stream of speech probabilities into windows of phrases with at most `max_gap` between them.

    Windows are in order, do not overlap, are at most `max_window` long, and hold every frame of every phrase.
    """

    def __init__(self, policy: ChunkingPolicy | None = None) -> None:
        self._policy = policy or ChunkingPolicy()
        self._longest = self._policy.max_window - 2 * self._policy.padding
        self._position = 0
        self._phrase: _OpenPhrase | None = None
        self._window: Span | None = None  # phrases that will share a window, without its padding
        self._last_end = 0

    @property
    def settled(self) -> int:
        """No window to come begins before this frame."""
        starts = [open_.start for open_ in (self._window, self._phrase) if open_ is not None]
        return max(self._last_end, min([self._position, *starts]) - self._policy.padding)

    def push(self, probabilities: Iterable[float]) -> Iterator[Span]:
        """The windows that the next frames complete."""
        policy = self._policy
        for probability in probabilities:
            if self._phrase is None and probability >= policy.onset:
                self._phrase = _OpenPhrase(self._position)
            self._position += 1
            if self._phrase is not None:
                self._phrase.add(probability, is_speech=probability >= policy.offset)
                if self._position - self._phrase.end >= policy.min_pause:
                    yield from self._end_phrase()
                elif self._position - self._phrase.start >= self._longest:
                    yield from self._split_phrase(self._phrase)
            elif self._window is not None and self._position - self._window.end > policy.max_gap:
                yield self._close(self._window)

    def flush(self) -> Iterator[Span]:
        """The windows that the end of the recording completes."""
        yield from self._end_phrase()
        if self._window is not None:
            yield self._close(self._window)

    def _end_phrase(self) -> Iterator[Span]:
        phrase, self._phrase = self._phrase, None
        if phrase is not None and phrase.end - phrase.start >= self._policy.min_speech:
            yield from self._place(Span(phrase.start, phrase.end))

    def _split_phrase(self, phrase: _OpenPhrase) -> Iterator[Span]:
        """Speech without a pause fills a window: cut it where it is weakest, in the second half."""
        cut = phrase.weakest(phrase.start + self._longest // 2, phrase.end - self._policy.min_speech)
        self._phrase = phrase.rest(cut)
        yield from self._place(Span(phrase.start, cut))

    def _place(self, phrase: Span) -> Iterator[Span]:
        """Add a finished phrase to the window where it fits, else begin another with it."""
        window = self._window
        if window is None:
            self._window = phrase
        elif phrase.start - window.end <= self._policy.max_gap and phrase.end - window.start <= self._longest:
            self._window = Span(window.start, phrase.end)
        else:
            yield self._close(window, before=phrase.start)
            self._window = phrase

    def _close(self, window: Span, before: int | None = None) -> Span:
        """The window with its padding; a pause too short for both neighbours' padding is halved between them."""
        self._window = None
        start = max(self._last_end, window.start - self._policy.padding)
        end = min(self._position, window.end + self._policy.padding)
        if before is not None:
            end = min(end, (window.end + before) // 2)
        self._last_end = end
        return Span(start, end)


@dataclass(slots=True)
class _OpenPhrase:
    """Speech that has begun and not yet ended; `end` is behind its last frame of speech so far."""

    start: int
    end: int = 0
    probabilities: list[float] = field(default_factory=list)

    def add(self, probability: float, *, is_speech: bool) -> None:
        self.probabilities.append(probability)
        if is_speech:
            self.end = self.start + len(self.probabilities)

    def weakest(self, earliest: int, latest: int) -> int:
        return min(range(earliest, latest), key=lambda frame: self.probabilities[frame - self.start])

    def rest(self, cut: int) -> _OpenPhrase:
        return _OpenPhrase(cut, self.end, self.probabilities[cut - self.start :])
