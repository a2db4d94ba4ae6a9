"""One schedule after the other, in folders that are used again."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from outlive.arrays.layout import WAYS
from outlive.arrays.ledger import Ledger
from outlive.arrays.root import shelf_folder
from outlive.arrays.shelf import Shelf
from outlive.testing.simulation import stage
from outlive.testing.simulation.cluster import Cluster
from outlive.testing.simulation.judge import judge
from outlive.testing.simulation.plan import Plan
from outlive.testing.simulation.restarts import CLUSTER, has_restarts
from outlive.testing.simulation.stage import SHELF_BYTES

ROOT = "OUTLIVE_SIMULATION_ROOT"  # environment variable: a folder that the process which starts workers removes
_COLLECT_EVERY = 25  # schedules
_VALIDATE_EVERY = 3  # one in so many schedules validates the catalog's state after each step, which is slow


class Result(NamedTuple):
    """The result of a plan."""

    plan: Plan
    violations: list[str]
    trace: list[str]
    oddities: dict[int, str]
    steps: int
    calls: int
    seconds: float  # of virtual time


class World:
    """The place where schedules are played. There is one in a process.

    Parameters
    ----------
    root
        A new folder, best in shared memory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        os.makedirs(root, 0o700)
        stage.set_up()
        gc.freeze()
        gc.disable()  # each schedule leaves reference cycles: they are collected together
        self._played = 0

    def play(self, plan: Plan, *, traced: bool = False) -> Result:
        """Play a plan."""
        self._played += 1
        if self._played % _COLLECT_EVERY == 0:
            gc.collect()
            if self._played == _COLLECT_EVERY:  # modules that were imported since are not garbage either
                gc.freeze()
        os.environ["OUTLIVE_VALIDATE"] = "1" if traced or plan.seed % _VALIDATE_EVERY == 0 else ""
        roots = self._roots(plan)
        paths = {node: self._shelf(node, plan) if not roots else _in_root(roots, node) for node in plan.nodes}
        cluster = Cluster(plan, paths, roots, traced=traced)
        try:
            cluster.run()
            violations = judge(cluster)
        finally:
            cluster.close()
        scheduler = cluster.scheduler
        return Result(
            plan, violations, cluster.trace, cluster.oddities, scheduler.steps, cluster.network.calls, scheduler.now
        )

    def _roots(self, plan: Plan) -> dict[str, str]:
        """New root folders for the machines' shelves, if Ray is started again in this plan."""
        shutil.rmtree(f"{self._root}/roots", ignore_errors=True)
        if not has_restarts(plan):
            return {}
        return {node: f"{self._root}/roots/{node}" for node in plan.nodes}

    def _shelf(self, node: str, plan: Plan) -> str:
        for name in os.listdir(self._root):  # a kill may leave a part of a shelf that was being removed
            if name.startswith(f"{node}."):
                shutil.rmtree(f"{self._root}/{name}")
        path, on_disk = empty_shelf(f"{self._root}/{node}"), f"{self._root}/disk-{node}"
        shutil.rmtree(on_disk, ignore_errors=True)
        if plan.memory:
            shelf = Shelf(path, plan.memory)
            shelf.spill_to(on_disk)
            shelf.ledger.disk.budget = plan.disk
        return path


def _in_root(roots: dict[str, str], node: str) -> str:
    """The path of a node's new shelf."""
    path = shelf_folder(roots[node], CLUSTER, node)
    Shelf(path, SHELF_BYTES)
    return path


def a_folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder, which its `with` block removes. It is in the folder that `ROOT` names, if any."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="outlive-simulation-", dir=os.environ.get(ROOT) or shared)


@contextlib.contextmanager
def a_world() -> Iterator[World]:
    """A world in a new folder, in shared memory if there is some."""
    with a_folder() as folder:
        yield World(f"{folder}/world")


def empty_shelf(path: str) -> str:
    """Make a shelf's folder empty, which takes 0.8 ms less than a new one; returns its path."""
    with contextlib.suppress(FileNotFoundError):
        for name in ("new", "mem", "free", "names", "scopes", "hot"):
            for entry in os.scandir(f"{path}/{name}"):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        os.truncate(f"{path}/ended", 0)
    shutil.rmtree(f"{path}/{WAYS}", ignore_errors=True)
    for name in ("keeper", "disk"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")
    if not os.path.exists(f"{path}/ledger"):
        Shelf(path)
        with open(f"{path}/ended", "xb"):
            os.chmod(f"{path}/ended", 0o600)
    ledger = Ledger(f"{path}/ledger")
    ledger._map[8:] = bytes(len(ledger._map) - 8)  # noqa: SLF001
    ledger.budget = SHELF_BYTES
    return path
