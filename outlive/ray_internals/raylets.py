"""The folder of a node's logs, and the processes of raylets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from outlive.ray_internals import rpc
from outlive.ray_internals.node_table import PATIENCE, explained, gcs_client, is_head, node_records

_SESSION = b"session"  # KV_NAMESPACE_SESSION of ray_constants.py
_NODE = b"--node_id="


def log_folder(node_id: str) -> str:
    """The folder on that node in which its raylet and its workers log.

    `session_dir` of `GcsNodeInfo`, which Ray 2.60 has; before, all nodes have the head's `session_name` and `temp_dir`
    (ray/_private/node.py).

    Raises
    ------
    StoreUnavailable
        This process is not connected, or the GCS does not answer.
    """
    record = next((record for record in node_records() if record.node_id.hex() == node_id), None)
    folder = getattr(record, "session_dir", "")
    if not folder:
        folder = f"{_of_session('temp_dir') or '/tmp/ray'}/{session_name() or 'session_latest'}"
    return f"{folder}/logs"


def session_name() -> str | None:
    """The name of the cluster: as `Connection.cluster`, for a process that may not have joined it."""
    return _of_session("session_name")


def _of_session(key: str) -> str | None:
    client: Any = gcs_client()
    with explained():
        value: bytes | None = client.internal_kv_get(key.encode(), _SESSION, timeout=PATIENCE)
    return None if value is None else value.decode()


def pid_here(node_id: str) -> int | None:
    """The pid of the node's raylet, if it runs where this process can see it."""
    return next((pid for pid, node in _here() if node == node_id), None)


def environment(pid: int) -> dict[str, str]:
    """The environment with which a process of this user was started; empty if it has ended."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (os.fsdecode(word).partition("=") for word in words) if name}


def nodes_here() -> list[str]:
    """The nodes whose raylets run where this process can see them, of any cluster: in a pod its own one.

    Ray itself finds the node that a driver joins in this way: `get_node_to_connect_for_driver` of
    ray/_private/services.py.
    """
    return sorted(node for _, node in _here())


def of_cluster_here() -> dict[str, bool]:
    """The living nodes of this cluster, of `nodes_here`, each with whether it is the head. Nothing is joined for it.

    Raises
    ------
    StoreUnavailable
        No cluster was joined or named, or the GCS does not answer.
    """
    alive, ids = rpc.messages("gcs").GcsNodeInfo.GcsNodeState.ALIVE, nodes_here()
    living = {one.node_id.hex(): is_head(one) for one in node_records() if one.state == alive}
    return {node: living[node] for node in ids if node in living}


def _here() -> Iterator[tuple[int, str]]:
    """The pid and the node of each raylet."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"raylet"):
            for word in words[1:]:
                if word.startswith(_NODE):
                    yield int(entry.name), word.removeprefix(_NODE).decode()
