"""Every setting of the service, in one frozen struct, read from the environment once at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MIB = 1024 * 1024
Count = Annotated[int, Meta(ge=1, le=2**40)]
Seconds = Annotated[float, Meta(gt=0, le=10**7)]


class SettingsError(Exception):
    """The environment holds a value that is not one for its setting."""


# These variables are known by the same names elsewhere; all others begin with TRITONE_.
UNPREFIXED = frozenset(
    {
        *("host", "port", "triton_url", "database_url", "redis_url", "retention_days", "llm_url", "llm_model"),
        *("llm_api_key", "otel_exporter_otlp_endpoint", "otel_service_name"),
    }
)

CONFIDENTIAL = frozenset({"secret", "database_url", "redis_url", "llm_api_key"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A field's name in capitals is its variable, with TRITONE_ before it unless it is one of UNPREFIXED."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8000
    triton_url: str = "127.0.0.1:8001"
    """Triton's gRPC address, host:port, or those of several, separated by commas. Of a name with several addresses, as
    a headless Service has, each is a Triton."""

    home: str = ".tritone"
    """Where the service keeps what it writes, unless another place is set for it."""
    database_url: str = ""
    """Accounts and transcripts: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; a file in `home` by default."""
    redis_url: str = ""
    """Where API replicas share their limits; without it each has its own."""
    secret: Annotated[str, Meta(max_length=1000)] = ""
    """What keys are hashed with: the same for all replicas. By default one is made and kept beside the SQLite file."""
    plans: str = ""
    """A file with the plans, in TOML; the contract's by default."""
    lease_s: Annotated[float, Meta(ge=3, le=3600)] = 60.0
    """How long what a crashed process held stays taken: credits that were reserved, and places."""
    retention_days: Annotated[int, Meta(ge=0, le=36500)] = 0
    """Transcripts older than this are deleted; 0 keeps them."""
    trusted_proxies: list[str] = []
    """Addresses or networks, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    llm_url: Annotated[str, Meta(pattern=r"^(https?://\S+)?$")] = ""
    """The base URL of an OpenAI-compatible endpoint; by default Triton's language model is asked, where it has one."""
    llm_model: str = ""
    """What that endpoint calls the model."""
    llm_api_key: Annotated[str, Meta(max_length=1000, pattern="^[!-~]*$")] = ""
    llm_context_tokens: Annotated[int, Meta(ge=256, le=2**20)] = 8192
    """How many tokens a request and its answer may have there together."""

    model_aliases: dict[str, str] = {}
    """Public id → id of the deployed model that serves it, as JSON. An id that is deployed itself needs no alias."""

    spool_dir: str | None = None
    """Where uploads wait while they are processed; the system's temporary folder by default."""
    max_upload_bytes: Count = 2048 * MIB
    upload_idle_timeout_s: Seconds = 60.0
    """An upload that sends nothing for this long is given up, and so is a download that takes nothing."""
    upload_timeout_s: Seconds = 3600.0
    """So is one that takes longer than this."""

    max_audio_s: Seconds = 24 * 3600.0
    max_enhanced_s: Seconds = 6 * 3600.0
    """The same for those that are enhanced: what comes of stereo must fit into a WAV, which has 4 GB at most."""
    max_decoders: Count = 64
    """Recordings decoded at the same time, each by an ffmpeg process of its own; more wait their turn."""
    decoder_memory_bytes: Count = 1024 * MIB
    decoder_cpu_s: Count = 1800

    windows_in_flight: Count = 6
    """Windows of one recording, or pieces of one text to speak, that are with Triton at the same time."""
    max_windows: Count = 128
    """The same for all recordings together, for each Triton that is in service."""
    max_recordings: Count = 256
    """Recordings that are uploaded or in work at the same time, on all Tritons that accounts share or on a private one;
    beyond them a request is refused before it is read."""
    max_texts: Count = 256
    """The same for requests about text."""
    beam_size: Annotated[int, Meta(ge=1, le=16)] = 5
    language_switch_probability: Annotated[float, Meta(gt=0.5, lt=1)] = 0.98
    """A recording goes on in another language after so much speech that is so probably in it,"""
    language_switch_s: Annotated[float, Meta(gt=0, le=60)] = 0.8
    """where nobody said which language it is in; what is less probable takes longer."""
    snr_floor_db: Annotated[float, Meta(ge=-20, le=60)] = -5.0
    """Speech that is further below its noise is not listened to, for those whose dialect has no field for it."""

    tts_consent: bool = False
    """Voices are cloned only for those who state that their owners have agreed."""

    max_streams: Count = 256
    """Live sessions at the same time; each has one window with Triton at most."""
    max_stream_s: Seconds = 4 * 3600.0
    """How long a live session may last, and how much audio it may hold."""
    stream_idle_timeout_s: Seconds = 60.0
    """A live session whose client sends nothing for this long is ended."""
    stream_buffer_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    """Audio of a live session that is kept while the models have not come to it; then its client must wait."""
    max_frame_bytes: Annotated[int, Meta(ge=2, le=16 * MIB)] = 2 * MIB
    """The largest message of a live session."""

    triton_patience_s: Seconds = 45.0
    """How long a request waits for a Triton that is away before it ends in 503."""
    triton_timeout_s: Seconds = 300.0
    """How long one call to Triton, waiting in its queue included, may take."""

    drain_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    """How long what is under way may go on after SIGTERM."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_exporter_otlp_endpoint: Annotated[str, Meta(pattern=r"^(https?://\S+)?$")] = ""
    """The base URL of an OpenTelemetry collector that takes OTLP over HTTP; without it nothing is traced."""
    otel_service_name: str = "tritone"


def from_env(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError naming the variable and what it should hold."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        variable = environment_name(field.name)
        if variable in environment:
            raw = environment[variable]
            try:
                if field.type == dict[str, str]:
                    values[field.name] = msgspec.json.decode(raw, type=dict[str, str])
                elif field.type == list[str]:
                    values[field.name] = [part for part in (part.strip() for part in raw.split(",")) if part]
                else:
                    values[field.name] = msgspec.convert(raw, field.type, strict=False)
            except msgspec.MsgspecError as error:
                shown = "…" if field.name in CONFIDENTIAL else repr(raw)
                raise SettingsError(f"{variable}={shown}: {error}") from error
    return Settings(**values)


def environment_name(field: str) -> str:
    return field.upper() if field in UNPREFIXED else f"TRITONE_{field.upper()}"
