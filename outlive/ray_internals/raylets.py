"""The folder of a node's logs, and the process of its raylet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outlive.ray_internals.node_table import PATIENCE, explained, gcs_client, node_records

_SESSION = b"session"  # KV_NAMESPACE_SESSION of ray_constants.py


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
        client: Any = gcs_client()
        with explained():
            name = client.internal_kv_get(b"session_name", _SESSION, timeout=PATIENCE) or b"session_latest"
            above = client.internal_kv_get(b"temp_dir", _SESSION, timeout=PATIENCE) or b"/tmp/ray"
        folder = f"{above.decode()}/{name.decode()}"
    return f"{folder}/logs"


def pid_here(node_id: str) -> int | None:
    """The pid of the node's raylet, if it runs where this process can see it."""
    wanted = f"--node_id={node_id}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"raylet") and wanted in words:
            return int(entry.name)
    return None
