"""The Helm chart: when a Pod has started, is ready, and has ended."""

from __future__ import annotations

from typing import Any

import pytest

from api.http.health import READY_WITHIN_S
from api.server import GIVE_BACK_S
from api.settings import from_env
from tests.helm_chart import (
    VALUES,
    merged,
    render,
    routes,
)
from tests.images import SERVICES, TRITON

every_set = pytest.mark.parametrize("name", VALUES)


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
