"""The Ray clusters in a file for Kubernetes: RayCluster, RayJob, RayService, RayCronJob, and Helm values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from outlive.workers import shell
from outlive.workers.plain_data import YamlPath
from outlive.workers.yaml_file import YamlFile

KINDS: dict[str, YamlPath] = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
    "RayCronJob": ("spec", "jobTemplate", "rayClusterSpec"),
}
"""The path of the cluster's spec in each kind (ray.io/v1 of KubeRay 1.7.0)."""
_CHART = {"autoscalerOptions", "containerEnv", "enableInTreeAutoscaling", "rayStartParams", "rayVersion"}
"""Keys that only the `head` in the values of KubeRay's chart ray-cluster has."""


@dataclass(frozen=True)
class Resource:
    """A document, or an item of a `List`, of one of KubeRay's kinds."""

    kind: str
    name: str
    path: YamlPath


@dataclass(frozen=True)
class Cluster:
    """The paths of the parts of one Ray cluster."""

    title: str
    """A name for messages, such as `RayJob pi`."""
    spec: YamlPath
    """The mapping with `enableInTreeAutoscaling` and `autoscalerOptions`."""
    head: YamlPath
    workers: tuple[YamlPath, ...]
    resource: YamlPath
    """The number of the document."""


def resources(file: YamlFile) -> list[Resource]:
    """KubeRay's resources in a file, in the order of the text."""
    found = []
    for path, data in _objects(file):
        group = str(data.get("apiVersion", "")).partition("/")[0]
        if data.get("kind") in KINDS or (group == "ray.io" and isinstance(data.get("kind"), str)):
            metadata = data.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            found.append(Resource(str(data["kind"]), str(name or "without a name"), path))
    return found


def clusters(file: YamlFile) -> list[Cluster]:
    """The Ray clusters in a file, in the order of the text."""
    found = []
    for one in resources(file):
        spec = (*one.path, *KINDS.get(one.kind, ("spec",)))
        if isinstance(file.value((*spec, "headGroupSpec")), dict):
            groups = file.value((*spec, "workerGroupSpecs"))
            count = len(groups) if isinstance(groups, list) else 0
            workers = tuple((*spec, "workerGroupSpecs", i) for i in range(count))
            found.append(Cluster(f"{one.kind} {one.name}", spec, (*spec, "headGroupSpec"), workers, one.path))
    return found + list(_charts(file))


def is_kubernetes(file: YamlFile) -> bool:
    """Whether any document has a `kind`."""
    return any("kind" in data and "apiVersion" in data for _, data in _objects(file))


def autoscales(file: YamlFile, cluster: Cluster) -> bool:
    """Whether an autoscaler runs beside the head."""
    return file.value((*cluster.spec, "enableInTreeAutoscaling")) is True


def system_config(parameters: Any) -> dict[str, Any]:
    """The settings in `rayStartParams`: KubeRay writes each as `--name=value` into a shell command, unquoted.

    Raises
    ------
    ValueError
        It is not a JSON object after the shell has taken off a layer of quotes.
    """
    raw = parameters.get("system-config") if isinstance(parameters, dict) else None
    if raw is None:
        return {}
    words = [word for command in shell.commands(str(raw)) for word in command.words]
    if not all(word.known for word in words):
        raise ValueError("it is made when the pod starts")
    loaded = json.loads("".join(word.text for word in words))
    if not isinstance(loaded, dict):
        raise ValueError(f"{raw!r} is no JSON object")  # noqa: TRY004 - as json does
    return loaded


def quoted(settings: dict[str, Any]) -> str:
    """Settings for `rayStartParams`: JSON in the quotes that the shell takes off."""
    written = json.dumps(json.dumps(settings, separators=(",", ":")))
    return written.replace("$", "\\$").replace("`", "\\`")


def own_command(file: YamlFile, cluster: Cluster) -> bool:
    """Whether the head's container has a command of its own that does not run KubeRay's, made of rayStartParams."""
    annotations = file.value((*cluster.resource, "metadata", "annotations"))
    marked = isinstance(annotations, dict) and annotations.get("ray.io/overwrite-container-cmd") == "true"
    container = file.value((*cluster.head, "template", "spec", "containers", 0))
    if not marked or not isinstance(container, dict):
        return False
    return "KUBERAY_GEN_RAY_START_CMD" not in json.dumps([container.get("command"), container.get("args")])


def _objects(file: YamlFile) -> Iterator[tuple[YamlPath, dict[str, Any]]]:
    for number, data in enumerate(file.data):
        if not isinstance(data, dict):
            continue
        if data.get("kind") == "List" and isinstance(data.get("items"), list):
            yield from (((number, "items", i), item) for i, item in enumerate(data["items"]) if isinstance(item, dict))
        else:
            yield (number,), data


def _charts(file: YamlFile) -> Iterator[Cluster]:
    """The values of the chart ray-cluster, at the top or below the name of a chart that uses it."""
    for number, data in enumerate(file.data):
        if not isinstance(data, dict) or "kind" in data:
            continue
        for path, values in [((number,), data), *(((number, key), below) for key, below in data.items())]:
            head = values.get("head") if isinstance(values, dict) else None
            if not isinstance(head, dict) or not _CHART & set(head):
                continue
            more = values.get("additionalWorkerGroups")
            workers = [(*path, "worker")] if isinstance(values.get("worker"), dict) else []
            workers += [(*path, "additionalWorkerGroups", name) for name in (more if isinstance(more, dict) else ())]
            yield Cluster("Helm values", (*path, "head"), (*path, "head"), tuple(workers), path)
