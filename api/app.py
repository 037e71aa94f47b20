"""The application, wired together: the only place that chooses implementations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from api.allocator import return_large_arrays
from api.errors import TritoneError
from api.http.errors import http_exception, tritone_error, unexpected_error
from api.http.health import HealthController
from api.http.models import ModelsController
from api.http.openapi import assets_router, openapi_config
from api.http.stream import no_stream, stream
from api.http.stream_client import ClientLimits
from api.http.transcribe import TranscribeController
from api.http.upload import UploadLimits
from api.inference.base import Inference
from api.inference.triton import TritonInference
from api.recognition.catalog import ModelCatalog
from api.recognition.media import DecoderLimits
from api.recognition.pipeline import Transcriber
from api.settings import Settings
from api.streaming.live import LiveTranscriber
from api.streaming.options import StreamBounds

PROVIDED = ("inference", "catalog", "transcriber", "upload_limits", "live", "client_limits")


def create_app(settings: Settings, inference: Inference | None = None) -> Litestar:
    """The service over `inference`, which is Triton where none is given."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        return_large_arrays()
        triton = None
        chosen = inference
        if chosen is None:
            triton = TritonInference(
                settings.triton_url,
                patience_s=settings.triton_patience_s,
                timeout_s=settings.triton_timeout_s,
                max_windows=settings.max_windows,
            )
            chosen = triton.inference()
        app.state.inference = chosen
        app.state.catalog = ModelCatalog(chosen.registry, settings.model_aliases)
        app.state.transcriber = Transcriber(
            chosen,
            DecoderLimits(settings.max_audio_s, settings.decoder_cpu_s, settings.decoder_memory_bytes),
            max_decoders=settings.max_decoders,
            windows_in_flight=settings.windows_in_flight,
            beam_size=settings.beam_size,
        )
        app.state.live = LiveTranscriber(
            chosen,
            StreamBounds(settings.stream_buffer_s, settings.max_stream_s),
            max_streams=settings.max_streams,
            beam_size=settings.beam_size,
        )
        app.state.client_limits = ClientLimits(
            settings.max_frame_bytes, settings.stream_idle_timeout_s, settings.max_stream_s
        )
        app.state.upload_limits = UploadLimits(
            settings.max_upload_bytes, settings.upload_idle_timeout_s, settings.upload_timeout_s, settings.spool_dir
        )
        yield
        if triton is not None:
            await triton.close()

    return MsgspecLitestar(
        route_handlers=[TranscribeController, stream, no_stream, ModelsController, HealthController, assets_router()],
        lifespan=[lifespan],
        dependencies={name: _from_state(name) for name in PROVIDED},
        exception_handlers={
            TritoneError: tritone_error,
            HTTPException: http_exception,
            Exception: unexpected_error,
        },
        openapi_config=openapi_config(),
    )


class MsgspecLitestar(Litestar):
    """Litestar without the plugins for Pydantic and attrs: our bodies are msgspec structs, and those cost 10 MB."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def _from_state(name: str) -> Provide:
    """Hand a handler's parameter of this name what the lifespan put into the state under it."""

    def provide(state: State) -> Any:
        return state[name]

    return Provide(provide, sync_to_thread=False)
