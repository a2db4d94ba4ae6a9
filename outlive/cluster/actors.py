"""How the actors are named, started and found. Both are detached and restart for ever; neither ever holds an array."""

from __future__ import annotations

from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "outlive"
CATALOG = "catalog"
_KEEPER = "keeper-"
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

    actor = _remote(concurrency_groups={"check": 1})(Keeper)
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return actor.options(**_OPTIONS, name=_KEEPER + node, scheduling_strategy=here).remote(cluster, node)


def start_catalog() -> Any:
    """The cluster's catalog, started if there is none."""
    from outlive.cluster.catalog import Catalog

    actor = _remote(concurrency_groups={"slow": 4})(Catalog)
    return actor.options(**_OPTIONS, name=CATALOG).remote()


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
