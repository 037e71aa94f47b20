"""Every Prometheus collector of the API, each named once. docs/operations.md says what to watch them for."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from api import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: as many lines again, which nobody reads

# One of our own: what a library registers by itself with the default one does not appear among ours.
REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

# From a block of audio that ffmpeg had ready to a window that waited as long as a call may.
STEP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# From a probe to an upload of two hours.
REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
# 1 is as long as the recording itself.
FACTOR_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10)

Info("tritone_build", "What runs here.", registry=REGISTRY).info({"version": __version__})

REQUESTS: Final = Counter(
    "tritone_requests",
    "Requests that were answered, and live sessions that ended, by their route's template. The status of a live "
    "session is the code that it was closed with.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS: Final = Histogram(
    "tritone_request_seconds",
    "From a request's headers to the last byte of its answer, and of a live session from its beginning to its end.",
    ["route", "method"],
    buckets=REQUEST_BUCKETS,
    registry=REGISTRY,
)
REFUSALS: Final = Counter(
    "tritone_refusals",
    "Requests and live sessions that ended in an error of ours, by what it was.",
    ["reason"],
    registry=REGISTRY,
)

AUDIO_SECONDS: Final = Counter(
    "tritone_audio_seconds",
    "Audio that was decoded from files, or came in live sessions.",
    ["source"],
    registry=REGISTRY,
)
REAL_TIME_FACTOR: Final = Histogram(
    "tritone_real_time_factor",
    "Of each recording that was transcribed: seconds of work for a second of audio, without its upload and without its "
    "wait for a decoder.",
    buckets=FACTOR_BUCKETS,
    registry=REGISTRY,
)
STAGE_SECONDS: Final = Histogram(
    "tritone_stage_seconds",
    "One step of a stage: a part of an upload, a block decoded, a window recognised. The wait for a place is a stage "
    "of its own.",
    ["stage", "source"],
    buckets=STEP_BUCKETS,
    registry=REGISTRY,
)
WINDOWS_IN_FLIGHT: Final = Gauge(
    "tritone_windows_in_flight",
    "Calls that are with Triton now, by the kind of the model.",
    ["kind"],
    registry=REGISTRY,
)
LIVE_SESSIONS: Final = Gauge("tritone_live_sessions", "Live sessions that have a place now.", registry=REGISTRY)
CREDITS_CHARGED: Final = Counter("tritone_credits_charged", "Credits that accounts paid.", registry=REGISTRY)
DRAINING: Final = Gauge(
    "tritone_draining", "1 from SIGTERM on: no new work is taken, what is under way goes on.", registry=REGISTRY
)

RECORDINGS_IN_WORK: Final = Gauge(
    "tritone_recordings_in_work", "Recordings that are uploaded or worked on now.", registry=REGISTRY
)
TEXTS_IN_WORK: Final = Gauge("tritone_texts_in_work", "Requests about text that are worked on now.", registry=REGISTRY)
SHED: Final = Counter(
    "tritone_shed", "Requests refused before they were read, because too much was in work.", ["kind"], registry=REGISTRY
)
TRITON_ENDPOINT_UP: Final = Gauge(
    "tritone_triton_endpoint_up", "1 while an endpoint takes calls, 0 while it is ejected.", ["endpoint"],
    registry=REGISTRY,
)  # fmt: skip
TRITON_OUTSTANDING: Final = Gauge(
    "tritone_triton_outstanding", "Calls that an endpoint has not answered yet.", ["endpoint"], registry=REGISTRY
)
TRITON_RETRIES: Final = Counter(
    "tritone_triton_retries", "Calls to Triton that were repeated, by what had befallen them.", ["reason"],
    registry=REGISTRY,
)  # fmt: skip

LIMITER_SHARED: Final = Gauge(
    "tritone_limiter_shared",
    "1 while limits are shared through Redis, 0 while each process has its own.",
    registry=REGISTRY,
)
LIMITER_FALLBACKS: Final = Counter(
    "tritone_limiter_fallbacks", "Calls answered by per-process limits because Redis was away.", registry=REGISTRY
)


def exposition() -> bytes:
    """In Prometheus's text format, version 0.0.4."""
    return generate_latest(REGISTRY)
