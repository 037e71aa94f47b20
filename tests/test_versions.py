"""Versions of a model follow each other while clients transcribe, and what goes wrong with one harms nobody."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import pytest
import soundfile
import sqlalchemy as sa
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from websockets.sync.client import connect

from api import cli
from api.storage.database import database_url
from api.storage.ids import new_id
from api.storage.migrate import migrate
from api.storage.tables import model_choices, model_leases, model_locks
from export_scripts import voice_activity, whisper
from tests.buckets import bucket_with, s3_server  # noqa: F401 (a fixture)
from tests.business import customer, until
from tests.running import PROJECT, FakeService, start_fake_service, stop_fake_service
from tests.served import Served, Triton, served
from tests.servers import free_ports

MODEL = "whisper-demo"
LEASE_S = 15.0  # on a machine that is busy, a command that is killed is noticed before it runs out
CHECKPOINT = PROJECT / "export_scripts" / "demo" / "whisper" / "checkpoint"
CLIP = PROJECT / "examples" / "meeting.flac"
SAYS = {"1": "budget", "2": "pocket"}
"""The word that only this version writes."""


def that_says(pocket: str, budget: str, tokenizer: dict[str, Any]) -> dict[str, Any]:
    """One word is written as another."""
    model, token = tokenizer["model"], f"Ġ{budget}"
    model["vocab"] = {f"Ġ{pocket}" if key == token else key: id_ for key, id_ in model["vocab"].items()}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) != token]
    return tokenizer


def export(repository: Path, checkpoint: Path, version: int, *options: str) -> None:
    whisper.main(
        [
            *("--checkpoint", str(checkpoint), "--name", MODEL, "--version", str(version), "--to", str(repository)),
            *("--instances", "2", "--without-prompts", *options),
        ]
    )


def resealed(folder: Path, **contents: bytes) -> None:
    """Files by their names with _ for /, as if they had been exported so."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        manifest["sha256"][name], manifest["bytes"][name] = hashlib.sha256(content).hexdigest(), len(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def copied(repository: Path, version: int) -> Path:
    """Version 1 under another number."""
    folder = repository / MODEL / str(version)
    shutil.copytree(folder.parent / "1", folder)
    return folder


@dataclass
class Deployed:
    """A Triton that serves version 1, an API in front of it, and a repository with more versions."""

    triton: Served
    api: FakeService
    repository: Path
    place: str
    """Where the commands look for it,"""
    environment: dict[str, str]
    """and with what."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "api.cli", "models", "--repository", self.place, *arguments]
        return subprocess.Popen(
            command, cwd=PROJECT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def models(self, *arguments: str) -> str:
        """What it prints."""
        status, out, err = self._run(*arguments)
        assert (status, err) == (0, "")
        return out

    def warned(self, *arguments: str) -> str:
        """Of what, though it was done."""
        status, _, err = self._run(*arguments)
        assert status == 0, err
        return err

    def refused(self, *arguments: str) -> str:
        """Why."""
        status, out, err = self._run(*arguments)
        assert (status, out) == (1, "")
        return err

    def _run(self, *arguments: str) -> tuple[int, str, str]:
        """In this process, which is spared to load everything each time."""
        with patch.dict(os.environ, self.environment), io.StringIO() as out, io.StringIO() as err:
            with redirect_stdout(out), redirect_stderr(err):
                status = cli.main(["models", "--repository", self.place, *arguments])
            return status, out.getvalue(), err.getvalue()

    @property
    def config(self) -> str:
        return (self.repository / MODEL / "config.pbtxt").read_text()

    def states(self) -> dict[int, str]:
        """Of the versions, as `list` says."""
        lines = self.models("list").partition(f"{MODEL}\n")[2].splitlines()
        of_model = itertools.takewhile(lambda line: line.startswith("  "), lines)
        return {int(number): state for number, state in (line.split(maxsplit=1) for line in of_model)}

    def state_in_triton(self, version: int) -> str:
        with InferenceServerClient(self.triton.address) as client:
            entries = client.get_model_repository_index().models
            return next((str(one.state) for one in entries if (one.name, one.version) == (MODEL, str(version))), "")

    @property
    def database(self) -> sa.Engine:
        return sa.create_engine(database_url("", self.environment["TRITONE_HOME"]).set(drivername="sqlite"))

    def answered(self, version: str) -> int:
        """Windows, since the version was loaded."""
        with InferenceServerClient(self.triton.address) as client:
            (statistics,) = client.get_inference_statistics(MODEL, version).model_stats
            return int(statistics.inference_count)

    def version_now(self) -> str:
        answer = self.api.client.post(
            "/v1/transcribe", files={"file": CLIP.read_bytes()}, data={"model": "demo", "diarize": "false"}
        )
        assert answer.status_code == 200, answer.text
        version = str(answer.headers["X-Model-Version"])
        assert SAYS[version] in answer.text
        return version

    def serves(self, version: str) -> None:
        """Soon: what was chosen is looked up every few seconds."""
        until(lambda: self.version_now() == version)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    repository, other = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("other") / "checkpoint"
    voice_activity.main(["--to", str(repository)])
    export(repository, CHECKPOINT, 1, "--display-name", "One")
    with served(repository, MODEL, tmp_path_factory.mktemp("triton")) as triton:
        shutil.copytree(CHECKPOINT, other)
        tokenizer = json.loads((other / "tokenizer.json").read_text())
        (other / "tokenizer.json").write_text(json.dumps(that_says("pocket", "budget", tokenizer)))
        export(repository, other, 2, "--display-name", "Two")
        folder = tmp_path_factory.mktemp("spool")
        api = start_fake_service(folder, program=("api.cli", "serve"), triton_url=triton.address, lease_s=LEASE_S)
        try:
            yield Deployed(triton, api, repository, str(repository), api.environment)
        finally:
            stop_fake_service(api)


def test_a_deployment_that_is_broken_off_leaves_the_old_version(deployed: Deployed) -> None:
    for version in (21, 22):
        copied(deployed.repository, version)
    now = deployed.version_now()

    def begun(version: int) -> subprocess.Popen[str]:
        process = deployed.start("deploy", MODEL, "--version", str(version))
        until(lambda: deployed.state_in_triton(version) == "LOADING")
        assert version not in configured(), "what is tried is not what a Triton that starts meanwhile would load"
        return process

    def configured() -> list[int]:
        config = text_format.Parse(deployed.config, model_config_pb2.ModelConfig())
        return list(config.version_policy.specific.versions)

    interrupted = begun(21)
    interrupted.send_signal(signal.SIGSTOP)  # or it might be done before the other one has begun
    assert "Somebody else is changing whisper-demo right now" in deployed.refused("deploy", MODEL, "--version", "22")
    interrupted.send_signal(signal.SIGINT)
    interrupted.send_signal(signal.SIGCONT)
    interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert configured() == [int(now)], "not even where nothing was deployed before is it the newest"
    until(lambda: deployed.states()[21] == "only in the repository")

    overtaken = begun(21)
    with deployed.database.begin() as connection:
        connection.execute(sa.update(model_locks).values(holder=new_id()))
    overtaken.send_signal(signal.SIGINT)
    _, said = overtaken.communicate(timeout=60)
    assert "Somebody else may have begun to change whisper-demo: nothing was put back" in said
    until(lambda: deployed.state_in_triton(21) == "READY", 60)
    with deployed.database.begin() as connection:
        connection.execute(sa.delete(model_locks))

    killed = begun(22)
    killed.kill()
    killed.communicate()
    until(lambda: deployed.states()[22].startswith("ready"), 60)
    assert 22 not in configured()
    assert deployed.version_now() == now
    assert "Somebody else is changing" in deployed.refused("rollback", MODEL)
    time.sleep(LEASE_S)
    deployed.models("deploy", MODEL, "--version", now)
    assert deployed.version_now() == now


def test_versions_follow_each_other_under_clients(deployed: Deployed, tmp_path: Path) -> None:
    """No request fails, and each recording, of several windows, is heard by one version alone."""
    clip, rate = soundfile.read(CLIP, dtype="int16")
    soundfile.write(tmp_path / "long.flac", np.tile(clip, 4), rate)
    recordings = {1: CLIP.read_bytes(), 4: (tmp_path / "long.flac").read_bytes()}
    heard = Counter[tuple[str, int]]()
    over = threading.Event()

    def client(times: int) -> None:
        with httpx.Client(base_url=deployed.api.url, timeout=120) as session:
            while not over.is_set():
                answer = session.post(
                    "/v1/transcribe",
                    files={"file": recordings[times]},
                    data={"model": "demo", "diarize": "false", "response_format": "verbose_json"},
                )
                assert answer.status_code == 200, answer.text
                version = answer.headers["X-Model-Version"]
                text = answer.json()["text"]
                words = {number: text.count(word) for number, word in SAYS.items()}
                assert words == {"1": 0, "2": 0} | {version: times}, text
                assert answer.json()["model_version"] == version
                heard[version, times] += 1

    def seen(version: str) -> None:
        """By clients that began after it was chosen."""
        before = heard.copy()

        def is_so() -> bool:
            for failed in (one for one in clients if one.done()):
                failed.result()
            return all(heard[version, times] > before[version, times] for times in recordings)

        until(is_so, 60)

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(client, times) for times in (1, 1, 4)]
        try:
            assert deployed.models("deploy", MODEL, "--version", "2") == (
                "whisper-demo version 2 takes new work, version 1 before\n"
            )
            seen("2")
            assert deployed.models("rollback", MODEL) == "whisper-demo version 1 takes new work again\n"
            seen("1")
            deployed.models("deploy", MODEL, "--version", "2")
            seen("2")
            deployed.models("rollback", MODEL)
            seen("1")
        finally:
            over.set()
        for one in clients:
            one.result()
    models = {model["id"]: model for model in deployed.api.client.get("/v1/models").json()["models"]}
    assert (models["demo"]["version"], models["demo"]["name"]) == ("1", "One")
    states = deployed.states()
    assert states[1].startswith("ready, takes new work")
    assert states[2].startswith("ready, previous")


def test_what_is_kept_names_the_version(deployed: Deployed) -> None:
    with customer(deployed.api, "house").client as client:
        answer = client.post("/v1/transcribe", files={"file": CLIP.read_bytes()}, data={"model": "demo"})
        version, id_ = answer.headers["X-Model-Version"], answer.json()["id"]
        (listed,) = client.get("/api/v1/transcripts/").json()["results"]
        assert (listed["id"], listed["model"], listed["model_version"]) == (id_, "demo", version)
        assert client.get(f"/api/v1/transcripts/{id_}/").json()["model_version"] == version


def test_a_version_that_must_not_serve_changes_nothing(deployed: Deployed) -> None:
    folder = copied(deployed.repository, 3)
    check = json.loads((folder / "check" / "check.json").read_text()) | {"text": "It rains in Spain, mainly."}
    resealed(folder, **{"check/check.json": json.dumps(check).encode()})
    resealed(copied(deployed.repository, 4), **{"weights/model.bin": bytes(1000)})
    before, now = deployed.config, deployed.version_now()
    for version, reason in (
        (3, "The smoke check failed: its word error rate is"),
        (4, "Internal: RuntimeError: Cannot load"),
    ):
        said = deployed.refused("deploy", MODEL, "--version", str(version))
        assert reason in said
        assert deployed.triton.address in said
        assert deployed.config == before
        assert deployed.version_now() == now
    states = deployed.states()
    assert states[int(now)].startswith("ready, takes new work")
    assert "ready" not in states[3] + states[4]


def test_a_version_that_is_not_whole_is_refused(deployed: Deployed) -> None:
    before = deployed.config
    missing, changed, without = (copied(deployed.repository, version) for version in (11, 12, 13))
    (missing / "weights" / "tokenizer.json").unlink()
    (changed / "engine.py").write_text((changed / "engine.py").read_text().replace("beam", "team"))
    with (changed / "weights" / "model.bin").open("ab") as weights:
        weights.write(b"x")
    (without / "manifest.json").unlink()
    for version, reason in (
        (11, "weights/tokenizer.json is missing"),
        (12, "engine.py is not what was exported, weights/model.bin has"),
        (13, "There is no"),
        (14, "There is no"),
    ):
        assert reason in deployed.refused("deploy", MODEL, "--version", str(version))
    assert "No Triton at" in deployed.refused("deploy", "whisper-large", "--version", "1")
    assert "There is no model repository" in deployed.refused(
        "--repository", "/nowhere", "deploy", MODEL, "--version", "11"
    )
    assert deployed.config == before


def test_versions_follow_each_other_out_of_a_bucket(deployed: Deployed, s3_server: str, tmp_path: Path) -> None:  # noqa: F811
    """Which Triton reads by itself."""
    files = [file for number in "12" for file in (deployed.repository / MODEL / number).rglob("*") if file.is_file()]
    contents = {str(file.relative_to(deployed.repository)): file.read_bytes() for file in files}
    own = contents[f"{MODEL}/1/config.pbtxt"] + b"version_policy { specific { versions: 1 } }"
    place = bucket_with(contents | {f"{MODEL}/config.pbtxt": own}, s3_server)
    with served(place, MODEL, tmp_path) as triton:
        migrate(database_url("", str(tmp_path)))
        environment = {"TRITONE_HOME": str(tmp_path), "TRITON_URL": triton.address}
        other = replace(deployed, triton=triton, place=place, environment=environment)
        other.models("deploy", MODEL, "--version", "2")
        assert other.states() == {1: "ready, previous", 2: "ready, takes new work"}
        other.models("unload", MODEL, "--version", "1", "--force")
        until(lambda: other.states()[1] == "only in the repository, previous")
        other.models("rollback", MODEL)
        assert other.states() == {1: "ready, takes new work", 2: "ready, previous"}
        (port,) = free_ports(1)
        away = f"127.0.0.1:{port}"
        beside_it = replace(other, environment=environment | {"TRITON_URL": f"{triton.address},{away},no.invalid:8001"})
        said = beside_it.models("list")
        assert f"The Triton at {away} does not answer" in said
        assert "no.invalid:8001 cannot be found" in said
        assert away in beside_it.refused("deploy", MODEL, "--version", "2")
        assert beside_it.states()[1] == "ready, takes new work"
        warned = beside_it.warned("rollback", MODEL)
        assert f"The Triton at {away} does not answer" in warned
        assert other.states() == {1: "ready, previous", 2: "ready, takes new work"}
        brought_back_where_it_had_failed(other, contents, tmp_path / "second")


def brought_back_where_it_had_failed(deployed: Deployed, contents: dict[str, bytes], folder: Path) -> None:
    """As in a Triton that could not read its repository when it was started again."""
    repository = folder / "repository"
    for name, content in contents.items():
        if name.startswith(f"{MODEL}/2/"):
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_bytes(content)
    own = contents[f"{MODEL}/2/config.pbtxt"] + b"version_policy { specific { versions: 2 } }"
    (repository / MODEL / "config.pbtxt").write_bytes(own)
    program = repository / MODEL / "2" / "model.py"
    program.write_bytes(b"raise OSError('no repository')")
    second = Triton(repository, folder)
    try:
        second.start()
        both = replace(
            deployed, environment=deployed.environment | {"TRITON_URL": f"{deployed.triton.address},{second.address}"}
        )
        until(lambda: f"failed: Internal: OSError: no repository at {second.address}" in both.states()[2], 60)
        program.write_bytes(contents[f"{MODEL}/2/model.py"])
        both.models("load", MODEL)
        assert replace(both, triton=second.served).state_in_triton(2) == "READY"
    finally:
        second.stop()


def test_a_version_in_use_is_not_taken_away(deployed: Deployed) -> None:
    deployed.models("deploy", MODEL, "--version", "1")
    deployed.serves("1")
    audio = soundfile.read(CLIP, dtype="int16")[0].tobytes()
    url = deployed.api.url.replace("http", "ws", 1) + "/v1/stream?model=demo"
    with connect(url) as session:
        session.send(audio[:32_000])
        until(lambda: "in use by 1 API process" in deployed.states()[1])
        deployed.models("deploy", MODEL, "--version", "2")
        deployed.serves("2")
        assert "version 1 is still in use" in deployed.refused("unload", MODEL)
        assert "version 2 takes new work" in deployed.refused("unload", MODEL, "--version", "2")
        session.send(audio[32_000:])
        session.send(b"")
        *_, last = (json.loads(message) for message in session)
    assert (last["model_version"], "budget" in last["text"], "pocket" in last["text"]) == ("1", True, False)
    answered = deployed.answered("2")
    deployed.models("unload", MODEL, "--version", "1", "--force")
    until(lambda: deployed.states()[1].startswith("only in the repository, previous"))
    assert deployed.version_now() == "2"
    assert deployed.answered("2") > answered  # it was not loaded anew, and so has not forgotten
    deployed.models("rollback", MODEL)
    deployed.serves("1")
    deployed.models("load", MODEL, "--version", "2")
    assert deployed.states()[2].startswith("ready, previous")
    with deployed.database.begin() as connection:  # as if that had been a minute ago
        connection.execute(sa.update(model_choices).values(changed_at=datetime.now(UTC) - timedelta(minutes=1)))
        connection.execute(sa.delete(model_leases))
    copied(deployed.repository, 31)
    deployed.models("load", MODEL, "--version", "31")
    states = deployed.states()
    assert states[2].startswith("ready, previous")
    assert states[31].startswith("ready")
