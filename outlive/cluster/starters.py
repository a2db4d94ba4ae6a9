"""Starters: how the actors are started and stopped. They are detached, restart without limit, and hold no array."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from outlive.cluster.actors import CATALOG, NAMESPACE, end, keeper_name, mirrors

if TYPE_CHECKING:
    from outlive.cluster.port import Peers

HEAD = "node:__internal_head__"  # a resource that only the head has; a new raylet may not know the head's id yet
START_SECONDS = 120.0  # a Ray worker takes 1-5 s to start, more on a loaded machine

LASTING: dict[str, Any] = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "get_if_exists": True,
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": -1,
}
"""The options of actors that no program's end ends."""

# A call that waits for a silent node holds its thread for up to 40 s, and 160 more threads take 1.5 MB. Calls that list
# keys wait for deletions, so they have a group of their own, and readers do not wait for them. Calls whose arrays are
# copied first have two: whoever reads one array does not wait for those who list arrays, and neither for other copies.
_CATALOG_THREADS = {"slow": 32, "list": 16, "entries": 16, "change": 64, "copy": 16, "secure": 32}

_remote: Any = ray.remote  # typed as Any, as Ray's type has no concurrency groups


def start_keeper(peers: Peers, cluster: str, node: str) -> Any:
    """The keeper of `node`. If there is none, it is started and gets this port."""
    from outlive.cluster.keeper import Keeper

    here = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = _actor(Keeper, {"check": 1, "send": 8, "fetch": 8, "fill": 4, "drain": 1})
    return actor.options(**LASTING, name=keeper_name(node), scheduling_strategy=here).remote(peers, cluster, node)


def start_catalog(peers: Peers) -> Any:
    """The cluster's catalog. If there is none, it is started on the head, without which there is no cluster anyway."""
    from outlive.cluster.catalog import Catalog

    actor = _actor(Catalog, _CATALOG_THREADS)
    return actor.options(**LASTING, name=CATALOG, resources={HEAD: 0.001}).remote(peers)


def stop_mirrors() -> None:
    """End all mirrors, for good."""
    for name in mirrors():
        end(name)


def stop(nodes: list[str]) -> None:
    """End the keepers of these nodes and the catalog, for good. Arrays stay."""
    for name in (*map(keeper_name, nodes), CATALOG):
        end(name)


def _actor(cls: type, groups: dict[str, int]) -> Any:
    """`cls` as an actor class, with so many threads for each group of its methods; see `in_group`."""
    for _, method in inspect.getmembers(cls, inspect.isfunction):
        if (group := getattr(method, "group", None)) is not None:
            ray.method(concurrency_group=group)(method)
    return _remote(concurrency_groups=groups)(cls)


def search_shelves(peers: Peers, node: str) -> None:
    """Start a keeper on `node` if an earlier cluster, or an earlier Ray of this one, left a shelf on its machine."""
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    _remote(search_and_tell).options(num_cpus=0, scheduling_strategy=here, max_retries=0).remote(peers, node)


def search_and_tell(peers: Peers, node: str) -> None:
    """`search`, and tell the catalog if there is such a shelf: it searches again if nothing comes of it."""
    from outlive.cluster.port import Call

    if search(peers, node):
        peers.tell_catalog(Call.of("found_shelf", node))


def search(peers: Peers, node: str) -> bool:
    """Start a keeper on this node if its machine has a shelf to adopt; whether it has one."""
    from outlive.arrays.root import default_root
    from outlive.arrays.tend.adopt import finish_removals, orphaned
    from outlive.ray_internals import Connection

    cluster = Connection().cluster
    root, _ = default_root()
    living = lambda: {one.id for one in peers.nodes() if one.alive}  # noqa: E731
    finish_removals(root)
    found = os.path.isdir(root) and any(orphaned(root, cluster, node, peers.address(), living))
    if found:
        start_keeper(peers, cluster, node)
    return found


def ask_shelf(cluster: str, node: str, method: str, args: tuple[Any, ...]) -> Any:
    """Have a process of `node` that is not its keeper make one of the `ShelfCalls`; the reference of its answer."""
    from outlive.cluster.shelf_calls import call

    here = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_retries": 0}
    return _remote(call).options(**options).remote(cluster, node, method, args)
