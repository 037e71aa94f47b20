"""From a request to each of its calls to Triton, as a collector of OpenTelemetry is told; and nothing without one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.business import customer
from tests.conftest import Clip, Stack
from tests.running import start_fake_service, stop_fake_service

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


class Collector:
    """Of OTLP over HTTP. Everything that came is kept, as it came and read."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    collector.take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body: bytes) -> None:
        self.raw += body
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert {"service.name": "ears"}.items() <= attributes(of_resource.resource).items()
            self.spans += [span for of_scope in of_resource.scope_spans for span in of_scope.spans]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    serving = threading.Thread(target=collector.server.serve_forever)
    serving.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    serving.join()


def attributes(of: Any) -> dict[str, str | int]:
    values = {attribute.key: attribute.value for attribute in of.attributes}
    return {key: value.string_value or value.int_value for key, value in values.items()}


@contextmanager
def overheard(address: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another address of the Triton at this one, and the headers of each inference that goes there."""
    heard: list[dict[str, str]] = []
    limits = [("grpc.max_receive_message_length", -1)]

    with grpc.insecure_channel(address, options=limits) as channel, ThreadPoolExecutor(16) as threads:

        class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, call: Any) -> Any:
                if call.method in (INFER, STREAM):
                    heard.append(dict(call.invocation_metadata))
                if call.method == STREAM:
                    return grpc.stream_stream_rpc_method_handler(
                        lambda requests, _: channel.stream_stream(call.method)(requests)
                    )
                return grpc.unary_unary_rpc_method_handler(lambda body, _: channel.unary_unary(call.method)(body))

        server = grpc.server(threads, handlers=[Proxy()], options=limits)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", heard
        finally:
            server.stop(None).wait()


def test_a_request_is_a_trace_down_to_each_call(
    stack: Stack, clips: list[Clip], collector: Collector, tmp_path: Path
) -> None:
    """It goes on the trace of who asked, and hands it on to Triton. What was sent and heard is nowhere in it."""
    address = next(line for line in stack.lines if line.startswith("triton gRPC ")).removeprefix("triton gRPC ")
    clip = clips[0]
    with overheard(address) as (url, heard):
        service = start_fake_service(
            tmp_path,
            program=("api.cli", "serve"),
            triton_url=url,
            otel_exporter_otlp_endpoint=collector.url,
            otel_service_name="ears",
            model_aliases='{"large-v3-turbo": "demo"}',
        )
        try:
            with customer(service, "house").open() as anna:
                traced = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "asked-1"}
                file = {"file": ("rumpelstiltskin.flac", clip.path.read_bytes())}
                answer = anna.client.post("/v1/transcribe", files=file, data={"speakers": "1"}, headers=traced)
                assert answer.status_code == 200, answer.text
                of_request = [headers.get("traceparent", "") for headers in heard]
                refused = anna.client.post("/v1/translate", json={"text": "quetzalcoatl", "target": "nowhere"})
                assert refused.status_code == 400
                service.client.get("/health/ready")
                key = anna.key
        finally:
            stop_fake_service(service)  # which sends what has not been sent yet
    (request,) = collector.named("POST /v1/transcribe")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/transcribe",
        "http.response.status_code": 200,
        "tritone.request_id": "asked-1",
    }
    calls = [span for span in collector.spans if span.trace_id.hex() == TRACE and span != request]
    assert {call.parent_span_id for call in calls} == {request.span_id}
    assert {call.kind for call in calls} == {Span.SPAN_KIND_CLIENT}
    assert {(attributes(call)["tritone.model"], attributes(call)["server.address"]) for call in calls} == {
        ("whisper-demo", url),
        ("voice_activity", url),
    }
    (whisper,) = [call for call in calls if call.name == "triton whisper"]
    assert attributes(whisper)["tritone.model_version"] == answer.headers["x-model-version"]
    assert sorted(of_request) == sorted(f"00-{TRACE}-{call.span_id.hex()}-01" for call in calls)

    (other,) = collector.named("POST /v1/translate")
    assert other.trace_id.hex() != TRACE
    assert not other.parent_span_id
    assert other.status.code == Status.STATUS_CODE_UNSET  # what was wrong was the request
    assert not [span for span in collector.spans if "health" in span.name]
    words = clip.text.split()
    for secret in (key, "rumpelstiltskin", "quetzalcoatl", "nowhere", *(word for word in words if len(word) > 6)):
        assert secret.encode() not in collector.raw


def test_without_a_collector_no_tracer_is_loaded(tmp_path: Path) -> None:
    """What it costs in memory is paid only by who wants it."""
    program = (
        "import sys, asyncio; from pathlib import Path\n"
        "from litestar.testing import TestClient\n"
        "from api.app import create_app; from api.inference.fake import fake_inference\n"
        "from api.settings import Settings; from api.storage.database import database_url\n"
        "from api.storage.migrate import migrate\n"
        f"settings = Settings(home={str(tmp_path)!r})\n"
        "migrate(database_url('', settings.home))\n"
        "with TestClient(create_app(settings, fake_inference())) as client:\n"
        "    assert client.get('/v1/models').status_code == 200\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip().splitlines()[-1] == "[]"
