"""The load's users against services that answer rightly, wrongly or not at all: what they count, what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from api.storage.database import Database
from api.storage.tables import transcripts
from bench.load import outcomes
from bench.load.report import BEGIN, END
from bench.versions import version_of
from tests.business import customer, speech, until, with_database
from tests.running import PROJECT, FakeService, start_fake_service, stop_fake_service

LOCUSTFILE = PROJECT / "bench" / "load" / "locustfile.py"
PLANS = """
[house]
max_file_mb = 100
concurrency = 1000
requests_per_minute = 100000
text.default = { requests_per_minute = 100000 }

[few]
max_file_mb = 100
concurrency = 1000
requests_per_minute = 100000
text.default = { requests_per_minute = 100000 }
text.embed = { requests_per_minute = 3 }
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the fakes hear them: a word for each second."""
    folder = tmp_path_factory.mktemp("recordings")
    references: list[dict[str, Any]] = []
    for seconds in (1, 2, 12):
        (folder / f"{seconds}.wav").write_bytes(speech(seconds))
        references.append({"file": f"{seconds}.wav", "text": " ".join(["tone"] * seconds)})
    references[1] |= {"word_starts": [0, 1], "word_ends": [0.5, 1.2]}
    (folder / "references.json").write_text(json.dumps(references))
    return folder


@contextmanager
def service(folder: Path, **fakes: str) -> Iterator[FakeService]:
    (folder / "spool").mkdir()
    (folder / "plans.toml").write_text(PLANS)
    running = start_fake_service(folder / "spool", fakes=fakes, plans=folder / "plans.toml")
    try:
        yield running
    finally:
        stop_fake_service(running)


def key(running: FakeService, plan: str) -> str:
    with customer(running, plan).open() as made:
        return made.key


async def count_transcripts(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(sa.select(sa.func.count()).select_from(transcripts))).scalar_one())


def locust(host: str, key_: str, recordings: Path, file: Path, users: Mapping[str, int]) -> list[outcomes.Outcome]:
    """What became of three seconds of load."""
    count = str(sum(users.values()))
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", host, "--loglevel", "ERROR"),
        *("--users", count, "--spawn-rate", count, "--run-time", "3s", "--stop-timeout", "20"),
        *("--recordings", str(recordings), "--outcomes", str(file), "--config-users"),
        *(json.dumps({"user_class_name": name, "fixed_count": number}) for name, number in users.items()),
    ]
    environment = {**os.environ, "TRITONE_KEY": key_}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert file.exists(), ended.stderr
    return outcomes.read(file)


def test_the_users_count_what_the_service_did(tmp_path: Path, recordings: Path) -> None:
    with service(tmp_path) as running:
        users = {"Uploads": 3, "Texts": 2, "Live": 1}
        told = locust(running.url, key(running, "house"), recordings, tmp_path / "told", users)
        stored = with_database(running, count_transcripts)
    requests = list(outcomes.of_requests(told))
    assert {(one.what, one.problem) for one in requests} == {("right", "")}
    assert {one.kind for one in requests} >= {"clip", "clip, speakers", "text: embed", "live: session"}
    assert sum(one.audio_s > 0 for one in requests) == stored
    assert {one.kind for one in told} - {one.kind for one in requests} == set(outcomes.NO_REQUESTS)


def test_a_wrong_answer_is_a_failure_and_who_is_turned_away_waits(tmp_path: Path, recordings: Path) -> None:
    users = {"Uploads": 1, "Texts": 30, "Live": 1}
    with service(tmp_path, FAKE_HEARD="noise", FAKE_AWAY="translator") as running:
        told = locust(running.url, key(running, "few"), recordings, tmp_path / "told", users)
    became: dict[str, Counter[str]] = {}
    for one in outcomes.of_requests(told):
        became.setdefault(one.kind.split(",")[0].removeprefix("longer "), Counter())[one.what] += 1
    for kind in ("clip", "live: session"):
        assert became[kind].keys() == {"wrong"}
    assert all("'noise" in one.problem and "'tone" in one.problem for one in told if one.what == "wrong")
    assert became["text: embed"]["right"] == 3
    assert became["text: embed"]["limited"] > 0
    assert became["text: translate"].keys() == {"shed"}
    # Each was told to wait for longer than all this took, so none asked twice.
    assert became["text: embed"]["limited"] + became["text: translate"]["shed"] <= users["Texts"]


def test_a_measurement_is_written_into_its_section(tmp_path: Path, recordings: Path) -> None:
    document, results = tmp_path / "performance.md", tmp_path / "results.json"
    document.write_text(f"# Before\n\n{BEGIN}\n\nwhat was measured before\n\n{END}\n\n## After\n")
    with service(tmp_path) as running:
        command = [
            *(sys.executable, "-m", "bench.load", "--url", running.url, "--metrics", f"{running.url}/metrics"),
            *("--users", "4", "--files", "1", "--sessions", "1", "--step-s", "5", "--recordings", str(recordings)),
            *("--document", str(document), "--plots", str(tmp_path / "plots"), "--results", str(results)),
        ]
        environment = {**os.environ, "TRITONE_KEY": key(running, "house")}
        ended = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    text = document.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n\n![")
    assert text.endswith(f"|\n\n{END}\n\n## After\n")
    assert "what was measured before" not in text
    pictures = sorted((tmp_path / "plots").iterdir())
    assert len(pictures) == text.count("](plots/") == 4
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    (mix,), (beside,) = (json.loads(results.read_text())[part] for part in ("mix", "beside"))
    assert (mix["users"], beside["users"]) == (
        {"Uploads": 2, "Texts": 1, "Live": 1},
        {"Uploads": 1, "Texts": 0, "Live": 1},
    )
    assert mix["latencies"].keys() >= {"clips", "texts", outcomes.WORD_TO_PARTIAL}
    assert "texts" not in beside["latencies"]
    for level in (mix, beside):
        assert level["right"] > 0
        assert level["wrong"] == level["shed"] == level["limited"] == 0
        assert level["requests_per_s"] > 0


def test_a_file_of_mixed_versions_is_seen() -> None:
    assert [version_of(text) for text in ("I know one.", "I KNOW ONE.", "I know ONE.")] == ["1", "2", None]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, recordings: Path) -> None:
    with service(tmp_path) as running:
        command = [sys.executable, "-m", "bench.load", "--url", running.url, "--metrics", f"{running.url}/metrics"]
        command += ["--recordings", str(recordings), "--print-only", "--step-s", "300"]
        process = psutil.Popen(command, cwd=PROJECT, env={**os.environ, "TRITONE_KEY": key(running, "house")})
        until(lambda: with_database(running, count_transcripts) > 0, 120)
        below = process.children(recursive=True)
        assert below
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        until(lambda: not any(child.is_running() for child in below))
