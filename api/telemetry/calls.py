"""Calls to Triton, as they are counted and traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.metrics import WINDOWS_IN_FLIGHT
from api.telemetry.traces import client_span


@contextmanager
def triton_call(kind: str, model: str, version: str, endpoint: str) -> Iterator[dict[str, str]]:
    """One attempt, from its sending to its answer. What the context gives are headers to send along: with them,
    Triton's own spans become children of the request's.

    `kind` is that of the model, of which there are few; `endpoint` is host:port.
    """
    attributes = {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "server.address": endpoint,
        "tritone.model": model,
        "tritone.model_version": version,
    }
    with WINDOWS_IN_FLIGHT.labels(kind).track_inprogress(), client_span(f"triton {kind}", attributes) as span:
        yield span.headers()
