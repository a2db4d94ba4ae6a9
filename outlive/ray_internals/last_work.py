"""When each node last did something for a user: the end of its latest task, calls of actors included."""

from __future__ import annotations

from collections.abc import Collection

from outlive.ray_internals import node_workers, rpc

_LOOKED_AT = 10_000  # tasks: some 10 MB, and some 100 ms of the GCS
_OWN = "OUTLIVE_PROBE"  # a variable in the runtime environment of tasks that only look


def last_ends(apart_from: Collection[str] = ()) -> dict[str, float]:
    """Unix time of the end of the latest task by node id, as far as it is among the latest 10,000 of the cluster.

    A node that has run none of them is not in it. Up to a second late (`task_events_report_interval_ms`).

    Parameters
    ----------
    apart_from
        Ids of actors whose calls do not count.
    """
    status = rpc.messages("common").TaskStatus.Value
    finished, failed = status("FINISHED"), status("FAILED")
    found: dict[str, float] = {}
    for event in node_workers.task_events(_LOOKED_AT):
        updates, task = event.state_updates, event.task_info
        times = updates.state_ts_ns
        end = max(times.get(finished, 0), times.get(failed, 0)) / 1e9
        if not end or task.actor_id.hex() in apart_from or _OWN in task.runtime_env_info.serialized_runtime_env:
            continue
        node = updates.node_id.hex()
        found[node] = max(found.get(node, 0.0), end)
    return found
