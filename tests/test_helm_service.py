"""The Helm chart: what it renders fits the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.cli_models import REPOSITORY_VARIABLE
from api.local.triton_server import TritonServer
from api.local.up import DEMO_CLIP
from api.settings import CONFIDENTIAL, Settings, environment_name, from_env
from tests.helm_chart import (
    CHART,
    NAMESPACE,
    PROJECT,
    VALUES,
    merged,
    render,
    routes,
)
from tests.running import start_fake_service, stop_fake_service

SETTINGS = {environment_name(field.name): field.name for field in msgspec.structs.fields(Settings)}
SECRET_VARIABLES = {
    *(environment_name(field) for field in CONFIDENTIAL),
    *("TRITONE_KEY", "HF_TOKEN", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}
OTHER_VARIABLES = {
    *("HOME", "TRITONE_URL", REPOSITORY_VARIABLE, "MODEL", "AWS_DEFAULT_REGION", "GOOGLE_APPLICATION_CREDENTIALS"),
}
"""What our programs read beside secrets and settings: the system, the command line, a script, clouds."""
OURS = ("tritone-api", "tritone-exporter")
NOT_PUBLIC = {"/metrics", "/health/live", "/health/ready"}

every_set = pytest.mark.parametrize("name", VALUES)


# How it fits the service


@every_set
def test_our_programs_understand_their_environment(name: str) -> None:
    rendered = render(name)
    for workload in rendered.workloads:
        for container in workload.containers:
            if any(image in container["image"] for image in OURS):
                environment = rendered.environment(container)
                assert environment.keys() <= SETTINGS.keys() | SECRET_VARIABLES | OTHER_VARIABLES
                settings = from_env(environment)
                for variable, value in environment.items():
                    assert (variable in SECRET_VARIABLES) == ("<" in value), f"{variable}={value}"
                if container["name"] in ("migrate", "api", "toolbox"):
                    assert settings.secret
                    assert settings.database_url
    (api,) = rendered.component("api")
    settings = from_env(rendered.environment(api.container("api")))
    assert (settings.host, settings.port) == ("0.0.0.0", api.ports["http"])
    writable = {mount["mountPath"] for mount in api.container("api")["volumeMounts"] if not mount.get("readOnly")}
    assert {settings.home, settings.spool_dir} <= writable
    if settings.plans:
        folder, _, file = settings.plans.rpartition("/")
        (mount,) = api.mounts(folder)
        (volume,) = [one for one in api.spec["volumes"] if one["name"] == mount["name"]]
        assert tomllib.loads(rendered.named("ConfigMap", volume["configMap"]["name"])["data"][file])


def test_all_settings_can_be_set() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    offered = set(schema["properties"]["api"]["properties"]["settings"]["propertyNames"]["enum"])
    assert offered <= SETTINGS.keys()
    by_values_of_their_own = {
        variable
        for name in VALUES
        for config in render(name).of("ConfigMap")
        for variable in config["data"].keys() & SETTINGS.keys()
    } - offered
    secret = {environment_name(field) for field in CONFIDENTIAL}
    assert offered.isdisjoint(secret)
    assert offered | by_values_of_their_own | secret == SETTINGS.keys()


@every_set
def test_addresses_are_those_of_services(name: str) -> None:
    rendered = render(name)
    services = {one["metadata"]["name"]: one["spec"] for one in rendered.of("Service")}
    for workload in rendered.workloads:
        for container in workload.containers:
            environment = rendered.environment(container)
            for variable, port in (("TRITONE_URL", None), ("DATABASE_URL", 5432), ("REDIS_URL", 6379)):
                url = environment.get(variable, "<")
                if not url.startswith("<"):
                    host, _, named = url.partition("//")[2].rpartition("@")[2].partition("/")[0].partition(":")
                    assert int(named or str(port)) in {one["port"] for one in services[host]["ports"]}
            elsewhere = rendered.values["triton"]["externalUrl"]
            if "TRITON_URL" in environment and not elsewhere:
                host, _, named = environment["TRITON_URL"].partition(":")
                service = services[host.removesuffix(f".{NAMESPACE}.svc")]
                assert service["clusterIP"] == "None", "each Triton is an address, and the API chooses"
                assert service["publishNotReadyAddresses"] is False
                assert {one["name"]: one["port"] for one in service["ports"]}["grpc"] == int(named)
                assert rendered.selected(service["selector"]) == rendered.component("triton")
            elif "TRITON_URL" in environment:
                assert environment["TRITON_URL"] == elsewhere
                assert rendered.component("triton") == []


@every_set
def test_triton_calls_nobody_but_who_is_listed(name: str) -> None:
    rendered = render(name)
    listed = rendered.values["networkPolicy"]["tritonEgress"]
    for policy in rendered.of("NetworkPolicy"):
        if policy["metadata"]["name"].endswith("-triton"):
            guarded = "Egress" in policy["spec"]["policyTypes"]
            assert guarded == (rendered.values["models"]["source"] == "pvc" or bool(listed))
            assert policy["spec"].get("egress", [None])[1:] == listed, "after DNS"


@every_set
def test_triton_is_started_as_everywhere(name: str, tmp_path: Path) -> None:
    rendered = render(name)
    locally = flags(TritonServer(tmp_path, tmp_path, 8001, 8002).command()[1:])
    for triton in rendered.component("triton"):
        container = triton.container("triton")
        group = rendered.values["triton"]["groups"][triton.labels["tritone/group"]] or {}
        on = merged(rendered.values["triton"]["defaults"], group)
        here = flags([flag for flag in container["args"] if flag not in on["extraArgs"]])
        assert [value for flag, value in here if flag == "--load-model"] == on["models"]
        assert general(here) == general(locally)
        assert dict(here)["--grpc-address"] == dict(here)["--metrics-address"] == "0.0.0.0"
        assert (dict(here)["--grpc-port"], dict(here)["--metrics-port"]) == (
            str(triton.ports["grpc"]),
            str(triton.ports["metrics"]),
        )
        assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == on["gpus"]
        (shm,) = [volume["emptyDir"] for volume in triton.spec["volumes"] if volume["name"] == "shm"]
        assert (shm["medium"], shm["sizeLimit"]) == ("Memory", on["shmSize"])
        assert triton.mounts("/dev/shm")
        repository = dict(here)["--model-repository"]
        for toolbox in rendered.component("toolbox"):
            assert rendered.environment(toolbox.containers[0])[REPOSITORY_VARIABLE] == repository
        assert triton.mounts(repository) if repository.startswith("/") else repository.startswith(("s3://", "gs://"))


def general(given: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that say the same wherever Triton runs."""
    of_the_place = {
        *("--model-repository", "--load-model", "--exit-timeout-secs"),
        *("--grpc-address", "--grpc-port", "--metrics-address", "--metrics-port"),
        "--backend-directory",  # the wheel has no layout of its own
        "--backend-config",  # a container's /dev/shm is its own
    }
    return {(flag, value) for flag, value in given if flag not in of_the_place}


def flags(arguments: list[str]) -> list[tuple[str, str]]:
    return [(flag, value) for flag, _, value in (argument.partition("=") for argument in arguments)]


@every_set
def test_the_ingress_has_all_public_paths_and_no_others(name: str) -> None:
    for ingress in render(name).of("Ingress"):
        paths = ingress["spec"]["rules"][0]["http"]["paths"]

        def reaches(route: str, paths: list[dict[str, Any]] = paths) -> bool:
            exact = {path["path"] for path in paths if path["pathType"] == "Exact"}
            prefixes = [path["path"] for path in paths if path["pathType"] == "Prefix"]
            return route in exact or any(route == prefix or route.startswith(f"{prefix}/") for prefix in prefixes)

        assert routes() >= NOT_PUBLIC
        assert {route for route in routes() if not reaches(route)} == NOT_PUBLIC


@every_set
def test_triton_and_the_databases_listen_to_few(name: str) -> None:
    rendered = render(name)
    guarded = {one["metadata"]["name"]: one["spec"] for one in rendered.of("NetworkPolicy")}
    for component, port in (("triton", "grpc"), ("postgresql", "postgresql"), ("redis", "redis")):
        workloads = rendered.component(component)
        policies = [
            one for one in guarded.values() if rendered.selected(one["podSelector"]["matchLabels"]) == workloads
        ]
        assert len(policies) == (1 if workloads and rendered.values["networkPolicy"]["enabled"] else 0)
        for policy in policies:
            rules = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"]}
            peers = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rules.pop(port)]
            assert peers == ["api", "toolbox"]
            assert rules == ({"metrics": rendered.values["networkPolicy"]["prometheusFrom"]} if port == "grpc" else {})
            assert all(peer.keys() <= {"namespaceSelector"} for peer in rules.get("metrics", []))


@every_set
def test_triton_waits_for_what_is_exported(name: str) -> None:
    rendered = render(name)
    markers = [container["args"][0] for job in rendered.component("export") for container in job.containers]
    assert len(set(markers)) == len(markers)
    for triton in rendered.component("triton"):
        waits = [one["args"] for one in triton.containers if one["name"] == "wait-for-export"]
        assert waits == ([markers] if markers else [])
    exported = [container["args"][1:] for job in rendered.component("export") for container in job.containers]
    assert exported == (rendered.values["models"]["export"]["arguments"] if markers else [])


# What its shell scripts do


def shell(
    container: dict[str, Any], arguments: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return subprocess.run(
        [*container["command"], *arguments],
        cwd=PROJECT,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def service_url(tmp_path: Path) -> Iterator[str]:
    service = start_fake_service(tmp_path, fakes={"FAKE_HEARD": "budget"})
    yield service.url
    stop_fake_service(service)


def test_the_test_of_a_release_looks_for_the_words(service_url: str) -> None:
    (pod,) = render("defaults").component("test")
    (container,) = pod.containers
    environment = render("defaults").environment(container) | {"TRITONE_URL": service_url, "MODEL": "large-v3-turbo"}
    heard = shell(container, ["Budget"], environment)
    assert (heard.returncode, heard.stderr) == (0, "")
    assert "budget" in heard.stdout
    missed = shell(container, container["args"], environment)
    assert (missed.returncode, missed.stderr) == (1, '"review" was said and not heard\n')
    away = shell(container, ["budget"], environment | {"TRITONE_URL": "http://127.0.0.1:9"})
    assert away.returncode != 0
    assert DEMO_CLIP.parent.name in (PROJECT / "docker" / "api.Dockerfile").read_text(), "the image has the clip"


def test_an_export_is_done_once_and_waited_for(tmp_path: Path) -> None:
    rendered = render("export")
    (job,) = rendered.component("export")
    waiting = rendered.component("triton")[0].container("wait-for-export")
    marker = str(tmp_path / ".exported")
    export = ["voice_activity", "--name", "voice_activity"]

    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        container = dict(job.containers[0])
        container["command"] = [part.replace("/models", str(tmp_path)) for part in container["command"]]
        return shell(container, [marker, *arguments], {})

    failed = run(["voice_activity", "--version", "0"])
    assert failed.returncode != 0
    assert not Path(marker).exists()
    assert run(export).returncode == 0
    assert (tmp_path / "voice_activity" / "config.pbtxt").exists()
    assert run(export).returncode == 0, "a second time it would be refused"
    assert shell(waiting, [marker], {}).returncode == 0
