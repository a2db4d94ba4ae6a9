"""The checks. Each is a function that takes the cluster's facts and yields findings. A new one goes into `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from outlive.doctor.checks import (
    idle_workers,
    node_states,
    object_store,
    references,
    settings,
    shared_memory,
    shelves,
    versions,
)
from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Symptom

Check = Callable[[Cluster], Iterable[Symptom]]

CHECKS: dict[str, Check] = {
    "nodes that do not answer": node_states.silent,
    "references whose owner is gone": references.orphans,
    "references that outlast their owner's job": references.doomed,
    "idle workers that own objects": idle_workers.owners,
    "spent workers that own objects": idle_workers.spent,
    "idle workers that hold borrowed references": idle_workers.borrowers,
    "settings of the reaper": settings.check,
    "nodes that cannot be removed": node_states.kept,
    "room in the object stores": object_store.check,
    "room in /dev/shm": shared_memory.check,
    "known bugs of this Ray": versions.check,
    "room on outlive's shelves": shelves.check,
}
"""By the thing that they look for, in words that complete "not checked: ..."."""
