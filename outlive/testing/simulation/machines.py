"""Machines of the played cluster, and what the head knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.node import Node

if TYPE_CHECKING:
    from outlive.testing.simulation.scheduler import Process

EPOCH = 1_700_000_000.0  # the time of day when a world begins, in seconds since 1970


class Machine:
    """A machine that runs one node of the cluster."""

    def __init__(self, name: str, *, is_head: bool, path: str, clock: float = 0.0) -> None:
        self.name, self.is_head, self.path = name, is_head, path
        self.clock = clock  # seconds by which its time of day is ahead
        self.alive = True
        self.known_dead_at: float | None = None  # when the head declared it dead
        self.draining = False
        self.processes: list[Process] = []
        self.processes_started = 0
        self.keeper: Process | None = None  # the process that took the keeper's lock last

    def kill(self) -> None:
        """Kill the machine, and all its processes."""
        self.alive = False
        for process in self.processes:
            process.kill()

    def as_node(self) -> Node:
        """The head's record of this machine."""
        dead = self.known_dead_at
        return Node(
            id=self.name,
            ip=self.name,
            host=self.name,
            is_head=self.is_head,
            alive=dead is None,
            died_at=None if dead is None else EPOCH + dead,
            death_reason=None if dead is None else "health check failed",
            draining_until=EPOCH + 1e6 if self.draining and dead is None else None,
            object_store_memory=0,
            node_type=None,
        )
