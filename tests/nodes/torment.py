"""Clients on every node while what they rely on is killed: keepers, the catalog, clients themselves, nodes."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError, RayTaskError

import outlive
from tests.conftest import eventually
from tests.nodes.raylets import Nodes

# What a client does: client(store, its name, its number, a seed, the folder, options of each put). It appends to the
# file <name>.jsonl after everything it did, and ends once there is a file named stop.
Client = Callable[[outlive.Store, str, int, int, str, dict[str, Any]], None]
STOP = "stop"
_LESS_OFTEN = {"node": 1}  # than 3


class Torment:
    """Keeps `per_node` clients running on each node and kills at random. The moments are new in each run, by nature."""

    def __init__(
        self, nodes: Nodes, store: outlive.Store, client: Client, folder: Path, *, replicas: int, per_node: int
    ) -> None:
        self.nodes, self.store, self.client, self.folder = nodes, store, client, folder
        self.replicas, self.per_node = replicas, per_node
        self.killed: Counter[str] = Counter()
        self._rng, self._clients = random.Random(), 0
        self._running: dict[Any, tuple[str, int]] = {}  # name and node of each task

    def run(self, seconds: float) -> None:
        """Kill for so long, and at least once each; then end the clients. Raises what a client raised."""
        (self.folder / STOP).unlink(missing_ok=True)
        deadline = time.monotonic() + seconds
        kinds = ["keeper", "catalog", "client", *(["node"] if self.replicas > 1 and len(self.nodes) > 2 else [])]
        missing = set(kinds)
        while missing or time.monotonic() < deadline:
            self._all_go_on()
            time.sleep(self._rng.uniform(0, 0.5))  # a different moment each time
            kind = missing.pop() if missing else self._choose(kinds)
            if not self._kill(kind) and self.killed[kind] == 0:
                missing.add(kind)
        self._all_go_on()
        self._stop()

    def _choose(self, kinds: list[str]) -> str:
        return self._rng.choices(kinds, [_LESS_OFTEN.get(kind, 3) for kind in kinds])[0]

    # --- clients

    def _tend(self) -> None:
        """See that all clients run: those that were killed have successors, under new names."""
        ready, _ = (
            ray.wait(list(self._running), num_returns=len(self._running), timeout=0) if self._running else ([], [])
        )
        for task in ready:
            name, _ = self._running.pop(task)
            try:
                ray.get(task)
            except RayTaskError:  # its own error, not that it was killed
                raise
            except RayError:
                continue
            raise AssertionError(f"client {name} ended before it was told to")
        there = Counter(node for _, node in self._running.values())
        for node in self.nodes:
            for _ in range(self.per_node - there[node]):
                self._clients += 1
                name, seed = f"client-{self._clients}", self._rng.getrandbits(32)
                options = {"replicas": self.replicas} if self.replicas > 1 else {}
                args = self.store, name, self._clients, seed, str(self.folder), options
                self._running[self.nodes.start_on_node(node, self.client, *args)] = name, node

    def _all_go_on(self) -> None:
        """Wait until every client has done something more: whatever was killed, work goes on."""
        self._tend()
        before = {name: self._written(name) for name, _ in self._running.values()}

        def goes_on() -> bool:
            self._tend()
            return all(self._written(name) > before.get(name, 0) for name, _ in self._running.values())

        eventually(goes_on, 120)

    def _written(self, name: str) -> int:
        path = self.folder / f"{name}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def _stop(self) -> None:
        (self.folder / STOP).touch()
        for task in self._running:
            try:
                ray.get(task, timeout=120)
            except RayTaskError:
                raise
            except RayError as error:
                if isinstance(error, ray.exceptions.GetTimeoutError):
                    raise
        self._running.clear()

    # --- kills

    def _kill(self, kind: str) -> bool:
        node = self._rng.choice(list(self.nodes))
        if kind == "node":
            node = self._rng.choice([other for other in self.nodes if other != 0])
            self._all_have_their_replicas()
        at = time.monotonic_ns()
        killed = {
            "keeper": lambda: self.nodes.kill_keeper(node),
            "catalog": self.nodes.kill_catalog,
            "client": lambda: self.nodes.kill_tasks(self.client.__name__, node),
            "node": lambda: bool(self.nodes.kill_node(node, machine=self._rng.random() < 0.5)),
        }[kind]()
        if killed:
            self.killed[kind] += 1
            with (self.folder / "kills").open("a") as file:
                file.write(json.dumps({"at": at, "killed": kind, "node": node}) + "\n")
        if kind == "node":
            self._running = {task: where for task, where in self._running.items() if where[1] != node}
            self._all_have_their_replicas()  # on the nodes that are left
            self.nodes.add_node()
        return killed

    def _all_have_their_replicas(self) -> None:
        """Wait for the replicas of the arrays that are there now: clients go on, and some put is always under way."""
        waiting = [handle for handle, _ in self.store.entries()]

        def none_is_waiting() -> bool:
            waiting[:] = [handle for handle in waiting if not _is_replicated(handle)]
            return not waiting

        try:
            eventually(none_is_waiting, 120)
        except pytest.fail.Exception as failure:
            raise AssertionError(f"{failure}\n" + "\n".join(f"{one}: {one.durability}" for one in waiting)) from failure


def _is_replicated(handle: Any) -> bool:
    """Whether an array has all its replicas, or is nowhere: deleted, or lost, which the end of the test finds."""
    kept, wanted = handle.durability
    return kept >= wanted or not handle.location
