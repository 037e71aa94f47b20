"""Every Prometheus collector of the API, each named once."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector, generate_latest

# One of our own: what a library registers by itself with the default one does not appear among ours.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

LIMITER_SHARED = Gauge(
    "tritone_limiter_shared",
    "1 while limits are shared through Redis, 0 while each process has its own.",
    registry=REGISTRY,
)
LIMITER_FALLBACKS = Counter(
    "tritone_limiter_fallbacks", "Calls answered by per-process limits because Redis was away.", registry=REGISTRY
)


def exposition() -> bytes:
    """In Prometheus's text format, version 0.0.4."""
    return generate_latest(REGISTRY)
