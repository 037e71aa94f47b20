"""The form of POST /stt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from api.errors import InvalidRequest
from api.http.fields import parse
from api.http.transcribe import MAX_SPEAKERS
from api.http.upload import FilePart
from api.recognition.catalog import SpeechModel
from api.recognition.keywords import parse_keywords
from api.recognition.speakers import SpeakerBounds
from api.recognition.wording import Wording

AUDIO: Final = FilePart("file", "the recording", "meeting.mp3", others=("audio",))
BOUNDS: Final = ("min_speakers", "max_speakers")


class SttForm(msgspec.Struct, frozen=True):
    """The text fields beside the file. A description says what is valid, to readers of the docs and of errors."""

    language: Annotated[str, Meta(description="an ISO 639-1 code such as en, or auto", max_length=20)] = "auto"
    languages: Annotated[
        str,
        Meta(description="ISO 639-1 codes to choose from, with commas between them, such as en,hi", max_length=1000),
    ] = ""
    diarize: Annotated[bool, Meta(description="true or false")] = False
    min_speakers: Annotated[
        int, Meta(description=f"a whole number to {MAX_SPEAKERS}, read with diarize; 0 or less: none", le=MAX_SPEAKERS)
    ] = 0
    max_speakers: Annotated[
        int, Meta(description=f"a whole number to {MAX_SPEAKERS}, read with diarize; 0 or less: none", le=MAX_SPEAKERS)
    ] = 0
    context: Annotated[
        str, Meta(description="up to 10000 characters on what is spoken of, and by whom", max_length=10_000)
    ] = ""
    keywords: Annotated[
        str, Meta(description="terms with commas between them, each with a :weight or without, such as Acme:5,off-side")
    ] = ""
    return_timestamps: Annotated[Literal["none", "word"], Meta(description="none or word")] = "none"
    include_confidence: Annotated[bool, Meta(description="true or false")] = False
    script_correction: Annotated[bool, Meta(description="true or false")] = False
    model: Annotated[
        str, Meta(description="the id of a model that /stt/models lists; others mean the default", max_length=100)
    ] = "large-v3-turbo"

    @property
    def wording(self) -> Wording:
        """Raises InvalidRequest."""
        return Wording(parse_keywords(self.keywords), self.script_correction, normalize=True)

    @property
    def speakers(self) -> SpeakerBounds | None:
        """Raises InvalidRequest where they contradict each other."""
        if not self.diarize:
            return None
        fewest, most = max(1, self.min_speakers), self.max_speakers if self.max_speakers > 0 else None
        if most is not None and fewest > most:
            raise InvalidRequest(f"min_speakers must be at most max_speakers; {fewest} is more than {most}.")
        return SpeakerBounds(fewest, most)

    def candidates(self, model: SpeechModel) -> tuple[str | None, tuple[str, ...]]:
        """As languages_of: `languages` are read only where `language` does not say it. Raises InvalidRequest."""
        given = [code.strip() for code in self.languages.split(",") if code.strip()]
        return languages_of(model, [self.language] if model.language(self.language) else given)


def languages_of(model: SpeechModel, wanted: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The language, if it is known, and those that it may be otherwise; none: all that the model knows.

    Raises InvalidRequest.
    """
    candidates = model.candidates(wanted)
    return (candidates[0], ()) if len(candidates) == 1 else (None, candidates)


def read(fields: Mapping[str, str]) -> SttForm:
    """Fields that there are not mean nothing. Raises InvalidRequest."""
    form = parse(SttForm, {name: value for name, value in fields.items() if name not in BOUNDS})
    return parse(SttForm, fields) if form.diarize else form
