"""RayCluster, RayJob, RayService, RayCronJob of KubeRay, and the values of its chart ray-cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from outlive.workers import kuberay
from outlive.workers.checking import command_line, kuberay_rules, schema, system_settings
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.checking.yaml_lines import says_eager
from outlive.workers.kuberay import Cluster, Resource
from outlive.workers.plain_data import YamlPath
from outlive.workers.templates import UNKNOWN
from outlive.workers.yaml_file import YamlFile


def _dropped(_key: str, _value: Any) -> str:
    return "Kubernetes refuses it, or drops it without a word"


def check(file: YamlFile) -> list[Misconfiguration]:
    """Look at all of KubeRay's resources in a file."""
    found: list[Misconfiguration] = []
    for resource in kuberay.resources(file):
        found += [*_against_schema(file, resource), *kuberay_rules.check_job(file, resource)]
    eager = says_eager(file.lines)
    for cluster in kuberay.clusters(file):
        found += [*kuberay_rules.check(file, cluster), *_autoscaler(file, cluster)]
        found += _group(file, cluster, cluster.head, eager, worker=False)
        for group in cluster.workers:
            found += _group(file, cluster, group, eager, worker=True)
    return found


@lru_cache(maxsize=1)
def _rules() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text())
    return loaded


def _against_schema(file: YamlFile, resource: Resource) -> Iterator[Misconfiguration]:
    line = file.line_of((*resource.path, "kind"))
    source = f"KubeRay {_rules()['version']}"
    if resource.kind not in kuberay.KINDS:
        yield Misconfiguration(
            "schema", line, f"no kind {resource.kind}", f"{source} has none", f"one of: {', '.join(kuberay.KINDS)}"
        )
        return
    path = (*resource.path, "spec")
    if not isinstance(file.value(path), dict):
        yield Misconfiguration("schema", line, "no spec", f"a {resource.kind} has one", "add it")
        return
    rules = {"$ref": f"#/$defs/{resource.kind}Spec", "$defs": _rules()["$defs"]}
    yield from schema.check(file, path, rules, source, _dropped)
    spec = (*resource.path, *kuberay.KINDS[resource.kind])
    holds = file.value(spec)
    if isinstance(holds, dict) and not isinstance(holds.get("headGroupSpec"), dict):
        yield Misconfiguration("schema", file.line_of(spec), "no headGroupSpec", "it is required", "add it")


def _autoscaler(file: YamlFile, cluster: Cluster) -> Iterator[Misconfiguration]:
    path = (*cluster.spec, "autoscalerOptions")
    options = file.value(path)
    if not isinstance(options, dict):
        options = {}
    if cluster.resource == cluster.spec[:-1] and "kind" not in file.value(
        cluster.resource
    ):  # Helm values have no schema of their own
        rules = _rules()["$defs"]["RayClusterSpec"]["properties"]["autoscalerOptions"]
        yield from schema.check(file, path, rules, f"KubeRay {_rules()['version']}", _dropped) if options else ()
    seconds = options.get("idleTimeoutSeconds")
    line = file.line_of((*path, "idleTimeoutSeconds"))
    if options and not kuberay.autoscales(file, cluster):
        if UNKNOWN in str(file.value((*cluster.spec, "enableInTreeAutoscaling"))):
            return
        why = "enableInTreeAutoscaling is not true: there is no autoscaler, and no node is ever removed"
        fix = "enableInTreeAutoscaling: true"
        yield Misconfiguration("unreachable-timeout", file.line_of(path), "autoscalerOptions have no effect", why, fix)
        return
    fixed = [_is_fixed(file, group) for group in cluster.workers]
    if seconds is not None and fixed and all(fixed):
        why = "every worker group has minReplicas equal to maxReplicas, so that the autoscaler may remove none"
        yield Misconfiguration(
            "unreachable-timeout", line, f"idleTimeoutSeconds={seconds} can let no node go", why, "lower minReplicas"
        )
    for group, stays in zip(cluster.workers, fixed, strict=True):
        own = file.value((*group, "idleTimeoutSeconds"))
        if own is not None and stays:
            why = "minReplicas equals maxReplicas: the autoscaler may remove none of this group"
            line = file.line_of((*group, "idleTimeoutSeconds"))
            yield Misconfiguration(
                "unreachable-timeout", line, f"idleTimeoutSeconds={own} can let no node go", why, "lower minReplicas"
            )


def _is_fixed(file: YamlFile, group: YamlPath) -> bool:
    least, most = (file.value((*group, name)) for name in ("minReplicas", "maxReplicas"))
    return isinstance(least, int) and least == most and least > 0


def _group(file: YamlFile, cluster: Cluster, group: YamlPath, eager: bool, *, worker: bool) -> list[Misconfiguration]:
    path = (*group, "rayStartParams")
    parameters = file.value(path)
    found = _names(file, path, parameters) if isinstance(parameters, dict) else []
    if (
        not isinstance(parameters, dict)
        or "system-config" not in parameters
        or UNKNOWN in str(parameters["system-config"])
    ):
        return found
    path = (*path, "system-config")
    line = file.line_of(path)
    if worker:
        why = "Ray refuses it there, so that the pod cannot start. Workers get the head's settings"

        def remove() -> None:
            file.remove(path)

        mend = remove if len(parameters) > 1 else None
        what = "system-config in a worker group"
        return [*found, Misconfiguration("system-config-on-worker", line, what, why, "remove it here", mend)]
    if kuberay.own_command(file, cluster):
        why = "the container has a command of its own, which does not run $KUBERAY_GEN_RAY_START_CMD"
        found.append(
            Misconfiguration(
                "no-effect", line, "rayStartParams have no effect", why, "put the settings into that command"
            )
        )
    try:
        settings = kuberay.system_config(parameters)
    except ValueError as error:
        why = f"after the shell has taken off a layer of quotes it is no JSON object: {error}"
        fix = """write system-config: '"{\\"name\\":value}"'"""
        return [*found, Misconfiguration("not-json", line, "system-config cannot be read", why, fix)]

    def write(new: Mapping[str, Any]) -> None:
        file.set(path, kuberay.quoted(dict(new)))

    return found + system_settings.check(settings, line, eager=eager, change=write)


def _names(file: YamlFile, path: YamlPath, parameters: dict[str, Any]) -> list[Misconfiguration]:
    """Parameters that `ray start` does not have as options."""
    known = command_line.known_options()
    found = []
    for name in parameters:
        if known and f"--{name}" not in known and UNKNOWN not in str(name):
            what = f"`ray start` has no option --{name}"
            fix = command_line.option_advice(f"--{name}")
            found.append(
                Misconfiguration("unknown-option", file.line_of((*path, name)), what, "the pod does not start", fix)
            )
    return found
