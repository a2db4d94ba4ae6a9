"""How the actors are named, started and found. Both are detached and restart for ever; neither ever holds an array."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "outlive"
CATALOG = "catalog"
_KEEPER = "keeper-"
HEAD = "node:__internal_head__"  # a resource that the head alone has; a new raylet may not know the head's id yet
START_SECONDS = 120.0  # a Ray worker takes 1-5 s to start, more on a loaded machine

_OPTIONS: dict[str, Any] = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "get_if_exists": True,
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": -1,
}

_remote: Any = ray.remote  # its type knows no concurrency groups


def start_keeper(cluster: str, node: str) -> Any:
    """The keeper of `node`, started if there is none."""
    from outlive.cluster.keeper import Keeper

    actor = _remote(concurrency_groups={"check": 1, "send": 8, "fetch": 8, "drain": 1})(Keeper)
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return actor.options(**_OPTIONS, name=_KEEPER + node, scheduling_strategy=here).remote(cluster, node)


def start_catalog() -> Any:
    """The cluster's catalog, started if there is none: on the head node, without which there is no cluster."""
    from outlive.cluster.catalog import Catalog

    # Who lists keys waits for deletions: in a group of their own, so that readers do not wait for them.
    actor = _remote(concurrency_groups={"slow": 8, "list": 4, "change": 8, "copy": 4})(Catalog)
    return actor.options(**_OPTIONS, name=CATALOG, resources={HEAD: 0.001}).remote()


def adopt_on(node: str) -> None:
    """Start a keeper on `node` if an earlier cluster, or an earlier Ray of this one, left a shelf on its machine."""
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    _remote(_adopt).options(num_cpus=0, scheduling_strategy=here, max_retries=0).remote(node)


def _adopt(node: str) -> None:
    from outlive.arrays.adopt import orphaned
    from outlive.arrays.root import default_root
    from outlive.ray_internals import Connection

    cluster, address = Connection().cluster, ray.get_runtime_context().gcs_address
    root, _ = default_root()
    if os.path.isdir(root) and any(orphaned(root, cluster, node, address, living)):
        start_keeper(cluster, node)


def ask_shelf(cluster: str, node: str, method: str, args: tuple[Any, ...]) -> Any:
    """Have another process of `node` than its keeper make one of the `ShelfCalls`; returns its answer's reference."""
    from outlive.cluster.shelf_calls import call

    here = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_retries": 0}
    return _remote(call).options(**options).remote(cluster, node, method, args)


def living() -> set[str]:
    """The nodes that the head takes for living."""
    from outlive.ray_internals.nodes import nodes

    return {one.id for one in nodes() if one.alive}


def keeper(node: str) -> Any:
    """Raises ValueError if it has none."""
    return find(keeper_name(node))


def catalog() -> Any:
    """Raises ValueError if there is none."""
    return find(CATALOG)


def keeper_name(node: str) -> str:
    return _KEEPER + node


def find(name: str) -> Any:
    """Raises ValueError if no such actor lives."""
    return ray.get_actor(name, namespace=NAMESPACE)


def keeper_nodes() -> list[str]:
    """The nodes that have a keeper."""
    named = list_named_actors(all_namespaces=True)
    names = (actor["name"] for actor in named if actor["namespace"] == NAMESPACE)
    return sorted(name.removeprefix(_KEEPER) for name in names if name.startswith(_KEEPER))
