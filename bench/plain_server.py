"""What one would write first: an ASGI server that calls faster-whisper for each request in a thread.

    .venv/bin/python -m bench.plain_server WEIGHTS PORT

One thread per transcription and as many at a time as the machine has cores, which is the fastest it gets.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import uvicorn
from faster_whisper import WhisperModel
from litestar import Litestar, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

CORES = os.cpu_count() or 1


def app(weights: str) -> Litestar:
    model = WhisperModel(weights, device="auto", compute_type="default", cpu_threads=1, num_workers=CORES)
    workers = ThreadPoolExecutor(CORES)

    def transcribe(path: str) -> str:
        segments, _ = model.transcribe(path, word_timestamps=True, vad_filter=True, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)

    @post("/v1/transcribe", status_code=200)
    async def handle(
        data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)],
    ) -> dict[str, str]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(await data["file"].read())
            file.flush()
            return {"text": await asyncio.get_running_loop().run_in_executor(workers, transcribe, file.name)}

    return Litestar([handle], request_max_body_size=None)


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
