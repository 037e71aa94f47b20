"""OpenTelemetry: a span for each request, and in it one for each call to Triton.

Nothing of it is imported before `start`, which is called only where there is a collector: without one it costs a look
at a variable. What a span says is routes, models and times, never what was sent: of an error only its kind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from api import __version__

SEND_S: Final = 3.0
_tracing: _Tracing | None = None


class Span:
    """One that nobody records."""

    trace_id = ""

    def set(self, name: str, value: str | int) -> None:
        """An attribute."""

    def fail(self, kind: str) -> None:
        """What it is of went wrong."""

    def headers(self) -> dict[str, str]:
        """What a call passes on, so that the other side's spans become children of this one."""
        return {}


NO_SPAN: Final = Span()


class _RecordedSpan(Span):
    def __init__(self, span: Any, tracing: _Tracing) -> None:
        self._span = span
        self._tracing = tracing
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def set(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        self._span.set_status(self._tracing.status(self._tracing.error, kind))

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        self._tracing.propagator.inject(carrier, self._tracing.context_of(self._span))
        return carrier

    def end(self) -> None:
        self._span.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is begun while the context lasts becomes its child."""
        with self._tracing.use(self._span, record_exception=False, set_status_on_exception=False):
            yield


class _Tracing:
    def __init__(self, endpoint: str, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context, use_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
        self.status, self.error = Status, StatusCode.ERROR
        self.propagator = TraceContextTextMapPropagator()
        self.context_of, self.use = set_span_in_context, use_span
        # Beside these two attributes, what OTEL_RESOURCE_ATTRIBUTES says; which traces are kept, OTEL_TRACES_SAMPLER.
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("tritone", __version__)


def start(endpoint: str, service: str) -> None:
    """Send spans to the collector at this base URL, from now on; to none where it is empty."""
    global _tracing
    if endpoint:
        _tracing = _Tracing(endpoint, service)


def stop() -> None:
    """What has been recorded is sent first, if the collector takes it soon."""
    global _tracing
    if _tracing is not None:
        # A thread that nobody waits for: where the collector is away, the exporter tries again for some ten seconds.
        sending = threading.Thread(target=_tracing.provider.shutdown, daemon=True)
        _tracing = None
        sending.start()
        sending.join(SEND_S)


def unrecorded() -> AbstractContextManager[Span]:
    return nullcontext(NO_SPAN)


@contextmanager
def server_span(name: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """Of a request with these headers: a child of the span that they name, and the parent of those of its calls."""
    if _tracing is None:
        yield NO_SPAN
        return
    with _recorded(_tracing, name, "server", {}, _tracing.propagator.extract(headers)) as span, span.current():
        yield span


@contextmanager
def client_span(name: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
    """Of a call, in the current request's span. It does not become the current one, so that it may last while others
    take turns with it, as the calls of a generator do."""
    if _tracing is None:
        yield NO_SPAN
        return
    with _recorded(_tracing, name, "client", attributes) as span:
        yield span


@contextmanager
def _recorded(
    tracing: _Tracing, name: str, kind: str, attributes: Mapping[str, str | int], parent: Any = None
) -> Iterator[_RecordedSpan]:
    span = _RecordedSpan(tracing.tracer.start_span(name, parent, tracing.kinds[kind], attributes), tracing)
    try:
        yield span
    except BaseException as failure:
        span.fail(type(failure).__name__)
        raise
    finally:
        span.end()
