"""Whether anything removes this cluster's idle nodes, and after how long.

Each head runs a monitor process; with `--autoscaling-config` it scales, else it only mirrors the nodes there are
(`Monitor._initialize_autoscaler` in autoscaler/_private/monitor.py, `ReadOnlyProvider` of autoscaler/v2). KubeRay's
runs in a container of its own beside the head (`ray kuberay-autoscaler`), and takes its settings from Kubernetes.
The GCS knows no timeout and no bounds: `ClusterConfig` of autoscaler.proto is written by nothing in Ray's wheel.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from outlive.node import Autoscaler
from outlive.ray_internals import rpc
from outlive.ray_internals.node_table import PATIENCE, explained, gcs_client, node_records

_MIRRORED = re.compile(r"node_[0-9a-f]{56}")  # format_readonly_node_type in autoscaler/_private/util.py
_STATUS = b"__autoscaling_status"  # DEBUG_AUTOSCALING_STATUS of ray_constants.py; the v1 monitor writes it every 5 s


def autoscaler() -> Autoscaler | None:
    """The autoscaler that removes idle nodes. None if nothing does, as after `ray.init()` or `ray start --head`.

    On the head, the monitor's command line and its config file say all. On other nodes, and if no monitor can be seen
    (KubeRay), the types of the nodes show that there is one, but not its settings. KubeRay tells them to all nodes, so
    that elsewhere a monitor of v2 that only mirrors looks the same (`RayPeers.autoscaler` asks on the head). It takes
    two or three calls of the GCS, and a look at the processes of this machine. Ask again now and then: the monitor
    starts last, and its file may change.

    Raises
    ------
    StoreUnavailable
        This process is not connected, or the GCS does not answer.
    """
    client = gcs_client()
    with explained():
        status = client.internal_kv_get(_STATUS, None, timeout=PATIENCE)
    types = _types(json.loads(status)) if status else {}
    real = {ip: kind for ip, kind in types.items() if not _MIRRORED.fullmatch(kind)}
    command = _monitor()
    if command is not None:
        path = _option(command, "--autoscaling-config")
        return None if path is None else _configured(_load(path), real)
    if real or (not status and _v2_scales()):
        return Autoscaler({}, real)
    return None


def _types(status: dict[str, Any]) -> dict[str, str]:
    """`AutoscalerSummary.node_type_mapping` of autoscaler/_private/autoscaler.py."""
    report: dict[str, Any] = status.get("autoscaler_report") or {}
    return report.get("node_type_mapping") or {}


def _monitor() -> list[str] | None:
    """The command line of this cluster's monitor, if it runs where this process can see it.

    It is known by its session, as this process may know the GCS by another address: KubeRay sets RAY_ADDRESS to
    127.0.0.1 in the head's pod. Source: `start_monitor` of ray/_private/services.py.
    """
    with explained():
        session = gcs_client().internal_kv_get(b"session_name", b"session", timeout=PATIENCE)
    name = session.decode() if session else None
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        monitor = any(re.search(r"autoscaler/(_private|v2)/monitor\.py$", part) for part in command[:4])
        if monitor and Path(_option(command, "--logs-dir") or "").parent.name == name:
            return command
    return None


def _option(command: list[str], name: str) -> str | None:
    return next((part.partition("=")[2] for part in command if part.startswith(f"{name}=")), None)


def _load(path: str) -> dict[str, Any]:
    """The autoscaler's config, YAML or JSON. The autoscaler itself reads it again in every round."""
    import yaml  # a dependency of Ray

    try:
        loaded = yaml.safe_load(Path(os.path.expanduser(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _configured(config: dict[str, Any], types: dict[str, str]) -> Autoscaler:
    """The settings that keep nodes, as ray-schema.json has them."""
    if not config:
        return Autoscaler({}, types)
    kinds: dict[str, dict[str, Any]] = config.get("available_node_types") or {}
    workers = {name: kind for name, kind in kinds.items() if name != config.get("head_node_type")}
    least = {name: int(kind.get("min_workers") or 0) for name, kind in workers.items()}
    return Autoscaler(least, types)


def _v2_scales() -> bool:
    """Whether an autoscaler v2 reports to the GCS, and its nodes were told their type (`RAY_NODE_TYPE_NAME`)."""
    pb = rpc.messages("autoscaler")
    with explained():
        reply = pb.GetClusterStatusReply.FromString(gcs_client().get_cluster_status(timeout_s=int(PATIENCE)))
    return reply.HasField("autoscaling_state") and any(record.node_type_name for record in node_records())
