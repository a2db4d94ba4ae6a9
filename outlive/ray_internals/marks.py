"""Notes that a worker leaves in the GCS's key-value store about itself, for `inspect` to read."""

from __future__ import annotations

from typing import Any

import ray
import ray._private.worker as _worker

_NAMESPACE = b"outlive-workers"


def _gcs_client() -> Any:
    worker: Any = _worker.global_worker
    return worker.gcs_client


def mark_leaving(reason: str) -> None:
    """Note that this worker takes no more tasks, and why. Only needed if it holds objects, so that it stays a while."""
    worker_id = ray.get_runtime_context().get_worker_id()
    client = _gcs_client()
    client.internal_kv_put(f"leaving:{worker_id}".encode(), reason.encode(), True, _NAMESPACE, timeout=10)


def leaving() -> dict[str, str]:
    """Ids of the workers that left such a note, and the reason they gave. Some may be gone."""
    client = _gcs_client()
    keys = client.internal_kv_keys(b"leaving:", _NAMESPACE, timeout=10)
    notes = {key.partition(b":")[2].decode(): client.internal_kv_get(key, _NAMESPACE, timeout=10) for key in keys}
    return {worker_id: note.decode() for worker_id, note in notes.items() if note is not None}


def forget(worker_id: str) -> None:
    """Remove the note of a worker that is gone."""
    client = _gcs_client()
    client.internal_kv_del(f"leaving:{worker_id}".encode(), False, _NAMESPACE, timeout=10)


def held_references() -> int:
    """Objects and actors that this process owns or borrows right now (`CoreWorker.get_all_reference_counts`)."""
    worker: Any = _worker.global_worker
    return len(worker.core_worker.get_all_reference_counts())
