"""Rules of KubeRay's operator beside its schema (ray-operator/controllers/ray/utils/validation.go, v1.7.0)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.kuberay import Cluster, Resource
from outlive.workers.plain_data import YamlPath
from outlive.workers.yaml_file import YamlFile

_WHY = "the operator refuses it"
_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")


def check_job(file: YamlFile, resource: Resource) -> Iterator[Misconfiguration]:
    """Check that a job has a cluster of its own, or names one."""
    spec = (*resource.path, "spec")
    named = any(file.value((*spec, name)) for name in ("rayClusterSpec", "clusterSelector"))
    if resource.kind == "RayJob" and not named and not file.template:
        yield Misconfiguration(
            "schema", file.line_of(spec), "neither rayClusterSpec nor clusterSelector", _WHY, "add one"
        )


def check(file: YamlFile, cluster: Cluster) -> Iterator[Misconfiguration]:
    """Look at a cluster."""
    yield from _seconds(file, (*cluster.spec, "autoscalerOptions", "idleTimeoutSeconds"))
    for group in (cluster.head, *cluster.workers):
        yield from _parameters(file, group)
    for group in cluster.workers:
        least, most = (file.value((*group, name)) for name in ("minReplicas", "maxReplicas"))
        if isinstance(least, int) and isinstance(most, int) and least > most:
            line = file.line_of((*group, "minReplicas"))
            yield Misconfiguration("schema", line, f"minReplicas {least} is above maxReplicas {most}", _WHY, "lower it")
        yield from _seconds(file, (*group, "idleTimeoutSeconds"))
        if file.value((*group, "idleTimeoutSeconds")) is not None and not _second_version(file, cluster):
            line = file.line_of((*group, "idleTimeoutSeconds"))
            what = "idleTimeoutSeconds of a group needs the autoscaler's version v2"
            yield Misconfiguration("schema", line, what, _WHY, "autoscalerOptions.version: v2")


def _seconds(file: YamlFile, path: YamlPath) -> Iterator[Misconfiguration]:
    value = file.value(path)
    if isinstance(value, int) and value < 0:
        yield Misconfiguration(
            "wrong-type", file.line_of(path), f"idleTimeoutSeconds: {value}", _WHY, "60 is the default"
        )


def _parameters(file: YamlFile, group: YamlPath) -> Iterator[Misconfiguration]:
    path = (*group, "rayStartParams")
    parameters: Any = file.value(path)
    if not isinstance(parameters, dict):
        return
    if "labels" in parameters:
        fix = "labels of the group, beside rayStartParams"
        yield Misconfiguration("schema", file.line_of((*path, "labels")), "labels in rayStartParams", _WHY, fix)
    doubled = [name for name in _RESOURCES if parameters.get(name)]
    if doubled and file.value((*group, "resources")) and "template" in file.value(group):
        line = file.line_of((*group, "resources"))
        yield Misconfiguration(
            "schema", line, f"resources beside {doubled[0]} in rayStartParams", _WHY, "one of the two"
        )


def _second_version(file: YamlFile, cluster: Cluster) -> bool:
    if file.value((*cluster.spec, "autoscalerOptions", "version")) == "v2":
        return True
    listed = file.value((*cluster.head, "template", "spec", "containers", 0, "env"))
    given = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return any(one.get("name") == "RAY_enable_autoscaler_v2" and one.get("value") in {"1", "true"} for one in given)
