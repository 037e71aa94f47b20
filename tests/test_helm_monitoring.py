"""The Helm chart: what is watched, and what is said of it."""

from __future__ import annotations

import functools
import json
import re
from typing import Any, get_args

import promql_parser
import pytest

from api.http.errors import REASONS
from api.http.observation import OUR_FAULT, PROBES
from api.inference.triton.trouble import Trouble
from api.metrics import REGISTRY
from tests.helm_chart import (
    SECRETS,
    VALUES,
    every_manifest,
    merged,
    render,
    render_values,
    routes,
)

TRITONS_METRICS = {
    *("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_exec_count"),
    *("nv_inference_queue_duration_us", "nv_inference_pending_request_count"),
    *("nv_gpu_utilization", "nv_gpu_memory_used_bytes"),
}


PROMETHEUS_OWN_METRICS = {"up"}


every_set = pytest.mark.parametrize("name", VALUES)


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
            for trigger in manifest["spec"]["triggers"]:
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


@every_set
def test_keda_counts_the_requests_of_its_group(name: str) -> None:
    rendered = render(name)
    for scaled in rendered.of("ScaledObject"):
        (triton,) = [one for one in rendered.workloads if one.name == scaled["spec"]["scaleTargetRef"]["name"]]
        group = triton.labels["tritone/group"]
        of_group, *of_api = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
        assert set(re.findall(r'tritone_group="([^"]*)"', of_group)) == {group}
        assert len(of_api) == (group != "translation"), "those of speech wait in the API as well"
        assert all('stage="queue",source="file"' in query for query in of_api)
        (monitor,) = [one for one in rendered.of("ServiceMonitor") if one["metadata"]["name"].endswith("-triton")]
        assert monitor["spec"]["podTargetLabels"] == ["tritone/group"]


def test_the_notes_say_what_is_missing() -> None:
    assert "trustedProxies" in render("ingress-without-tls").notes
    assert "trustedProxies" not in render("ingress").notes
    assert "serviceMonitors" not in render("monitoring").notes
    for without in ({"rules": {"enabled": True}}, {"prometheusUrl": "http://prometheus:9090"}):
        values = {"triton": {"defaults": {"autoscaling": {"enabled": "rules" not in without}}}, "monitoring": without}
        assert "serviceMonitors" in render_values(merged(SECRETS, values)).notes
