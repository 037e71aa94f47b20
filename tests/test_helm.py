"""The Helm chart: what it renders is valid and hangs together, and what it cannot render is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from api import __version__
from api.cli import main
from tests.helm_chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    SECRETS,
    VALUES,
    every_manifest,
    merged,
    render,
    render_values,
    under,
)

KUBERNETES = ("1.27.0", "1.32.0", "1.37.0")
"""The oldest that the chart takes, one between, and the newest whose schemas there are."""
OPERATORS = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of Prometheus' operator and of KEDA, of which Kubernetes has no schema; tests of their own look at them."""
every_set = pytest.mark.parametrize("name", VALUES)


# What Helm and Kubernetes say


@every_set
def test_helm_has_nothing_to_complain_about(name: str) -> None:
    report = helm.lint(CHART, VALUES[name], strict=True, namespace=NAMESPACE)
    assert [found for found in report["messages"] if found["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize("name", ["trial", "documented", "everything"])
def test_helm_would_install_it(name: str) -> None:
    with helm.Config(namespace=NAMESPACE, storage_driver="memory") as nowhere:
        tried = nowhere.install(str(CHART), RELEASE, VALUES[name], namespace=NAMESPACE, dry_run="client")
    assert (tried["status"], tried["app_version"]) == ("pending-install", __version__)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    checked = Counter[str]()
    for manifest in every_manifest():
        if manifest["kind"] not in OPERATORS:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version.rpartition(".")[0]
            checked[manifest["kind"]] += 1
    assert checked["Deployment"] > len(VALUES), "an API for each, and Tritons"


# How it hangs together


@every_set
def test_names_are_unique_and_short_enough(name: str) -> None:
    names = Counter((one["kind"], one["metadata"]["name"]) for one in render(name).manifests)
    assert max(names.values()) == 1, names
    assert max(len(name) for _, name in names) <= 63


@every_set
def test_what_is_referred_to_is_there(name: str) -> None:
    rendered = render(name)
    given = set(under(rendered.values, "existingSecret", "existingClaim", "tlsSecret"))
    given |= {secret["name"] for secret in rendered.values["imagePullSecrets"]}
    accounts = {one["name"] for one in rendered.values["serviceAccounts"].values()}
    made = {kind: {one["metadata"]["name"]: one for one in rendered.of(kind)} for kind in ("Secret", "ConfigMap")}
    for workload in rendered.workloads:
        spec, volumes = workload.spec, {volume["name"]: volume for volume in workload.spec.get("volumes", [])}
        if account := spec.get("serviceAccountName"):
            assert account in accounts or rendered.named("ServiceAccount", account)
        assert {secret["name"] for secret in spec.get("imagePullSecrets", [])} <= given
        for template in workload.manifest["spec"].get("volumeClaimTemplates", []):
            volumes[template["metadata"]["name"]] = template
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in given or rendered.named("PersistentVolumeClaim", claim["claimName"])
            if config := volume.get("configMap"):
                assert config["name"] in made["ConfigMap"]
            if secret := volume.get("secret"):
                assert secret["secretName"] in given
        mounted = {mount["name"] for one in workload.containers for mount in one["volumeMounts"]}
        assert mounted == volumes.keys(), "each volume is mounted, and each mount has one"
        for container in workload.containers:
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in made["ConfigMap"]
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    secret = made["Secret"].get(reference["name"])
                    assert reference["name"] in given if secret is None else reference["key"] in secret["data"]
    for ingress in rendered.of("Ingress"):
        assert {tls["secretName"] for tls in ingress["spec"].get("tls", [])} <= given


@every_set
def test_selectors_find_their_pods_and_no_others(name: str) -> None:
    rendered = render(name)
    for workload in rendered.workloads:
        if selector := workload.manifest["spec"].get("selector"):
            assert rendered.selected(selector["matchLabels"]) == [workload]
    for budget in rendered.of("PodDisruptionBudget"):
        (workload,) = rendered.selected(budget["spec"]["selector"]["matchLabels"])
        assert workload.name == budget["metadata"]["name"]
    for policy in rendered.of("NetworkPolicy"):
        assert rendered.selected(policy["spec"]["podSelector"]["matchLabels"]), policy["metadata"]["name"]
    for workload in rendered.workloads:
        for spread in workload.spec.get("topologySpreadConstraints", []):
            assert rendered.selected(spread["labelSelector"]["matchLabels"]) == [workload]


@every_set
def test_ports_are_those_that_containers_have(name: str) -> None:
    rendered = render(name)
    for service in rendered.of("Service"):
        workloads = rendered.selected(service["spec"]["selector"])
        assert workloads, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            assert all(workload.has_port(port["targetPort"]) for workload in workloads)
            if service["spec"].get("clusterIP") == "None":  # its addresses are the Pods', so the ports are, too
                assert {workload.ports[port["targetPort"]] for workload in workloads} == {port["port"]}
    for policy in rendered.of("NetworkPolicy"):
        workloads = rendered.selected(policy["spec"]["podSelector"]["matchLabels"])
        ports = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        assert ports
        assert all(workload.has_port(port) for workload in workloads for port in ports)
    for monitor in rendered.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [one for one in rendered.of("Service") if wanted <= one["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert endpoint["path"] == "/metrics"
    for ingress in rendered.of("Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            service = rendered.named("Service", path["backend"]["service"]["name"])
            assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


@every_set
def test_one_thing_alone_decides_on_the_replicas(name: str) -> None:
    rendered = render(name)
    scaled = [one["spec"]["scaleTargetRef"] for one in rendered.of("HorizontalPodAutoscaler", "ScaledObject")]
    names = Counter(target["name"] for target in scaled)
    assert all(count == 1 for count in names.values())
    for target in scaled:
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment")
        assert rendered.named("Deployment", target["name"])
    for deployment in rendered.of("Deployment"):
        assert ("replicas" in deployment["spec"]) != (deployment["metadata"]["name"] in names)


@every_set
def test_pods_may_do_nothing_that_they_need_not(name: str) -> None:
    for workload in render(name).workloads:
        spec, security = workload.spec, workload.spec["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in workload.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert not container["image"].endswith((":latest", ":"))
        for volume in spec.get("volumes", []):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
        if workload.labels["app.kubernetes.io/component"] == "triton":
            assert all(mount["readOnly"] for mount in workload.mounts("/models"))


# What is refused


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"api": {"replica": 3}}, "at '/api': additional properties 'replica' not allowed"),
        ({"api": {"replicas": "3"}}, "at '/api/replicas': got string, want integer"),
        ({"api": {"settings": {"TRITONE_MAX_STREAM": "1"}}}, "'TRITONE_MAX_STREAM'"),
        ({"api": {"settings": {"DATABASE_URL": "postgresql://me:secret@there/"}}}, "'DATABASE_URL'"),
        ({"triton": {"groups": {"speech": {"gpu": 1}}}}, "at '/triton/groups/speech': additional properties 'gpu'"),
        ({"triton": {"groups": {"Speech_1": {}}}}, "'Speech_1'"),
        ({"triton": {"externalUrl": "http://triton:8001"}}, "at '/triton/externalUrl'"),
        ({"models": {"source": "nfs"}}, "at '/models/source': value must be one of 'pvc', 's3', 'gcs'"),
        ({"models": {"source": "s3"}}, "models.s3.url must say where the models are"),
        (
            {"models": {"source": "gcs", "export": {"enabled": True}, "gcs": {"url": "gs://b/m"}}},
            "models.source is gcs",
        ),
        ({"images": {"api": {"digest": "0.1.0"}}}, "at '/images/api/digest'"),
        ({"secret": {"existingSecret": ""}}, "secret.existingSecret must name a Secret"),
        ({"database": {"existingSecret": ""}}, "database.existingSecret must name a Secret"),
        ({"ingres": {"enabled": True}}, "additional properties 'ingres' not allowed"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render_values(merged(SECRETS, values))
    assert said in str(refused.value)


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    assert len(lines) < 300
    unexplained = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *[\w./-]+:", line) and not re.search(r" # \S", line) and not before.lstrip().startswith("#")
    ]
    assert unexplained == []


def test_the_schema_knows_the_values_and_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(part: dict[str, Any], value: Any, path: str) -> None:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if "properties" in part:
            assert part["additionalProperties"] is False, path
            offered = part["properties"].keys() - {"global", "claims"}
            assert value == {} or offered == value.keys(), path
            for key, inner in value.items():
                compare(part["properties"][key], inner, f"{path}.{key}")

    compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


@every_set
def test_the_notes_name_what_there_is(name: str) -> None:
    rendered = render(name)
    named = re.findall(r"(deployment|service)/([a-z0-9-]+)", rendered.notes)
    assert len(named) > 2
    for kind, of in named:
        assert rendered.named(kind.capitalize(), of)
    for command in re.findall(r"-- tritone (.+)", rendered.notes):
        with pytest.raises(SystemExit) as helped:
            main([*command.split(), "--help"])
        assert helped.value.code == 0, command
