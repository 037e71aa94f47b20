"""The Helm chart: what it renders fits the service."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import promql_parser
import pytest

from api.app import create_app
from api.cli_models import REPOSITORY_VARIABLE
from api.http.errors import REASONS
from api.http.health import READY_WITHIN_S
from api.http.observation import OUR_FAULT, PROBES
from api.inference.triton.trouble import Trouble
from api.local.triton_server import TritonServer
from api.local.up import DEMO_CLIP
from api.metrics import REGISTRY
from api.server import GIVE_BACK_S
from api.settings import CONFIDENTIAL, Settings, environment_name, from_env
from tests.helm_chart import (
    CHART,
    NAMESPACE,
    PROJECT,
    SECRETS,
    VALUES,
    every_manifest,
    merged,
    render,
    render_values,
)
from tests.images import SERVICES, TRITON
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
TRITONS_METRICS = {
    *("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_exec_count"),
    *("nv_inference_queue_duration_us", "nv_inference_pending_request_count"),
    *("nv_gpu_utilization", "nv_gpu_memory_used_bytes"),
}
PROMETHEUS_OWN_METRICS = {"up"}

every_set = pytest.mark.parametrize("name", VALUES)


@functools.cache
def routes() -> set[str]:
    settings = Settings(secret="s", database_url="sqlite:///unused.db")
    return {route.path for route in create_app(settings).routes}


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
def test_probes_ask_what_there_is(name: str) -> None:
    for workload in render(name).workloads:
        for container in workload.containers:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {})
                assert (not ports) or asked or container["name"] == "redis", f"{container['name']} has no {probe}"
                if "httpGet" in asked:
                    assert asked["httpGet"]["port"] in ports
                    assert asked["httpGet"]["path"] in routes()
                if "grpc" in asked:
                    assert asked["grpc"] == {"port": ports["grpc"]}
            if container["name"] == "api":
                assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
                assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"


@every_set
def test_the_api_is_ready_for_as_long_as_requests_wait_for_triton(name: str) -> None:
    rendered = render(name)
    (api,) = rendered.component("api")
    probe = api.container("api")["readinessProbe"]
    assert probe["timeoutSeconds"] > READY_WITHIN_S
    patience_s = from_env(rendered.environment(api.container("api"))).triton_patience_s
    assert probe["failureThreshold"] * probe["periodSeconds"] >= patience_s


@every_set
def test_triton_has_started_when_its_models_are_loaded(name: str) -> None:
    """By the health check of the image, unless its repository is filled later."""
    rendered = render(name)
    for triton in rendered.component("triton"):
        container = triton.container("triton")
        group = rendered.values["triton"]["groups"][triton.labels["tritone/group"]] or {}
        on = merged(rendered.values["triton"]["defaults"], group)
        probe = container["startupProbe"]
        if on["requireModels"]:
            assert probe["exec"]["command"] == [
                *TRITON.health_command[:2],
                *(f"--loaded={one}" for one in on["models"]),
            ]
        else:
            assert probe["grpc"] == {"port": triton.ports["grpc"]}
        assert {"grpc"} <= container["livenessProbe"].keys() & container["readinessProbe"].keys()


@every_set
def test_a_roll_out_waits_for_its_models(name: str) -> None:
    rendered = render(name)
    export = rendered.values["models"]["export"]
    needs_s = rendered.values["triton"]["startupS"] + (export["expectedS"] if export["enabled"] else 0)
    for workload in [*rendered.component("triton"), *rendered.component("api")]:
        assert workload.manifest["spec"]["progressDeadlineSeconds"] > needs_s


@every_set
def test_the_bundled_are_treated_as_by_compose(name: str) -> None:
    rendered = render(name)
    for redis in rendered.component("redis"):
        (container,) = redis.containers
        assert container["readinessProbe"]["exec"]["command"] == SERVICES["redis"]["healthcheck"]["test"][1:]
        filled = container["args"][container["args"].index("--maxmemory") + 1].removesuffix("mb")
        assert int(filled) < int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    for postgresql in rendered.component("postgresql"):
        minutes, _, seconds = SERVICES["postgres"]["stop_grace_period"].removesuffix("s").partition("m")
        assert postgresql.spec["terminationGracePeriodSeconds"] == 60 * int(minutes) + int(seconds)


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
def test_keda_counts_the_requests_of_its_group(name: str) -> None:
    rendered = render(name)
    for scaled in rendered.of("ScaledObject"):
        (triton,) = [one for one in rendered.workloads if one.name == scaled["spec"]["scaleTargetRef"]["name"]]
        (trigger,) = scaled["spec"]["triggers"]
        groups = set(re.findall(r'tritone_group="([^"]*)"', trigger["metadata"]["query"]))
        assert groups == {triton.labels["tritone/group"]}
        (monitor,) = [one for one in rendered.of("ServiceMonitor") if one["metadata"]["name"].endswith("-triton")]
        assert monitor["spec"]["podTargetLabels"] == ["tritone/group"]


def test_the_notes_say_what_is_missing() -> None:
    assert "trustedProxies" in render("ingress-without-tls").notes
    assert "trustedProxies" not in render("ingress").notes
    assert "serviceMonitors" not in render("monitoring").notes
    for without in ({"rules": {"enabled": True}}, {"prometheusUrl": "http://prometheus:9090"}):
        values = {"triton": {"defaults": {"autoscaling": {"enabled": "rules" not in without}}}, "monitoring": without}
        assert "serviceMonitors" in render_values(merged(SECRETS, values)).notes


@every_set
def test_there_is_time_for_what_is_under_way(name: str) -> None:
    rendered = render(name)
    (api,) = rendered.component("api")
    ends_s = from_env(rendered.environment(api.container("api"))).drain_s + GIVE_BACK_S
    assert api.spec["terminationGracePeriodSeconds"] > pre_stop_s(api.container("api")) + ends_s
    for triton in rendered.component("triton"):
        container = triton.container("triton")
        (flag,) = [flag for flag in container["args"] if flag.startswith("--exit-timeout-secs=")]
        ends_s = int(flag.partition("=")[2])
        assert triton.spec["terminationGracePeriodSeconds"] > pre_stop_s(container) + ends_s
        probe = container["startupProbe"]
        assert probe["failureThreshold"] * probe["periodSeconds"] >= rendered.values["triton"]["startupS"]


def pre_stop_s(container: dict[str, Any]) -> int:
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    return int(seconds)


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


# Rules and panels


@functools.cache
def known_metrics() -> set[str]:
    """As Prometheus stores them, of the API and of Triton."""
    ours: set[str] = set()
    for family in REGISTRY.collect():
        made = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
        suffixes = made.get(family.type, ("",))
        ours |= {f"{family.name}{suffix}" for suffix in suffixes}
    return ours | TRITONS_METRICS | PROMETHEUS_OWN_METRICS


def metrics_in(expression: str) -> set[str]:
    """Raises ValueError where it is none."""
    found: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))
        elif isinstance(node, promql_parser.MatrixSelector):
            found.add(str(node.vector_selector.name))

    promql_parser.walk(promql_parser.parse(expression), look)
    return found


def test_rules_and_panels_ask_for_metrics_that_there_are() -> None:
    dashboards = {
        one["data"]["tritone.json"] for one in every_manifest() if one["metadata"]["name"].endswith("-dashboard")
    }
    (dashboard,) = map(json.loads, dashboards)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    expressions = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    alerts: list[dict[str, Any]] = []
    for manifest in every_manifest():
        if manifest["kind"] == "PrometheusRule":
            alerts += [rule for group in manifest["spec"]["groups"] for rule in group["rules"]]
        if manifest["kind"] == "ScaledObject":
            (trigger,) = manifest["spec"]["triggers"]
            assert trigger["type"] == "prometheus"
            assert float(trigger["metadata"]["threshold"]) > 0
            expressions.append(trigger["metadata"]["query"])
    by_name = {rule["alert"]: rule["expr"] for rule in alerts}
    assert {"TritoneHasNoTriton", "TritoneLimitsAreNotShared"} <= by_name.keys()
    (apart,) = re.findall(r'route!~"([^"]+)"', by_name["TritoneFails"])
    assert {route for route in routes() if re.fullmatch(apart, route)} == PROBES
    (failing,) = re.findall(r'status=~"([^"]+)"', by_name["TritoneFails"])
    assert OUR_FAULT in failing.split("|")
    for rule in alerts:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        expressions.append(rule["expr"])
        reasons = set(re.findall(r'reason="(\w+)"', rule["expr"]))
        assert reasons <= {*REASONS.values(), *get_args(Trouble)}, rule["alert"]
        asked = set(re.findall(r'route="([^"]+)"', rule["expr"]))
        assert asked <= routes(), rule["alert"]
    for expression in expressions:
        names = metrics_in(expression)
        assert names, expression
        assert names <= known_metrics(), expression


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
