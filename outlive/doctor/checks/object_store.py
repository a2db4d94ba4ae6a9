"""Object stores that are nearly full, or had to put objects on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Symptom
from outlive.ray_internals.node_stats import NodeStats
from outlive.units import format_size

NEARLY_FULL = 0.9
_DOCS = "https://docs.ray.io/en/latest/ray-core/objects/object-spilling.html"


def check(cluster: Cluster) -> Iterable[Symptom]:
    """The store of each node."""
    for stats in cluster.stats:
        yield from of_store(stats)


def of_store(stats: NodeStats) -> Iterator[Symptom]:
    """`check`, on plain data, for one node."""
    store, node = stats.store, stats.node
    if store is None:
        return
    name = f"node {node.node_id[:8]} ({node.ip})"
    if store.capacity and store.used >= NEARLY_FULL * store.capacity:
        share = store.used / store.capacity
        yield Symptom(
            kind="store-nearly-full",
            severity="risk",
            what=f"the object store of {name} is {share:.0%} full: {format_size(store.used)} of "
            f"{format_size(store.capacity)}",
            why="The next object waits, is spilled to disk, or raises ObjectStoreFullError if all that is there is in use.",
            fix="ray memory --group-by STACK_TRACE   # who holds what; then `del` references, or start the node with "
            "a larger --object-store-memory",
            evidence=(
                Evidence(
                    f"{store.objects} objects",
                    node=node.node_id,
                    numbers={"used_bytes": store.used, "capacity_bytes": store.capacity, "objects": store.objects},
                ),
            ),
            source="https://docs.ray.io/en/latest/ray-core/scheduling/memory-management.html",
            weight=store.used,
        )
    if store.fallback:
        yield Symptom(
            kind="store-fallback",
            severity="risk",
            what=f"{format_size(store.fallback)} of the object store of {name} are in files on disk",
            why="The store was full of objects in use, so Ray placed more outside shared memory: reading them is slow, "
            "and it ends with OutOfDiskError.",
            fix="fewer objects in use at a time, or a larger --object-store-memory",
            evidence=(Evidence("fallback allocations", node=node.node_id, numbers={"fallback_bytes": store.fallback}),),
            source=_DOCS,
            weight=store.fallback,
        )
    if store.spilled:
        yield Symptom(
            kind="spilled",
            severity="waste",
            what=f"{name} spilled {format_size(store.spilled)} to disk since it started, and read "
            f"{format_size(store.restored)} back",
            why="Its object store was too small for what was alive at once. Each byte costs a write, and a read when it "
            "is needed; spilled objects hold the node too.",
            fix="a larger --object-store-memory, or fewer tasks that run ahead of their readers; `ray memory` shows what "
            "is held",
            evidence=(
                Evidence(
                    "since the raylet started",
                    node=node.node_id,
                    numbers={"spilled_bytes": store.spilled, "restored_bytes": store.restored},
                ),
            ),
            source=_DOCS,
            weight=store.spilled,
        )
