"""Several real raylets on this machine, each a node of its own to Ray and to outlive, and ways to kill what runs."""

from __future__ import annotations

import contextlib
import inspect
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import outlive
from outlive.arrays.disk import remove, remove_of_cluster
from outlive.arrays.layout import disk_of
from outlive.ray_internals import Connection
from tests.conftest import ROOT, eventually

# A raylet that is gone is noticed after a second, one that is only slow after 10 s each time (health_check_timeout_ms).
# The names are those of src/ray/common/ray_config_def.h.
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 5}


class Nodes:
    """A Ray cluster. Node 0 is the head, to which this process is connected; node i has the resource `node<i>`."""

    def __init__(self, cpus: int, memory: int) -> None:
        self._cpus, self._memory, self._started = cpus, memory, 0
        self._processes: set[psutil.Process] = set()  # all that were seen
        self._nodes: dict[int, Any] = {}  # those that live
        self._ray = Cluster()
        self.cluster = ""

    def start(self, count: int) -> None:
        self.add_node(include_dashboard=False, _system_config=QUICK)
        ray.init(address=self._ray.address, log_to_driver=False, logging_level="ERROR")
        self.cluster = Connection().cluster
        for _ in range(1, count):
            self.add_node()

    def _options(self, i: int) -> dict[str, Any]:
        return {"num_cpus": self._cpus, "object_store_memory": self._memory, "resources": {f"node{i}": 1}}

    # --- nodes

    def __iter__(self) -> Iterator[int]:
        """The numbers of the nodes that live, the head first."""
        return iter(sorted(self._nodes))

    def __len__(self) -> int:
        return len(self._nodes)

    def id(self, i: int) -> str:
        """Ray's id of node `i`, in hex."""
        return str(self._nodes[i].node_id)

    def add_node(self, **options: Any) -> int:
        """Start another node, wait until Ray knows it, and return its number, which no node had before."""
        i, self._started = self._started, self._started + 1
        self._nodes[i] = self._ray.add_node(**self._options(i), **options)
        self._look()
        return i

    def kill_node(self, i: int, *, machine: bool = True) -> str:
        """Kill a node that is not the head, wait until Ray has noticed, and return its id.

        As a power cut does: all its processes at once, and its arrays with it. Without `machine`, its raylet alone:
        Ray's workers then end by themselves, a little later, and the shelf stays.
        """
        assert i != 0, "the head takes the cluster with it"
        node_id, raylet = self.id(i), self._raylet(i)
        raylet.suspend()  # it starts no more processes
        victims = [raylet, *raylet.children(recursive=True)] if machine else [raylet]
        self._look()
        _kill(victims)
        self._ray.remove_node(self._nodes.pop(i), allow_graceful=False)
        if machine:
            shelf = f"{ROOT}/{self.cluster}/{node_id}"
            if (disk := disk_of(shelf)) is not None:
                remove(disk)
            shutil.rmtree(shelf, ignore_errors=True)
        eventually(lambda: node_id not in {node["NodeID"] for node in ray.nodes() if node["Alive"]})
        return node_id

    # --- what runs there

    def on_node(self, i: int, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function as a task on node `i` and return its result."""
        return ray.get(self.start_on_node(i, function, *args), timeout=120)

    def start_on_node(self, i: int, function: Callable[..., Any], *args: Any) -> Any:
        """Start a function as a task on node `i`, once; it needs no CPU. Returns Ray's reference to its result.

        It is sent by value, with whatever of its module it uses: to import a test's module in a worker would import
        tests/conftest.py and change the worker's OUTLIVE_ROOT.
        """
        module = inspect.getmodule(function)
        if module is not None and module.__name__.startswith(("tests.", "nodes.")):
            cloudpickle.register_pickle_by_value(sys.modules[module.__name__])
        where = NodeAffinitySchedulingStrategy(self.id(i), soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(function)
        return task.remote(*args)

    def kill_keeper(self, i: int) -> bool:
        """Kill the keeper of node `i`; False if it has none now, because it is starting, or needs none."""
        return self._kill("ray::Keeper", [i])

    def kill_catalog(self) -> bool:
        """Kill the catalog, wherever it runs; False if it does not run now."""
        return self._kill("ray::Catalog", list(self))

    def kill_tasks(self, name: str, i: int) -> bool:
        """Kill one process on node `i` that runs a task of this name; False if there is none."""
        return self._kill(f"ray::{name}", [i])

    def _kill(self, title: str, where: list[int]) -> bool:
        for process in (process for i in where for process in self.processes(i, title)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                return True
        return False

    def processes(self, i: int, title: str) -> list[psutil.Process]:
        """The worker processes of node `i` whose title begins so."""
        found = []
        for process in self._raylet(i).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if (process.cmdline() or [""])[0].startswith(title):
                    found.append(process)
        return found

    def _raylet(self, i: int) -> psutil.Process:
        (started,) = self._nodes[i].all_processes["raylet"]
        return psutil.Process(started.process.pid)

    # --- the end

    def stop(self) -> None:
        """All processes end at once, as by `ray stop --force`; the shelves stay."""
        self._look()
        ray.shutdown()
        _kill(list(self._processes))
        self._ray.shutdown()

    def _look(self) -> None:
        """Remember all processes of the cluster, so that none of them outlives it."""
        for node in self._ray.list_all_nodes():
            for started in (one for some in node.all_processes.values() for one in some):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(started.process.pid)
                    self._processes |= {process, *process.children(recursive=True)}

    def close(self) -> None:
        """End everything, however broken: processes by pid (psutil tells one that has another's), and segments."""
        self._look()
        try:
            with contextlib.suppress(Exception):  # it may be broken on purpose
                outlive.shutdown()
            ray.shutdown()
            self._ray.shutdown()
        finally:
            _kill(list(self._processes))
            remove_of_cluster(f"{ROOT}/{self.cluster}")
            shutil.rmtree(f"{ROOT}/{self.cluster}", ignore_errors=True)


def _kill(processes: list[psutil.Process]) -> None:
    """Kill them all and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    eventually(lambda: not any(lives(process) for process in processes))


def lives(process: psutil.Process) -> bool:
    """Whether a process can still do anything. A zombie cannot: it waits for its parent alone."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def several_nodes(count: int, *, cpus: int = 2, memory: int = 80 << 20) -> Iterator[Nodes]:
    """A cluster of `count` nodes, each with a plasma store of `memory` bytes, that ends with the block."""
    nodes = Nodes(cpus, memory)
    try:
        nodes.start(count)
        yield nodes
    finally:
        nodes.close()
