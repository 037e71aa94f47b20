"""The messages of WS /ws/stt, both ways."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.audio.telephony import AudioFormat
from api.compat.sixtydb.bodies import WordBody
from api.errors import InvalidRequest
from api.http.fields import parse
from api.http.transcribe import MAX_SPEAKERS
from api.recognition.keywords import Keyword
from api.speech import SAMPLE_RATE_HZ

MAX_LANGUAGES: Final = 5
MIN_UTTERANCE_END_MS: Final = 300
MIN_INTERIM_MS: Final = 300
TELEPHONE_HZ: Final = 8000
MAX_CONTEXT_CHARS: Final = 20_000
ENCODINGS: Final = {"linear": "linear", "linear16": "linear", "mulaw": "mulaw", "ulaw": "mulaw"}
"""The contract's two, each with another name that its clients have for it."""

Languages = Annotated[
    list[Annotated[str, Meta(max_length=20)]] | Annotated[str, Meta(max_length=200)] | None,
    Meta(description=f"a list of at most {MAX_LANGUAGES} ISO 639-1 codes, or null"),
]
EncodingName = Annotated[Annotated[str, Meta(max_length=20)] | None, Meta(description="linear or mulaw")]
Rate = Annotated[
    Annotated[int, Meta(ge=8000, le=48_000)] | None, Meta(description="a whole number of Hz from 8000 to 48000")
]
Speakers = Annotated[
    Annotated[int, Meta(le=MAX_SPEAKERS)] | None,
    Meta(description=f"a whole number to {MAX_SPEAKERS}, read with diarize; 0 or less: none"),
]


class Pair(msgspec.Struct, frozen=True):
    key: Annotated[str, Meta(max_length=200)]
    value: Annotated[str, Meta(max_length=5000)]


class Context(msgspec.Struct, frozen=True):
    """What is spoken of, for the language model; the terms are keywords, too."""

    general: Annotated[
        list[Pair],
        Meta(description='at most 50 {"key": "…", "value": "…"} of up to 200 and 5000 characters', max_length=50),
    ] = []
    text: Annotated[str, Meta(description="up to 10000 characters", max_length=10_000)] = ""
    terms: Annotated[
        list[Annotated[str, Meta(max_length=100)]],
        Meta(description="a list of at most 500 terms of up to 100 characters", max_length=500),
    ] = []

    def __bool__(self) -> bool:
        return bool(self.general or self.text or self.terms)

    @property
    def paragraph(self) -> str:
        return "\n".join([*(f"{pair.key}: {pair.value}" for pair in self.general), *([self.text] if self.text else [])])

    @property
    def keywords(self) -> tuple[Keyword, ...]:
        return tuple(Keyword(term.strip()) for term in self.terms if term.strip())


class Config(msgspec.Struct, frozen=True):
    encoding: EncodingName = None
    sample_rate: Rate = None
    utterance_end_ms: Annotated[
        int, Meta(description="a whole number from 300 to 10000; less counts as 300", ge=0, le=10_000)
    ] = 500
    continuous_mode: Annotated[bool, Meta(description="true or false")] = True
    interim_results_frequency: Annotated[
        int, Meta(description="a whole number of ms from 300 to 10000; less counts as 300, 0 as never", ge=0, le=10_000)
    ] = MIN_INTERIM_MS
    diarize: Annotated[bool, Meta(description="true or false")] = False
    min_speakers: Speakers = None
    max_speakers: Speakers = None

    @property
    def format(self) -> AudioFormat:
        """Raises InvalidRequest."""
        return audio_format(self.encoding, self.sample_rate)

    @property
    def most_speakers(self) -> int | None:
        """`min_speakers` means nothing to a stream: who has not spoken yet is not there."""
        return self.max_speakers if self.max_speakers is not None and self.max_speakers > 0 else None

    @property
    def min_silence_s(self) -> float:
        return max(self.utterance_end_ms, MIN_UTTERANCE_END_MS) / 1000

    @property
    def interim_s(self) -> float | None:
        """None: never."""
        return max(self.interim_results_frequency, MIN_INTERIM_MS) / 1000 if self.interim_results_frequency else None


class Start(msgspec.Struct, frozen=True):
    """`languages` are those to choose from; none: all that there are."""

    languages: tuple[str, ...]
    context: Context
    config: Config


class Audio(msgspec.Struct, frozen=True):
    audio: Annotated[str, Meta(description="audio in base64")] = ""
    encoding: EncodingName = None
    sample_rate: Rate = None

    @property
    def data(self) -> bytes:
        """Raises InvalidRequest."""
        try:
            return base64.b64decode(self.audio, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest(f"audio must be base64, not {self.audio[:30]!r}.") from None

    def format(self, default: AudioFormat) -> AudioFormat:
        """That of the session, where the message does not say. Raises InvalidRequest."""
        if self.encoding is None and self.sample_rate is None:
            return default
        rate_hz = self.sample_rate or (default.rate_hz if self.encoding is None else None)
        return audio_format(self.encoding or default.encoding, rate_hz)


class Change(msgspec.Struct, frozen=True):
    """Of what is UNSET nothing changes."""

    languages: tuple[str, ...] | UnsetType
    continuous_mode: bool | UnsetType


class _Languages(msgspec.Struct, frozen=True):
    languages: Languages = None
    language: Languages = None


class _Mode(msgspec.Struct, frozen=True):
    continuous_mode: Annotated[bool, Meta(description="true or false")]


def read_start(message: Mapping[str, Any], query: Mapping[str, str]) -> Start:
    """Some clients send the fields of `config` beside it, or with the languages in the query. Raises InvalidRequest."""
    config, context = _object(message, "config"), _object(message, "context")
    fields = {**query, **message, **config}
    if fields.get("interim_results_frequency", 0) is None:
        fields["interim_results_frequency"] = 0
    start = Start(_languages({**query, **message}), parse(Context, context), parse(Config, fields))
    if sum(map(len, [start.context.paragraph, *start.context.terms])) > MAX_CONTEXT_CHARS:
        raise InvalidRequest(f"context may have {MAX_CONTEXT_CHARS} characters in all.")
    start.config.format  # noqa: B018 (says what is wrong with it)
    fewest, most = start.config.min_speakers or 0, start.config.most_speakers
    if most is not None and fewest > most:
        raise InvalidRequest(f"min_speakers must be at most max_speakers; {fewest} is more than {most}.")
    return start


def read_audio(message: Mapping[str, Any]) -> Audio:
    """Raises InvalidRequest."""
    if "audio" not in message:
        raise InvalidRequest('Audio as text is {"type": "audio", "audio": "…"}, in base64.')
    return parse(Audio, message)


def read_change(message: Mapping[str, Any]) -> Change:
    """Its fields may stand in a `config`, too. Raises InvalidRequest."""
    fields = {**message, **_object(message, "config")}
    named = fields.keys() & _Languages.__struct_fields__
    return Change(
        _languages(fields) if named else UNSET,
        parse(_Mode, fields).continuous_mode if fields.get("continuous_mode") is not None else UNSET,
    )


def audio_format(encoding: str | None, rate_hz: int | None) -> AudioFormat:
    """Linear is the default, and 8 kHz for μ-law, 16 kHz otherwise. Raises InvalidRequest."""
    known = ENCODINGS.get((encoding or "linear").lower())
    if known is None:
        raise InvalidRequest(f"encoding must be linear or mulaw, not {encoding!r}.")
    if known == "mulaw":
        return AudioFormat("mulaw", rate_hz or TELEPHONE_HZ)
    return AudioFormat("linear", rate_hz or SAMPLE_RATE_HZ)


def _languages(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """In `languages`, or in `language`: a list, or text with commas. `auto` is any."""
    given = parse(_Languages, {name: value for name, value in fields.items() if value != []})
    several = given.languages or given.language or []
    codes = several.split(",") if isinstance(several, str) else several
    wanted = tuple(dict.fromkeys(code.strip().lower() for code in codes if code.strip()))
    if len(wanted) > MAX_LANGUAGES:
        raise InvalidRequest(f"languages may have {MAX_LANGUAGES} codes; these are {len(wanted)}.")
    return () if "auto" in wanted else wanted


def _object(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} must be an object, not {value!r:.50}.")
    return value


class Connecting(msgspec.Struct, tag_field="type", tag="connecting"):
    pass


class ConnectionEstablished(msgspec.Struct, tag_field="type", tag="connection_established"):
    connection_established: bool = True


class Connected(msgspec.Struct, tag_field="type", tag="connected"):
    session_id: str
    server_info: dict[str, str]


class SessionStarted(msgspec.Struct, tag_field="type", tag="session_started"):
    session_id: str
    languages: list[str] | None
    encoding: str
    sample_rate: int
    continuous_mode: bool
    diarize: bool


class SpeechStarted(msgspec.Struct, tag_field="type", tag="speech_started"):
    """`start` is in seconds of the stream."""

    start: float


class SpokenWord(WordBody):
    speaker: str | None = None


class Transcription(msgspec.Struct, tag_field="type", tag="transcription"):
    """Of a sentence while it is spoken `confidence` is 0: nothing is known of it yet."""

    text: str
    language: str | None
    confidence: float
    snr_db: float | None
    is_final: bool
    speech_final: bool
    is_partial: bool
    sentence_id: str
    words: list[SpokenWord]
    speaker: str | UnsetType = UNSET


class LanguageChanged(msgspec.Struct, tag_field="type", tag="language_changed"):
    """`language` is auto where there are several, or all."""

    language: str
    languages: list[str] | None


class ModeChanged(msgspec.Struct, tag_field="type", tag="mode_changed"):
    mode_name: str
    continuous_mode: bool


class TestResponse(msgspec.Struct, tag_field="type", tag="test_response"):
    """`timestamp` is the server's, in ms since 1970."""

    timestamp: int
    message: str = "ok"


class WarningMessage(msgspec.Struct, tag_field="type", tag="warning"):
    code: str
    message: str


class BillingSummary(msgspec.Struct):
    """`total_cost` is in credits."""

    total_duration_seconds: float
    total_cost: float


class SessionStopped(msgspec.Struct, tag_field="type", tag="session_stopped"):
    session_id: str
    billing_summary: BillingSummary
