"""A plan, written as what a user can paste: for a program, a shell, a cluster YAML, a RayCluster."""

from __future__ import annotations

import json
import shlex
from typing import Any

from outlive.errors import BadClusterFile
from outlive.workers import commands
from outlive.workers.goals import Plan
from outlive.workers.settings import Value
from outlive.workers.yaml_file import YamlFile

_DEFAULT_START = (
    "ray start --head --port=6379 --object-manager-port=8076 --autoscaling-config=~/ray_bootstrap_config.yaml"
)
"""What Ray's defaults.yaml files start the head with (ray/autoscaler/aws/defaults.yaml)."""


def as_python(plan: Plan) -> str:
    """For `ray.init` of a program that starts its own cluster."""
    return f"ray.init(_system_config={plan.system_config()!r})"


def as_environment(plan: Plan) -> str:
    """For the shell in which Ray is started, on every node."""
    return "\n".join(f"export RAY_{name}={shlex.quote(_shell(value))}" for name, value in plan.system_config().items())


def as_command(plan: Plan) -> str:
    """For the head node; workers get the settings from it, and may not be given any."""
    return f"ray start --head {commands.system_config_option(plan.system_config())}"


def patch_cluster(file: YamlFile, plan: Plan) -> None:
    """Put the plan into a cluster YAML: the head's `ray start`, and the autoscaler's keys.

    Raises
    ------
    BadClusterFile
        It is a RayCluster, or its commands cannot be read.
    """
    if file.data.get("kind") == "RayCluster":
        raise BadClusterFile(f"{file.name} is a RayCluster of KubeRay: give it as --kuberay")
    for name, value in plan.autoscaler_config().items():
        file.set_scalar(file.data, name, value)
    for key in ("worker_start_ray_commands", "head_start_ray_commands"):
        _patch_commands(file, key, plan)
    if not any(start.head for _, start in _starts(file, "head_start_ray_commands")):
        if "head_start_ray_commands" in file.data:
            raise BadClusterFile(f"{file.name}: no `ray start --head` among its head_start_ray_commands")
        line = commands.with_settings(commands.find(_DEFAULT_START)[0], plan.system_config())
        file.append(f"head_start_ray_commands:\n  - ray stop\n  - {json.dumps(line)}\n")


def _starts(file: YamlFile, key: str) -> list[tuple[int, commands.RayStart]]:
    return [
        (index, start)
        for index, command in enumerate(file.data.get(key) or [])
        if isinstance(command, str)
        for start in commands.find(command)
    ]


def _patch_commands(file: YamlFile, key: str, plan: Plan) -> None:
    for index, start in _starts(file, key):
        try:
            text = (
                commands.with_settings(start, plan.system_config()) if start.head else commands.without_settings(start)
            )
        except ValueError as error:
            row = file.line_of(file.data[key], index) + 1
            raise BadClusterFile(f"{file.name}, line {row}: --system-config is no JSON object: {error}") from None
        if text != start.text:
            file.replace_item(file.data[key], index, commands.replaced(file.data[key][index], start, text))


def patch_kuberay(file: YamlFile, plan: Plan) -> None:
    """Put the plan into a RayCluster: `rayStartParams` of the head, and `autoscalerOptions`.

    KubeRay writes each parameter as `--name=value` into a shell command, unquoted; the value brings its own quotes,
    as in its documentation of `resources`.

    Raises
    ------
    BadClusterFile
        It is no RayCluster, or lacks a head group.
    """
    spec = file.data.get("spec")
    if file.data.get("kind") != "RayCluster" or not hasattr(spec, "lc") or "headGroupSpec" not in spec:
        raise BadClusterFile(f"{file.name} is no RayCluster with a headGroupSpec")
    quoted = json.dumps(json.dumps(kuberay_settings(file) | plan.system_config(), separators=(",", ":")))
    parameters = spec["headGroupSpec"].get("rayStartParams")
    if hasattr(parameters, "lc") and parameters:
        file.set_scalar(parameters, "system-config", quoted)
    else:
        raise BadClusterFile(f"{file.name}: its headGroupSpec has no rayStartParams to add to; write one with num-cpus")
    idle = plan.autoscaler_config().get("idle_timeout_minutes")
    if idle is None:
        return
    options = file.data["spec"].get("autoscalerOptions")
    seconds = round(float(idle) * 60)
    if hasattr(options, "lc") and options:
        file.set_scalar(options, "idleTimeoutSeconds", seconds)
    else:
        column = " " * file.data["spec"].lc.col
        row = file.line_of(file.data["spec"], "headGroupSpec")
        file.insert(row, f"{column}autoscalerOptions:\n{column}  idleTimeoutSeconds: {seconds}\n")


def kuberay_settings(file: YamlFile) -> dict[str, Any]:
    """The system config that the head's `rayStartParams` have already."""
    parameters = file.data["spec"]["headGroupSpec"].get("rayStartParams") or {}
    raw = parameters.get("system-config")
    if raw is None:
        return {}
    try:
        loaded = json.loads("".join(shlex.split(str(raw))))
    except ValueError as error:
        raise BadClusterFile(f"{file.name}: system-config of the head is no JSON object: {error}") from None
    return loaded if isinstance(loaded, dict) else {}


def _shell(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
