"""A RayCluster of KubeRay."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator
from typing import Any

from outlive.workers.checking import system_settings
from outlive.workers.checking.cluster_file import says_eager
from outlive.workers.checking.finding import Finding
from outlive.workers.yaml_file import YamlFile

_AUTOSCALER = {
    "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext", "upscalingMode",
    "version", "volumeMounts",
}  # fmt: skip
"""Fields of AutoscalerOptions in KubeRay's ray.io_rayclusters.yaml."""
_MODES = ("Default", "Aggressive", "Conservative")


def check(file: YamlFile) -> list[Finding]:
    """Look at a RayCluster."""
    spec = file.data.get("spec")
    if not hasattr(spec, "lc"):
        return [Finding("schema", 1, "no spec", "a RayCluster has one", "add spec.headGroupSpec")]
    found = list(_options(file, spec))
    head = spec.get("headGroupSpec")
    if not hasattr(head, "lc"):
        found.append(
            Finding("schema", file.line_of(file.data, "spec") + 1, "no headGroupSpec", "it is required", "add it")
        )
    else:
        found += _parameters(file, head, worker=False)
    for group in spec.get("workerGroupSpecs") or []:
        if hasattr(group, "lc"):
            found += _parameters(file, group, worker=True)
    return found


def _options(file: YamlFile, spec: Any) -> Iterator[Finding]:
    options = spec.get("autoscalerOptions")
    if not hasattr(options, "lc"):
        return
    if not spec.get("enableInTreeAutoscaling"):
        line = file.line_of(spec, "autoscalerOptions") + 1
        why = "enableInTreeAutoscaling is not true: there is no autoscaler, and no node is ever removed"
        yield Finding(
            "unreachable-timeout", line, "autoscalerOptions have no effect", why, "enableInTreeAutoscaling: true"
        )
    for key, value in list(options.items()):
        line = file.line_of(options, key) + 1
        if key not in _AUTOSCALER:
            words = {"idle_timeout_minutes": "idleTimeoutSeconds", "upscaling_speed": "upscalingMode"}
            close = [words[key]] if key in words else difflib.get_close_matches(str(key), _AUTOSCALER, 1, 0.6)
            fix = f"did you mean {close[0]}?" if close else f"one of: {', '.join(sorted(_AUTOSCALER))}"
            yield Finding(
                "unknown-key", line, f"no field {key} in autoscalerOptions", "Kubernetes drops or refuses it", fix
            )
        elif key == "idleTimeoutSeconds" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            yield Finding("wrong-type", line, f"{key}: {value!r} is no whole number", "seconds", "60 is the default")
        elif key == "upscalingMode" and value not in _MODES:
            yield Finding(
                "wrong-type", line, f"{key}: no mode {value!r}", "the operator refuses it", " or ".join(_MODES)
            )


def _parameters(file: YamlFile, group: Any, *, worker: bool) -> list[Finding]:
    parameters = group.get("rayStartParams")
    if not hasattr(parameters, "lc") or "system-config" not in parameters:
        return []
    line = file.line_of(parameters, "system-config") + 1
    if worker:
        why = "Ray refuses it there, so that the pod cannot start. Workers get the head's settings"
        return [Finding("system-config-on-worker", line, "system-config in a worker group", why, "remove it here")]
    try:
        settings = json.loads("".join(shlex.split(str(parameters["system-config"]))))
        if not isinstance(settings, dict):
            raise ValueError("no object")  # noqa: TRY004 - as json does
    except ValueError as error:
        why = f"after the shell has taken off a layer of quotes it is no JSON object: {error}"
        fix = """write system-config: '"{\\"name\\":value}"'"""
        return [Finding("not-json", line, "system-config cannot be read", why, fix)]
    return system_settings.check(settings, line, eager=says_eager(file))
