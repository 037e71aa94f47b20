"""Triton away, or the disk full: what a request sees of it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from api.errors import InferenceUnavailable
from api.inference.base import ModelVersion, Pcm
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, ACTIVITY_STATE_SIZE, DecodingOptions, Recognition
from api.inference.fake import FakeRecognizer, fake_inference
from api.inference.triton import TritonInference
from api.local import up
from api.local.supervisor import Child
from api.recognition.activity import SpeechWindow
from tests.conftest import Clip
from tests.running import start_fake_service, stop_fake_service
from tests.servers import free_ports
from tests.test_bad_input import until, upload_head
from tests.test_memory import write_tones
from tests.test_pipeline import service, transcribe

MIB = 1024**2
PATIENCE_S = 0.4


@dataclass
class DyingTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Keeps a call waiting and then goes away with it; it is back after `outages` of that."""

    outages: int
    wait_s: float = 0.0
    status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "Socket closed"

    async def ModelInfer(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802
        if self.outages > 0:
            self.outages -= 1
            await asyncio.sleep(self.wait_s)
            await context.abort(self.status, self.message)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, size in (("PROBABILITIES", 1), ("NEXT_STATE", ACTIVITY_STATE_SIZE)):
            answer.outputs.add(name=name, datatype="FP32", shape=[1, size])
            answer.raw_output_contents.append(bytes(4 * size))
        return answer


def detect(triton: DyingTriton) -> float:
    """How long a call takes in all."""

    async def call() -> float:
        (port,) = free_ports(1)
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        inference = TritonInference(f"127.0.0.1:{port}", patience_s=PATIENCE_S, timeout_s=30, max_windows=1)
        started = time.monotonic()
        try:
            await inference.inference.voice_activity.detect(
                np.zeros(ACTIVITY_FRAME_SAMPLES, dtype=np.int16), np.zeros(ACTIVITY_STATE_SIZE, dtype=np.float32)
            )
            return time.monotonic() - started
        finally:
            await inference.close()
            await server.stop(None)

    return asyncio.run(call())


def test_a_call_that_waited_long_for_a_triton_that_dies_has_all_its_patience_left() -> None:
    assert detect(DyingTriton(outages=2, wait_s=2 * PATIENCE_S)) > 4 * PATIENCE_S


def test_patience_ends() -> None:
    with pytest.raises(InferenceUnavailable):
        detect(DyingTriton(outages=1000))


def test_shared_memory_that_is_full_is_waited_for() -> None:
    message = "Failed to increase the shared memory pool size for key 'x' to 3145728 bytes. No space left on device"
    detect(DyingTriton(1, status=grpc.StatusCode.INTERNAL, message=message))
    with pytest.raises(InferenceUnavailable):
        detect(DyingTriton(1000, status=grpc.StatusCode.INTERNAL, message=message))


@dataclass
class Failing(FakeRecognizer):
    """Is gone after so many windows, or as soon as it is asked for a language alone."""

    heard_windows: int = 0

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        if options.task == "identify" or len(self.calls) >= self.heard_windows:
            raise InferenceUnavailable("It is away.", 1)
        return await super().recognize(model, pcm, options)


@pytest.mark.parametrize("heard_windows", [1, 1000])
def test_a_failed_request_lets_go_of_its_audio_at_once(tmp_path: Path, heard_windows: int) -> None:
    """Not when the garbage collector comes by: until then an outage could fill the memory."""
    write_tones(tmp_path / "tones.flac", minutes=2)
    with service(fake_inference(Failing(heard_windows=heard_windows))) as client:
        gc.disable()
        try:
            kept = []
            for _ in range(4):
                assert transcribe(client, tmp_path / "tones.flac", languages="en,es").status_code == 503
                kept.append(sum(type(thing) is SpeechWindow for thing in gc.get_objects()))
        finally:
            gc.enable()
    assert kept[3] <= kept[0]


def test_an_upload_without_room_is_507_and_takes_none_from_the_others(clips: list[Clip], tmp_path: Path) -> None:
    """A limit on the size of files fails a write in the middle, as a full disk does, and needs no disk to fill."""
    api = start_fake_service(tmp_path)
    api.process.rlimit(psutil.RLIMIT_FSIZE, (MIB, psutil.RLIM_INFINITY))
    small = clips[0].path.read_bytes()

    def send(_: int) -> int:
        return httpx.post(f"{api.url}/v1/transcribe", files={"file": small}, timeout=60).status_code

    try:
        with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0)) as slow:
            slow.sendall(upload_head(4 * MIB) + bytes(MIB // 2))
            until(lambda: api.leftovers() != [])
            slow.sendall(bytes(2 * MIB))
            until(lambda: api.leftovers() == [])  # long before its client has sent all
            with ThreadPoolExecutor(4) as threads:
                assert list(threads.map(send, range(4))) == [200] * 4
            slow.sendall(bytes(3 * MIB // 2) + b"\r\n--B--\r\n")
            refusal, body = answer_on(slow)
            assert (refusal.status, refusal.headers["Retry-After"]) == (507, "60")
            assert body == {"error": "There is no room to store the upload right now. Try again later."}
            slow.sendall(upload_head(len(small)) + small + b"\r\n--B--\r\n")
            assert answer_on(slow)[0].status == 200  # the connection is as good as before
        api.assert_nothing_left()
    finally:
        stop_fake_service(api)


def answer_on(connection: socket.socket) -> tuple[HTTPResponse, Any]:
    answer = HTTPResponse(connection)
    answer.begin()
    return answer, json.loads(answer.read())


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_too_full_for_a_new_file_is_507(reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise OSError(reason, os.strerror(reason), "/some/folder")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    (tmp_path / "recording").write_bytes(b"any")
    with service(fake_inference()) as client:
        answer = transcribe(client, tmp_path / "recording")
    assert (answer.status_code, answer.headers["Retry-After"]) == (507, "60")
    assert "/some/folder" not in answer.text


def test_a_program_runs_on_without_its_log(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, so that nothing can be made below it")

    async def run_twice() -> list[str]:
        said: list[str] = []
        ended = asyncio.Semaphore(0)

        def report(line: str) -> None:
            said.append(line)
            if "ended (exit status 3)" in line:
                ended.release()

        child = Child("it", ["sh", "-c", "exit 3"], os.environ, tmp_path / "logs" / "it.log", report)
        watching = asyncio.create_task(child.keep_running())
        try:
            async with asyncio.timeout(10):
                await ended.acquire()
                await ended.acquire()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return said

    assert "it writes no log" in asyncio.run(run_twice())[0]


def test_output_to_a_full_disk_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    up._say("tritone ready")
    with pytest.raises(OSError, match="No space left"):
        full.close()
