"""The command-line program `tritone`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from api.formats import FORMATS
from api.settings import Settings, SettingsError, from_env

DEFAULT_URL = "http://127.0.0.1:8000"


class CliError(Exception):
    """What the person at the terminal should read instead of a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (CliError, SettingsError) as error:
        print(f"tritone: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone", description="Speech-to-text in your own house.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start Triton with the demo models and the API on this machine")
    up.set_defaults(run=_up)

    serve = commands.add_parser("serve", help="start the API alone, in front of the Triton at TRITON_URL")
    serve.set_defaults(run=_serve)

    transcribe = commands.add_parser("transcribe", help="send recordings to a running service and print what was said")
    transcribe.add_argument("files", nargs="+", metavar="FILE", type=Path)
    transcribe.add_argument("--url", default=os.environ.get("TRITONE_URL", DEFAULT_URL), help="default: %(default)s")
    transcribe.add_argument("--model", default="large-v3-turbo", help="default: %(default)s")
    transcribe.add_argument("--language", default="auto", help="default: %(default)s")
    transcribe.add_argument("--format", choices=tuple(FORMATS), default="txt", help="default: %(default)s")
    transcribe.set_defaults(run=_transcribe)

    export = commands.add_parser("export", help="make a deployable model version from a checkpoint", add_help=False)
    export.add_argument("kind", nargs="?", metavar="KIND", help="whisper, voice_activity or demo")
    export.add_argument("rest", nargs=argparse.REMAINDER)
    export.set_defaults(run=_export)
    return parser


def _up(_: argparse.Namespace) -> int:
    from api.local import up
    from api.local.triton_server import TritonNotRunnable

    options = up.UpOptions(
        home=Path(os.environ.get("TRITONE_HOME", ".tritone")),
        triton_grpc_port=int(os.environ.get("TRITON_GRPC_PORT", "8001")),
        triton_metrics_port=int(os.environ.get("TRITON_METRICS_PORT", "8002")),
    )
    try:
        up.run(from_env(), options)
    except (up.UpError, TritonNotRunnable) as error:
        raise CliError(str(error)) from error
    return 0


def _serve(_: argparse.Namespace) -> int:
    import uvicorn

    from api.app import create_app

    settings: Settings = from_env()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="h11",  # unlike httptools, it bounds the size of headers
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=10,
    )
    return 0


def _transcribe(arguments: argparse.Namespace) -> int:
    import httpx

    failed = 0
    with httpx.Client(base_url=arguments.url, timeout=httpx.Timeout(30, read=None, write=None)) as client:
        for file in arguments.files:
            try:
                with file.open("rb") as recording:
                    answer = client.post(
                        "/v1/transcribe",
                        files={"file": (file.name, recording)},
                        data={
                            "model": arguments.model,
                            "language": arguments.language,
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


def _error(answer: object) -> str:
    import httpx

    assert isinstance(answer, httpx.Response)
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def _export(arguments: argparse.Namespace) -> int:
    from importlib import import_module

    kinds = ("whisper", "voice_activity", "demo")
    if arguments.kind not in kinds:
        print(f"usage: tritone export {{{','.join(kinds)}}} … (--help after a kind tells its options)")
        return 0 if arguments.kind in (None, "-h", "--help") else 2
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
