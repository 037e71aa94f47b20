"""All live sessions of the service: how many there may be, and within what bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.errors import NoSlot
from api.inference.base import Inference, Using, unwatched
from api.metrics import LIVE_SESSIONS
from api.recognition.languages import SwitchPolicy
from api.streaming.options import StreamBounds, StreamOptions
from api.streaming.session import StreamSession

RETRY_AFTER_S = 10


class LiveTranscriber:
    """`running` counts the slots that are taken."""

    def __init__(
        self,
        inference: Inference,
        bounds: StreamBounds,
        *,
        max_streams: int,
        beam_size: int,
        switches: SwitchPolicy,
        using: Using = unwatched,
    ) -> None:
        """`switches` says when a language is taken for another one; `using` is told whose versions it needs."""
        self._inference = inference
        self._bounds = bounds
        self._max_streams = max_streams
        self._beam_size = beam_size
        self._switches = switches
        self._using = using
        self.running = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place for one session while the context lasts. Raises NoSlot."""
        if self.running >= self._max_streams:
            raise NoSlot(
                f"All {self._max_streams} places for live transcription are taken. Try again later.", RETRY_AFTER_S
            )
        self.running += 1
        try:
            with LIVE_SESSIONS.track_inprogress():
                yield
        finally:
            self.running -= 1

    def session(self, options: StreamOptions) -> StreamSession:
        return StreamSession(
            self._inference,
            options,
            self._bounds,
            beam_size=self._beam_size,
            switches=self._switches,
            using=self._using,
        )
