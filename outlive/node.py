"""Plain values of Ray's nodes and of the autoscaler, for modules that import no Ray."""

from __future__ import annotations

from typing import NamedTuple


class Node(NamedTuple):
    """A node that the GCS knows, or knew: it remembers 1,000 dead ones (`maximum_gcs_dead_node_cached_count`)."""

    id: str
    ip: str
    host: str
    is_head: bool
    alive: bool
    died_at: float | None
    """Unix time at which the GCS took it for dead: some 15 s late where its raylet was killed, by `health_check_*`."""
    death_reason: str | None
    draining_until: float | None
    """The Unix time of its end, if it drains; `math.inf` if no deadline was given. None: it does not drain.

    A draining raylet exits by itself as soon as it is idle (`LocalResourceManager::OnResourceOrStateChanged`),
    so a keeper that is the last to leave ends the node.
    """
    object_store_memory: int
    """Bytes that its object store may hold, as it was started."""
    node_type: str | None
    """The autoscaler's name for its kind, where the node was told (`RAY_NODE_TYPE_NAME`). See `Autoscaler.types`."""
    occupied: bool = False
    """Its raylet says that resources or objects are in use there. If not, actors and tasks without resources may be."""
    port: int = 0
    """The port of its raylet, at `ip`; 0 if it is not known."""


class Autoscaler(NamedTuple):
    """The autoscaler of a cluster."""

    min_workers: dict[str, int]
    """How many nodes of each type always stay, the head's type left out. Empty where it is not known from here."""
    types: dict[str, str]
    """Type by node ip, as the autoscaler sees it (by node id on fake clusters). Empty where it is not known."""
