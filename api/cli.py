"""The command-line program `tritone`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from api import __version__
from api.cli_admin import add_admin_commands
from api.cli_models import add_model_commands
from api.errors import TritoneError
from api.formats import FORMATS
from api.settings import Settings, SettingsError, from_env

if TYPE_CHECKING:
    import httpx  # at run time only where it is used: `serve` keeps it out of its memory

EXPORTERS = {
    "whisper": "a Whisper checkpoint, from a hub or a folder",
    "voice_activity": "Silero VAD",
    "text_embedding": "a sentence encoder, from a hub or a folder",
    "language_model": "a chat model, from a hub or a folder",
    "voice_cloner": "F5-TTS and its vocoder, from a hub or folders",
    "translator": "a MADLAD-400 or another T5 that translates, from a hub or a folder",
    "speech_enhancer": "DeepFilterNet3",
    "demo": "the demo models",
}


class CliError(Exception):
    """What the person at the terminal should read instead of a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.run is _export:
        arguments.rest = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return int(arguments.run(arguments))
    except (CliError, SettingsError, TritoneError) as error:
        print(f"tritone: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone", description="Speech-to-text in your own house.")
    parser.add_argument("--version", action="version", version=f"tritone {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start Triton with the demo models and the API on this machine")
    up.set_defaults(run=_up)

    serve = commands.add_parser("serve", help="start the API alone, in front of the Triton at TRITON_URL")
    serve.set_defaults(run=_serve)

    transcribe = commands.add_parser("transcribe", help="send recordings to a running service and print what was said")
    transcribe.add_argument("files", nargs="+", metavar="FILE", type=Path)
    _add_service(transcribe)
    transcribe.add_argument("--model", default="large-v3-turbo", help="default: %(default)s")
    transcribe.add_argument("--language", default="auto", help="default: %(default)s")
    transcribe.add_argument("--keywords", default="", help="terms that may be said, as in Acme:5,XYZ Pharma:8,off-side")
    transcribe.add_argument("--format", choices=tuple(FORMATS), default="txt", help="default: %(default)s")
    transcribe.set_defaults(run=_transcribe)

    stream = commands.add_parser("stream", help="play a recording into a live session and print what is understood")
    stream.add_argument("source", metavar="FILE", help="audio or video, or - for standard input")
    _add_service(stream)
    stream.add_argument("--model", default="large-v3-turbo", help="default: %(default)s")
    stream.add_argument("--language", default="auto", help="default: %(default)s")
    stream.add_argument("--diarize", action="store_true", help="name the speakers")
    stream.set_defaults(run=_stream)

    migrate = commands.add_parser("migrate", help="bring the database's tables to this version")
    migrate.set_defaults(run=_migrate)
    add_admin_commands(commands)
    add_model_commands(commands)

    export = commands.add_parser("export", help="make a deployable model version from a checkpoint")
    kinds = export.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, what in EXPORTERS.items():
        # The exporter has arguments and a --help of its own.
        kinds.add_parser(kind, help=what, add_help=False).set_defaults(run=_export)
    return parser


def _add_service(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", default=_default_url(), help="default: %(default)s")
    command.add_argument("--key", help="an API key; default: TRITONE_KEY, or of a service on this machine its demo key")


def _default_url() -> str:
    return os.environ.get("TRITONE_URL") or f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"


def _key(arguments: argparse.Namespace) -> str | None:
    """Without one that is given, the one that `tritone up` keeps where it runs, for the service there alone."""
    given: str | None = arguments.key or os.environ.get("TRITONE_KEY")
    kept = Path(os.environ.get("TRITONE_HOME", ".tritone")) / "demo.key"
    if given or "TRITONE_URL" in os.environ or arguments.url != _default_url() or not kept.exists():
        return given
    return kept.read_text().strip() or None


def _up(_: argparse.Namespace) -> int:
    from api.local import up
    from api.local.triton_server import TritonNotRunnable

    options = up.UpOptions(
        home=Path(os.environ.get("TRITONE_HOME", ".tritone")),
        triton_grpc_port=_port("TRITON_GRPC_PORT", "8001"),
        triton_metrics_port=_port("TRITON_METRICS_PORT", "8002"),
    )
    try:
        up.run(from_env(), options)
    except (up.UpError, TritonNotRunnable, OSError) as error:
        raise CliError(str(error)) from error
    return 0


def _port(variable: str, default: str) -> int:
    value = os.environ.get(variable, default)
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise CliError(f"{variable}={value!r}: a port is a number from 1 to 65535.")
    return int(value)


def _serve(_: argparse.Namespace) -> int:
    import asyncio

    from api.app import create_app
    from api.server import serve
    from api.storage.database import Database, database_url

    async def check() -> None:
        database = Database(database_url(settings.database_url, settings.home))
        try:
            await database.check()
        finally:
            await database.close()

    settings: Settings = from_env()
    if not settings.database_url:
        # The file is ours alone. In a process of its own, because what migrates is not needed to serve.
        migrated = subprocess.run([sys.executable, "-P", "-m", "api.cli", "migrate"], check=False)
        if migrated.returncode != 0:
            return migrated.returncode
    app = create_app(settings)
    asyncio.run(check())
    serve(app, settings)
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from api.storage.database import database_url
    from api.storage.migrate import migrate

    settings = from_env()
    migrate(database_url(settings.database_url, settings.home))
    return 0


def _transcribe(arguments: argparse.Namespace) -> int:
    import httpx

    failed = 0
    key = _key(arguments)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(30, read=None, write=None)
    with httpx.Client(base_url=arguments.url, headers=headers, timeout=timeout) as client:
        for file in arguments.files:
            try:
                with file.open("rb") as recording:
                    answer = client.post(
                        "/v1/transcribe",
                        files={"file": (file.name, recording)},
                        data={
                            "model": arguments.model,
                            "language": arguments.language,
                            "keywords": arguments.keywords,
                            "response_format": arguments.format,
                        },
                    )
            except OSError as error:
                print(f"tritone: {file}: {error.strerror}", file=sys.stderr)
                failed += 1
                continue
            except httpx.TransportError as error:
                raise CliError(
                    f"No service answers at {arguments.url} ({error}). Start one with `tritone up`."
                ) from error
            if answer.is_success:
                sys.stdout.write(answer.text if answer.text.endswith("\n") else answer.text + "\n")
            else:
                print(f"tritone: {file}: {_error(answer)}", file=sys.stderr)
                failed += 1
    return 1 if failed else 0


def _stream(arguments: argparse.Namespace) -> int:
    import asyncio

    from api.live_client import StreamError, stream

    config = {"model": arguments.model, "language": arguments.language, "diarize": str(arguments.diarize).lower()}
    try:
        asyncio.run(stream(arguments.source, arguments.url, config, _key(arguments)))
    except StreamError as error:
        raise CliError(str(error)) from error
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise CliError(f"What was heard could not be written: {error.strerror}.") from error
    return 0


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def _export(arguments: argparse.Namespace) -> int:
    from importlib import import_module

    try:
        artifact = import_module("export_scripts.artifact")
        exporter = import_module(f"export_scripts.{arguments.kind}")
    except ModuleNotFoundError as error:
        raise CliError(f"Exporting needs the package {error.name}: pip install 'tritone[export]'.") from error
    try:
        exporter.main(arguments.rest)
    except artifact.ExportError as error:
        raise CliError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
