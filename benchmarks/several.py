"""A private Ray cluster of several raylets on this machine, each a node of its own to Ray and to outlive."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import outlive
from benchmarks.cluster import MIB, environment
from benchmarks.machine import quiet
from benchmarks.timing import stopwatch
from outlive.ray_internals import Connection


class Reader:
    """A program that reads, on a node of its own, as an actor. Each method returns seconds."""

    def __init__(self) -> None:
        outlive.open()

    def ray_get(self, refs: list[Any]) -> float:
        with stopwatch() as watch:
            array = ray.get(refs[0])
        assert array[0] == array[-1]
        return watch.seconds

    def get(self, handle: outlive.ArrayHandle) -> float:
        with stopwatch() as watch:
            array = handle.get()
        assert array[0] == array[-1]
        return watch.seconds


class Raylets:
    """The head is node 0, and this process is on it."""

    def __init__(self, cluster: Cluster, nodes: list[Any], folder: str, options: dict[str, Any]) -> None:
        self._cluster, self._nodes, self._folder, self._options = cluster, nodes, folder, options

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self) -> None:
        """One more node, as the others; returns once Ray knows it."""
        self._nodes.append(self._cluster.add_node(**self._options))

    def id(self, number: int) -> str:
        return str(self._nodes[number].node_id)

    def on(self, number: int) -> dict[str, Any]:
        """Options for a task or an actor on this node, and no other."""
        return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(self.id(number), soft=False)}

    def run(self, number: int, function: Callable[..., Any], *args: Any) -> Any:
        """What a function returns that runs on this node."""
        return ray.get(ray.remote(function).options(**self.on(number)).remote(*args))

    def _children(self, number: int) -> list[psutil.Process]:
        (raylet,) = self._nodes[number].all_processes["raylet"]
        parent = psutil.Process(raylet.process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self, number: int) -> str:
        """As a power cut does: all processes of a node at once, and its arrays with it. Returns its id."""
        node, victims = self.id(number), self._children(number)
        victims[0].suspend()  # it starts no more processes
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=10)
        shutil.rmtree(f"{self._folder}/{node}", ignore_errors=True)
        self._cluster.remove_node(self._nodes.pop(number), allow_graceful=False)
        return node


@contextlib.contextmanager
def raylets(count: int, object_store: int = 100 * MIB, budget: int | None = None) -> Iterator[Raylets]:
    """`count` nodes with one CPU and `object_store` bytes each, whose shelves may hold `budget` bytes each.

    Ray's own settings, so that a node that dies is noticed as it is where nobody changed them.
    """
    cluster = Cluster()
    with environment(budget) as root, contextlib.ExitStack() as last:
        try:
            options = {"num_cpus": 1, "object_store_memory": object_store}
            nodes = [cluster.add_node(include_dashboard=False, **options)]
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            nodes += [cluster.add_node(**options) for _ in range(1, count)]
            folder = f"{root}/{Connection().cluster}"
            for whole in (folder, f"{os.environ['OUTLIVE_SPILL_TO']}/{Connection().cluster}"):
                last.callback(shutil.rmtree, whole, ignore_errors=True)  # with what a killed node left
            quiet()
            yield Raylets(cluster, nodes, folder, options)
        finally:
            if ray.is_initialized():
                with contextlib.suppress(outlive.StoreUnavailable):  # a node was killed on purpose
                    outlive.shutdown()
                ray.shutdown()
            cluster.shutdown()
