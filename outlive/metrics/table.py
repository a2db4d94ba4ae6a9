"""The table: every metric, declared once. Names, units and suffixes are as Prometheus' conventions have them.

Ray puts `ray_` before each name, and labels of its own beside those that are declared here. See
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

PREFIX = "ray_"
"""Ray puts this before each name."""
Kind = Literal["gauge", "counter"]
_ENDINGS = {"bytes": "_bytes", "seconds": "_seconds", "": ""}


class Metric(NamedTuple):
    """A metric. A counter only grows, and begins at 0 when Ray's agent on its node starts."""

    name: str
    kind: Kind
    unit: Literal["bytes", "seconds", ""]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def scraped(self) -> str:
        """The name that Prometheus gets."""
        return f"{PREFIX}{self.name}"


class Value(NamedTuple):
    """A value of a metric: of a gauge as it is now, of a counter by how much it has grown."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = {}


METRICS: list[Metric] = []
"""Every metric, in the order in which pages and dashboards show them."""


def _gauge(name: str, help_: str, *labels: str, unit: Literal["bytes", "seconds", ""] = "") -> Metric:
    return _declared(Metric(f"outlive_{name}{_ENDINGS[unit]}", "gauge", unit, help_, labels))


def _counter(name: str, help_: str, *labels: str, unit: Literal["bytes", "seconds", ""] = "") -> Metric:
    return _declared(Metric(f"outlive_{name}{_ENDINGS[unit]}_total", "counter", unit, help_, labels))


def _declared(metric: Metric) -> Metric:
    METRICS.append(metric)
    return metric


# --- of each node with a keeper, by that

SHELF = _gauge(
    "shelf",
    "Bytes that the node's shelf takes. memory: arrays that can be read. pool: deleted ones whose memory the next put "
    "writes again. mapped: deleted ones that a process still looks at. disk: arrays that were spilled.",
    "node",
    "state",
    unit="bytes",
)
ARRAYS = _gauge(
    "shelf_arrays", "Arrays on the node's shelf, by the states of ray_outlive_shelf_bytes.", "node", "state"
)
BUDGET = _gauge("shelf_budget", "Bytes that the shelf may take, in memory and on disk.", "node", "state", unit="bytes")
KERNEL = _gauge("shelf_kernel", "The kernel's own memory for the shelf's files, about.", "node", unit="bytes")
FREE_INODES = _gauge("shelf_free_inodes", "Files that the shelf's file system has room for, if it has a limit.", "node")

PUTS = _counter("puts", "Values that were put.", "node")
PUT_BYTES = _counter("put", "Bytes of their data.", "node", unit="bytes")
PUTS_REFUSED = _counter("puts_refused", "Puts, copies and pins for which there was no room.", "node")
GETS = _counter(
    "gets",
    "Reads that found the array on the node's shelf. memory, disk: opened there. open: the process had it open, "
    "which is counted when it next opens one. A get by handle of an array with a live view is not counted.",
    "node",
    "state",
)
GET_MISSES = _counter(
    "get_misses",
    "Reads that did not find the array on the node's shelf: another node was asked, or the catalog.",
    "node",
)
FETCHES = _counter("fetches", "Arrays that were copied to the node from others: replicas, and for readers.", "node")
FETCHED_BYTES = _counter("fetched", "Bytes of their data.", "node", unit="bytes")
SENT_BYTES = _counter("sent", "Bytes that the node's keeper sent to other nodes.", "node", unit="bytes")
SPILLS = _counter("spills", "Arrays that were moved from memory to disk.", "node")
SPILLED_BYTES = _counter("spilled", "Bytes that were moved from memory to disk.", "node", unit="bytes")
PROMOTIONS = _counter("promotions", "Arrays that came back from disk to memory.", "node")
EVICTIONS = _counter("evictions", "Cached copies that were dropped to make room.", "node")

FALLBACKS = _counter(
    "transfer_fallbacks",
    "Arrays that the node's processes asked for through Ray, as the other node's port failed or could not be reached.",
    "node",
)
THROUGH_RAY = _gauge(
    "transfer_nodes_through_ray", "Nodes whose arrays come here through Ray and not by a port.", "node"
)
REFUSED = _counter(
    "transfer_refused",
    'Connections that the node\'s transfer port refused, or that of the catalog, whose node is "catalog". proof: the '
    "caller did not know the cluster's secret. full: there were too many.",
    "node",
    "reason",
)

WORKERS = _gauge("workers", "Ray's worker processes on the node: running, idle, or home of an actor.", "node", "state")
IDLE = _gauge(
    "idle_workers",
    "Idle workers by what keeps them. owns: live objects. borrows: references to others' objects. waits: for tasks "
    "that they submitted. free: nothing but Ray's settings.",
    "node",
    "reason",
)
IDLE_BYTES = _gauge(
    "idle_workers_unique", "Memory that comes back when the idle workers end (USS).", "node", "reason", unit="bytes"
)
TRIMMED = _counter("workers_trimmed", "Idle workers that trim let go, by a process of this node.", "node")
SPARED = _counter(
    "workers_trim_refused", "Idle workers that trim chose, and that stayed as they had come to be needed.", "node"
)
RECYCLED = _counter("workers_recycled", "Workers of the node that left at a limit of `recycle`.", "node")

# --- of the cluster, by the catalog

KEYS = _gauge("catalog_keys", "Keys that the catalog knows.")
CALLS = _counter(
    "catalog_calls",
    "Calls that the catalog answered. step: by what it knows. talk: others were asked, or arrays were copied.",
    "kind",
)
CALL_SECONDS = _counter("catalog_call", "Time that they took.", "kind", unit="seconds")
LONGEST_CALL = _gauge("catalog_longest_call", "The longest of them since the last value.", "kind", unit="seconds")
CALLS_UNDER_WAY = _gauge("catalog_calls_under_way", "Calls that the catalog has begun and not answered: its queue.")
UNLISTED = _gauge("catalog_unlisted_nodes", "Nodes with a shelf that have not told the catalog what is on it.")
REPLICAS_MISSING = _gauge("replicas_missing", "Arrays that fewer nodes keep than their replicas= says.")
LOST = _gauge("arrays_lost", "Arrays whose last copy went with a node, until they are put again or deleted.")
VIOLATED = _gauge(
    "invariants_violated",
    "Promises that outlive found broken since the process began that counts them, which is a bug. budget: a shelf took "
    "more than it may. sum: its sum of bytes was wrong. replica: a last copy was to be dropped. catalog: what the "
    "catalog knows contradicts itself.",
    "node",
    "reason",
)
HEAD = "catalog"
"""The `node` of what the catalog counts of itself."""


def short(node: str) -> str:
    """The label of a node: the beginning of its id, as `outlive nodes` shows it."""
    return node[:8]
