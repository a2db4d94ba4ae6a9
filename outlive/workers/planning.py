"""A plan as text to paste: into a program, a shell, a cluster YAML, or a RayCluster."""

from __future__ import annotations

import shlex

from outlive.errors import BadClusterFile
from outlive.workers import autoscaler_files, commands, kuberay
from outlive.workers.goals import Plan
from outlive.workers.plain_data import YamlPath
from outlive.workers.settings import Value
from outlive.workers.yaml_file import YamlFile

_HEAD = "head_start_ray_commands"


def as_python(plan: Plan) -> str:
    """For `ray.init` of a program that starts its own cluster."""
    return f"ray.init(_system_config={plan.system_config()!r})"


def as_environment(plan: Plan) -> str:
    """For the shell in which Ray is started, on every node."""
    return "\n".join(f"export RAY_{name}={shlex.quote(_shell(value))}" for name, value in plan.system_config().items())


def as_command(plan: Plan) -> str:
    """For the head node. Workers get the settings from the head, and may not be given any."""
    return f"ray start --head {commands.system_config_option(plan.system_config())}"


def patch_cluster(file: YamlFile, plan: Plan) -> None:
    """Put the plan into a cluster YAML: the head's `ray start`, and the autoscaler's keys.

    Raises
    ------
    BadClusterFile
        It is not a file for `ray up`, or one of the values cannot be changed without changing others.
    """
    if kuberay.resources(file) or kuberay.clusters(file):
        raise BadClusterFile(f"{file.name} is for KubeRay: give it as --kuberay")
    if len(file.documents) > 1:
        raise BadClusterFile(f"{file.name} has {len(file.documents)} documents: `ray up` reads files with one")
    if not autoscaler_files.is_cluster(file.data[0]):
        raise BadClusterFile(f"{file.name} is no cluster YAML of `ray up`: it has no cluster_name, provider, ...")
    _refuse_templates(file)
    for planned in plan.autoscaler:
        there = file.value((0, planned.name))
        if planned.yields and there is not None:
            if there != planned.value:
                file.notes.append(f"{planned.name} stays {there}, as the file says")
            continue
        file.set((0, planned.name), planned.value)
    heads = _patch_commands(file, "worker_start_ray_commands", plan) + _patch_commands(file, _HEAD, plan)
    if not heads:
        _add_commands(file, plan)


def _add_commands(file: YamlFile, plan: Plan) -> None:
    """Write out Ray's default commands for the head, with the settings."""
    if file.value((0, _HEAD)) is not None:
        raise BadClusterFile(f"{file.name}, line {file.line_of((0, _HEAD))}: no `ray start --head` among its {_HEAD}")
    provider = file.value((0, "provider", "type"))
    found = autoscaler_files.start_commands(str(provider))
    if not found:
        raise BadClusterFile(f"{file.name}: no {_HEAD}, and Ray has no defaults for provider {provider}: write them")
    for i, command in enumerate(found):
        for start in commands.find(command):
            if start.head:
                found[i] = commands.edited(command, start.with_settings(plan.system_config()))
    file.set((0, _HEAD), found)


def _patch_commands(file: YamlFile, key: str, plan: Plan) -> int:
    """Change the commands of a list; returns how many of them start a head."""
    listed, heads = file.value((0, key)), 0
    for index in range(len(listed) if isinstance(listed, list) else 0):
        path = (0, key, index)
        for number in range(len(commands.find(_text(file, path)))):
            start = commands.find(_text(file, path))[number]
            heads += start.head
            try:
                edit = start.with_settings(plan.system_config()) if start.head else _without(start)
            except ValueError as error:
                row = file.line_of(path)
                raise BadClusterFile(f"{file.name}, line {row}: --system-config is no JSON object: {error}") from None
            if edit is not None and not (start.head and start.settings() == start.settings() | plan.system_config()):
                file.splice(path, *edit)
    return heads


def _text(file: YamlFile, path: YamlPath) -> str:
    command = file.value(path)
    return command if isinstance(command, str) else ""


def _without(start: commands.RayStart) -> commands.Edit | None:
    """Check that a worker is given no settings. A command that `$ARGS` may turn into a head's is left alone."""
    return start.without_settings() if start.worker else None


def patch_kuberay(file: YamlFile, plan: Plan) -> None:
    """Put the plan into every Ray cluster of a file: `rayStartParams` of the head, and `autoscalerOptions`.

    Raises
    ------
    BadClusterFile
        It has no Ray cluster, or one of the values cannot be changed without changing others.
    """
    found = kuberay.clusters(file)
    if not found or any(one.kind not in kuberay.KINDS for one in kuberay.resources(file)):
        raise BadClusterFile(f"{file.name}: {_no_cluster(file)}")
    _refuse_templates(file)
    for cluster in found:
        _patch_parameters(file, cluster, plan)
        _patch_idle_timeout(file, cluster, plan)


def _patch_parameters(file: YamlFile, cluster: kuberay.Cluster, plan: Plan) -> None:
    path = (*cluster.head, "rayStartParams")
    if kuberay.own_command(file, cluster):
        why = "its container has a command of its own, without $KUBERAY_GEN_RAY_START_CMD: rayStartParams do nothing"
        raise BadClusterFile(f"{file.name}, line {file.line_of(cluster.head)}: {why}")
    try:
        before = kuberay.system_config(file.value(path))
    except ValueError as error:
        row = file.line_of((*path, "system-config"))
        raise BadClusterFile(f"{file.name}, line {row}: system-config of the head is no JSON object: {error}") from None
    wanted = before | plan.system_config()
    if wanted != before:
        file.set((*path, "system-config"), kuberay.quoted(wanted), before="template")


def _patch_idle_timeout(file: YamlFile, cluster: kuberay.Cluster, plan: Plan) -> None:
    idle = plan.autoscaler_config().get("idle_timeout_minutes")
    if idle is None:
        return
    if not kuberay.autoscales(file, cluster):
        file.notes.append(f"{cluster.title}: no autoscaler (enableInTreeAutoscaling): no idle timeout is set")
        return
    path = (*cluster.spec, "autoscalerOptions", "idleTimeoutSeconds")
    file.set(path, round(float(idle) * 60), after="enableInTreeAutoscaling")
    for group in cluster.workers:
        if (own := file.value((*group, "idleTimeoutSeconds"))) is not None:
            row = file.line_of((*group, "idleTimeoutSeconds"))
            file.notes.append(
                f"line {row}: the group's own idleTimeoutSeconds of {own} stays, and counts for its nodes"
            )


def _no_cluster(file: YamlFile) -> str:
    """The reason why there is nothing to patch."""
    for one in kuberay.resources(file):
        row = file.line_of((*one.path, "kind"))
        if one.kind not in kuberay.KINDS:
            return f"line {row}: KubeRay has no kind {one.kind}"
        if file.value((*one.path, "spec", "clusterSelector")) is not None:
            return f"line {row}: the {one.kind} runs on a cluster that its clusterSelector names: patch that one's file"
        return f"line {row}: the {one.kind} has no headGroupSpec"
    kinds = sorted({str(data["kind"]) for data in file.data if isinstance(data, dict) and "kind" in data})
    if kinds:
        return f"no Ray cluster in it: {', '.join(kinds)}"
    return "no RayCluster, RayJob, RayService or RayCronJob, and no values of the chart ray-cluster"


def _refuse_templates(file: YamlFile) -> None:
    if file.unread:
        why = "a template: what stands there becomes any number of lines. Patch its values, or what it renders to"
        raise BadClusterFile(f"{file.name}, line {file.unread[0]}: {why}")


def _shell(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
