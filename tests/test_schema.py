"""The description at /schema is true: a fuzzer that reads it finds no answer that it does not describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.business import customer, serving, speech

# What a schema cannot say: that a recording must be one, that a time must be in the future.
CHECKS = ["--checks=all", "--exclude-checks=positive_data_acceptance"]
EXAMPLES = 15
# Those that it expects by itself, and of a body that is wrong and too large, that it is too large.
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]


def test_a_fuzzer_finds_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with serving("sqlite", spool, request) as service, customer(service, "house").open() as anna:
        id_ = anna.transcribe(speech(3)).headers["X-Transcript-Id"]
        url = "/api/v1/transcripts/{transcript_id}"
        config = tmp_path / "schemathesis.toml"
        config.write_text(
            f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n\n"
            + "".join(
                f'[[operations]]\ninclude-name = "{operation}"\nparameters = {{ "path.transcript_id" = "{id_}" }}\n\n'
                for operation in (
                    *(f"GET {url}", f"PATCH {url}", f"GET {url}/export/{{file_format}}"),
                    *(f"POST {url}/{what}" for what in ("chat", "analyze", "generate")),
                )
            )
        )
        fuzzed = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), f"--config-file={config}", "run"),
                f"{service.url}/schema/openapi.json",
                f"--header=Authorization: Bearer {anna.key}",
                *CHECKS,
                f"--max-examples={EXAMPLES}",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert fuzzed.returncode == 0, fuzzed.stdout[-10_000:]
        unreached = fuzzed.stdout.partition("Missing test data")[2].partition("💡")[0]
        assert f"GET {url}" not in unreached, "the transcript was there to be found"
        service.assert_nothing_left()
