"""The application, wired together: the only place that chooses implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders, State
from litestar.di import Provide
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope

from api.accounts.callers import Caller
from api.accounts.keys import load_secret
from api.accounts.limits import Limiter, LocalLimiter
from api.accounts.plans import load_plans
from api.accounts.reception import Reception
from api.allocator import return_large_arrays
from api.audio.enhance import Enhancer
from api.audio.media import DecoderLimits
from api.audio.speech import SpeechSynthesizer
from api.compat.sixtydb.errors import SixtyDbDialect
from api.compat.sixtydb.routes import SttController
from api.compat.sixtydb.socket import no_socket, stt_socket
from api.formats.render import Renderer
from api.http.account import AccountController
from api.http.backends import Backend, Backends
from api.http.cloud import CloudController
from api.http.dialects import Dialects
from api.http.drain import Drain
from api.http.enhance import EnhanceController
from api.http.gate import Gate
from api.http.health import HealthController
from api.http.keys import KeysController
from api.http.metrics import metrics
from api.http.models import ModelsController
from api.http.observation import Observation
from api.http.openapi import assets_router, openapi_config
from api.http.speak import SpeakController
from api.http.stream import no_stream, stream
from api.http.stream_client import ClientLimits
from api.http.text import TextController
from api.http.transcribe import TranscribeController
from api.http.transcript_text import TranscriptTextController
from api.http.transcripts import TranscriptsController
from api.http.translate import TranslateController
from api.http.upload import UploadLimits
from api.http.usage import UsageController
from api.inference.addresses import parse_addresses
from api.inference.backlog import Admission
from api.inference.base import Inference, Using, VersionChoices, unwatched
from api.inference.deployments import Deployments
from api.inference.openai import OpenAiLanguageModel
from api.inference.triton import TritonInference
from api.intelligence.service import Intelligence, RemoteModel
from api.recognition.catalog import ModelCatalog
from api.recognition.languages import SwitchPolicy
from api.recognition.pipeline import Transcriber
from api.settings import Settings, SettingsError
from api.storage.database import Database, database_url
from api.streaming.live import LiveTranscriber
from api.streaming.options import StreamBounds
from api.telemetry import traces
from api.transcripts.housekeeping import Housekeeping
from api.transcripts.jobs import Jobs
from api.transcripts.meaning import Meaning
from api.translation.service import Translation
from api.versions.choices import StoredChoices
from api.versions.usage import VersionsInUse

PROVIDED = (
    *("drain", "database", "secret", "jobs", "meaning", "renderer", "backends"),
    *("upload_limits", "client_limits", "needs_consent", "snr_floor_db"),
)
OF_THE_BACKEND = (
    *("catalog", "transcriber", "live", "intelligence", "translation", "synthesizer", "enhancer", "admission"),
)
MAX_JSON_BYTES = 16 * 1024 * 1024


def create_app(settings: Settings, inference: Inference | None = None) -> Litestar:
    """The service over `inference`, which is Triton where none is given. Its database must have been migrated.

    Raises SettingsError, DatabaseError.
    """
    plans = load_plans(settings.plans)
    if settings.redis_url and not settings.redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError("REDIS_URL is no URL of a Redis: redis://HOST:PORT/NUMBER.")
    if settings.llm_url and not settings.llm_model:
        raise SettingsError("LLM_URL is set, and LLM_MODEL is not: what does that endpoint call the model?")
    parse_addresses(settings.triton_url)  # a wrong one is said now, not when it is first used
    url = database_url(settings.database_url, settings.home)
    secret = load_secret(settings.secret, url.database if url.get_backend_name() == "sqlite" else None)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        return_large_arrays()
        traces.start(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)
        state = app.state
        state.database = Database(url)
        state.secret = secret
        limiter = _limiter(settings)
        state.reception = Reception(state.database, limiter, plans, secret)
        state.jobs = Jobs(state.database, limiter, settings.lease_s)
        state.meaning = Meaning(state.database)
        state.renderer = Renderer()
        remote = _remote_model(settings)
        versions = VersionsInUse(state.database, settings.lease_s)
        state.backends = _backends(settings, inference, remote, StoredChoices(state.database), versions.using)
        state.needs_consent = settings.tts_consent
        state.snr_floor_db = settings.snr_floor_db
        state.client_limits = ClientLimits(
            settings.max_frame_bytes, settings.stream_idle_timeout_s, settings.max_stream_s
        )
        state.upload_limits = UploadLimits(
            settings.max_upload_bytes, settings.upload_idle_timeout_s, settings.upload_timeout_s, settings.spool_dir
        )
        housekeeping = Housekeeping(
            state.database, state.jobs, state.reception, plans,
            retention_days=settings.retention_days, renewals=(versions.renew,),
        )  # fmt: skip
        chores = [asyncio.create_task(chore) for chore in (housekeeping.run(), state.meaning.run())]
        try:
            yield
        finally:
            await state.jobs.given_up()
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await state.backends.close()
            if remote is not None:
                await remote.model.aclose()
            await limiter.close()
            await state.database.close()
            await asyncio.to_thread(traces.stop)

    dialects = Dialects(SixtyDbDialect())
    app = MsgspecLitestar(
        route_handlers=[
            TranscribeController,
            SttController,
            stt_socket,
            no_socket,
            stream,
            no_stream,
            ModelsController,
            HealthController,
            AccountController,
            KeysController,
            TranscriptsController,
            TextController,
            TranscriptTextController,
            TranslateController,
            SpeakController,
            EnhanceController,
            UsageController,
            CloudController,
            metrics,
            assets_router(),
        ],
        lifespan=[lifespan],
        dependencies={
            "caller": Provide(_caller, sync_to_thread=False),
            "backend": Provide(_backend, sync_to_thread=False),
            **{name: _from_state(name) for name in PROVIDED},
            **{name: _from_backend(name) for name in OF_THE_BACKEND},
        },
        exception_handlers=dialects.exception_handlers(),
        before_send=[_all_methods],
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=openapi_config(),
    )
    app.state.drain = Drain()
    gate = Gate(app.asgi_handler, lambda: app.state.reception, dialects)
    app.asgi_handler = Observation(gate, (route.path for route in app.routes))
    return app


def _limiter(settings: Settings) -> Limiter:
    if settings.redis_url:
        from api.accounts.shared_limits import RedisLimiter, SharedLimiter  # 7 MB, where there is a Redis

        return SharedLimiter(RedisLimiter(settings.redis_url, settings.lease_s))
    return LocalLimiter(settings.lease_s)


def _remote_model(settings: Settings) -> RemoteModel | None:
    if not settings.llm_url:
        return None
    model = OpenAiLanguageModel(
        settings.llm_url, settings.llm_model, api_key=settings.llm_api_key, timeout_s=settings.triton_timeout_s
    )
    return RemoteModel(settings.llm_model.rpartition("/")[2].lower(), settings.llm_context_tokens, model)


def _backends(
    settings: Settings,
    inference: Inference | None,
    remote: RemoteModel | None,
    choices: VersionChoices,
    using: Using,
) -> Backends:
    """The `remote` language model is for accounts without Tritons of their own: words of others go nowhere else.
    `choices` and `using` are about the versions of the shared Tritons, too: private ones are somebody else's to change.
    """
    # What this process can do at the same time, for whichever Triton it is.
    decoders = asyncio.Semaphore(settings.max_decoders)
    limits = DecoderLimits(settings.max_audio_s, settings.decoder_cpu_s, settings.decoder_memory_bytes)
    switches = SwitchPolicy(settings.language_switch_probability, settings.language_switch_s)

    def backend(
        inference: Inference,
        triton: TritonInference | None = None,
        remote: RemoteModel | None = None,
        using: Using = unwatched,
    ) -> Backend:
        deployments = Deployments(inference.registry)
        return Backend(
            inference,
            ModelCatalog(deployments, settings.model_aliases),
            Transcriber(
                inference,
                limits,
                decoders=decoders,
                windows_in_flight=settings.windows_in_flight,
                beam_size=settings.beam_size,
                switches=switches,
                using=using,
            ),
            LiveTranscriber(
                inference,
                StreamBounds(settings.stream_buffer_s, settings.max_stream_s),
                max_streams=settings.max_streams,
                beam_size=settings.beam_size,
                switches=switches,
                using=using,
            ),
            Intelligence(inference, deployments, remote),
            Translation(inference, deployments),
            SpeechSynthesizer(
                inference.cloner,
                deployments,
                limits,
                decoders=decoders,
                pieces_in_flight=settings.windows_in_flight,
            ),
            Enhancer(
                inference.enhancer,
                deployments,
                replace(limits, audio_s=min(settings.max_enhanced_s, settings.max_audio_s)),
                decoders=decoders,
                spool_dir=settings.spool_dir,
            ),
            Admission(max_recordings=settings.max_recordings, max_texts=settings.max_texts),
            triton,
        )

    def connect(url: str, remote: RemoteModel | None = None, *, private: bool = True) -> Backend:
        triton = TritonInference(
            url,
            private=private,
            choices=None if private else choices,
            patience_s=settings.triton_patience_s,
            timeout_s=settings.triton_timeout_s,
            max_windows=settings.max_windows,
        )
        return backend(triton.inference, triton, remote, unwatched if private else using)

    if inference is not None:
        return Backends(backend(inference, None, remote, using), connect)
    return Backends(connect(settings.triton_url, remote, private=False), connect)


class MsgspecLitestar(Litestar):
    """Litestar without the plugins for Pydantic and attrs: our bodies are msgspec structs, and those cost 10 MB."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


async def _all_methods(message: Message, scope: Scope) -> None:
    """Litestar's own answer to OPTIONS names only the methods of the handler that was registered first."""
    if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS":
        methods = {
            method
            for route in scope["litestar_app"].routes
            if isinstance(route, HTTPRoute) and route.path_format == scope.get("path_template")
            for method in route.methods
        }
        if methods:
            MutableScopeHeaders.from_message(message)["Allow"] = ", ".join(sorted(methods))


def _caller(scope: Scope) -> Caller:
    caller: Caller = scope["state"]["caller"]
    return caller


def _backend(state: State, caller: Caller) -> Backend:
    backends: Backends = state.backends
    return backends.of(caller)


def _from_state(name: str) -> Provide:
    """Hand a handler's parameter of this name what the lifespan put into the state under it."""

    def provide(state: State) -> Any:
        return state[name]

    return Provide(provide, sync_to_thread=False)


def _from_backend(name: str) -> Provide:
    def provide(backend: Backend) -> Any:
        return getattr(backend, name)

    return Provide(provide, sync_to_thread=False)
