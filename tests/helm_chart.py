"""The chart in helm/, rendered by Helm's own code with each set of values, and what tests ask of the manifests."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from api.app import create_app
from api.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
CHART = PROJECT / "helm"
RELEASE, NAMESPACE = "demo", "speech"
# Without these it says what is missing.
SECRETS = {"secret": {"existingSecret": "given-secret"}, "database": {"existingSecret": "given-database"}}
PODS = ("Deployment", "StatefulSet", "Job", "Pod")
Manifest = dict[str, Any]


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(under)
    for key, value in over.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def load_values() -> dict[str, dict[str, Any]]:
    sets = yaml.safe_load((PROJECT / "tests" / "data" / "helm_values.yaml").read_text())
    documented = (PROJECT / "docs" / "deployment.md").read_text().partition("\n## Kubernetes\n")[2]
    sets["documented"] = yaml.safe_load(documented.partition("```yaml\n")[2].partition("```")[0])
    sets["trial"] = yaml.safe_load((CHART / "values-trial.yaml").read_text()) | {"database": {"existingSecret": ""}}
    return {name: merged(SECRETS, values) for name, values in sets.items()}


VALUES = load_values()


@functools.cache
def chart() -> helm.Chart:
    return helm.Chart.load(CHART)


@dataclass(frozen=True)
class Workload:
    """What makes Pods, and their template."""

    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def template(self) -> Manifest:
        """With metadata and spec."""
        return self.manifest if self.manifest["kind"] == "Pod" else self.manifest["spec"]["template"]

    @property
    def spec(self) -> Manifest:
        return dict(self.template["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}

    def has_port(self, port: str | int) -> bool:
        return port in self.ports or port in self.ports.values()

    def mounts(self, path: str) -> list[Manifest]:
        return [mount for one in self.containers for mount in one["volumeMounts"] if mount["mountPath"] == path]

    def container(self, name: str) -> Manifest:
        return next(one for one in self.containers if one["name"] == name)


@dataclass(frozen=True)
class Render:
    values: dict[str, Any]
    manifests: list[Manifest]
    notes: str

    def of(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] in kinds]

    def named(self, kind: str, name: str) -> Manifest:
        return next(manifest for manifest in self.of(kind) if manifest["metadata"]["name"] == name)

    @property
    def workloads(self) -> list[Workload]:
        return [Workload(manifest) for manifest in self.of(*PODS)]

    def selected(self, labels: Mapping[str, str]) -> list[Workload]:
        return [one for one in self.workloads if labels.items() <= one.labels.items()]

    def component(self, name: str) -> list[Workload]:
        return self.selected({"app.kubernetes.io/component": name})

    def environment(self, container: Manifest) -> dict[str, str]:
        """As the container has it, with `<a Secret's name>` for what comes out of one."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.named("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", []):
            if "value" in variable:
                value = variable["value"]
                for name, known in found.items():
                    value = value.replace(f"$({name})", known)
                found[variable["name"]] = value
            else:
                found[variable["name"]] = f"<{variable['valueFrom']['secretKeyRef']['name']}>"
        return found


@functools.cache
def render(name: str) -> Render:
    return render_values(VALUES[name])


def render_values(values: dict[str, Any]) -> Render:
    """Raises helm.HelmError."""
    chart().validate_schema(values)
    texts = chart().render(values, name=RELEASE, namespace=NAMESPACE)
    manifests = [
        manifest
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if manifest
    ]
    return Render(chart().merge_values(values), manifests, texts["tritone/templates/NOTES.txt"])


@functools.cache
def routes() -> set[str]:
    settings = Settings(secret="s", database_url="sqlite:///unused.db")
    return {route.path for route in create_app(settings).routes}


def every_manifest() -> Iterator[Manifest]:
    """Each that some set of values gives, once."""
    yield from {json.dumps(one, sort_keys=True): one for name in VALUES for one in render(name).manifests}.values()


def under(value: Any, *keys: str) -> Iterator[str]:
    """All that stands under one of these keys, wherever that is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
            else:
                yield from under(inner, *keys)
    elif isinstance(value, list):
        for inner in value:
            yield from under(inner, *keys)
