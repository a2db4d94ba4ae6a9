"""What the programs that lose a node share: a cluster of several raylets on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import ray
from ray.cluster_utils import Cluster

ON_HEAD = {"node:__internal_head__": 0.001}  # the resources of what must not die with another node
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}


@contextlib.contextmanager
def head(**options: Any) -> Iterator[Cluster]:
    """A cluster of one node that soon notices when another dies; its driver is this process. `options`: of ray.init."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 4, "object_store_memory": 100 << 20, "_system_config": QUICK},
    )
    try:
        ray.init(address=cluster.address, **options)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def node(cluster: Cluster, name: str, overflow: str | None = None, **settings: Any) -> Iterator[Any]:
    """Another node, which has the resource `name`. `overflow`: its folder for what the store cannot
    hold. `settings`: RAY_<name> variables of its raylet and workers."""
    variables = {f"RAY_{key}": str(value) for key, value in settings.items()}
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        options = {} if overflow is None else {"object_spilling_directory": overflow}
        added = cluster.add_node(num_cpus=2, resources={name: 4}, object_store_memory=80 << 20, **options)
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    try:
        yield added
    finally:
        if added in cluster.worker_nodes:
            lose(cluster, added)


def lose(cluster: Cluster, lost: Any) -> None:
    """Kill the node, as a power cut does."""
    cluster.remove_node(lost, allow_graceful=False)
