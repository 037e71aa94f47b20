"""How what was heard is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.recognition.keywords import Keyword, boosted
from api.recognition.normalization import normalized
from api.recognition.scripts import in_own_script
from api.speech import Segment


@dataclass(frozen=True, slots=True)
class Wording:
    """`script_correction` writes each language in its own script; with `normalize` digits, entities and invisible
    characters have one form."""

    keywords: tuple[Keyword, ...] = ()
    script_correction: bool = False
    normalize: bool = False

    def of(self, segments: Sequence[Segment]) -> list[Segment]:
        """The segments, each of one speaker, in these words."""
        written = list(segments)
        if self.keywords:
            written = boosted(written, self.keywords)
        if self.script_correction:
            written = in_own_script(written, [keyword.term for keyword in self.keywords])
        if self.normalize:
            written = normalized(written)
        return written
